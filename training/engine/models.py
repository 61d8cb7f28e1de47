"""Loading a base model, its tokenizer and an adapter: safetensors only, no remote code, every mismatch loud."""

import importlib.util
import json
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine import rundir
from training.engine.chat import Chat, prepare_tokenizer
from training.engine.job import Failure, Job
from training.engine.machine import computes_bf16
from training.engine.spec import ModelRef, TrainSpec

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
# The name under which TRL trains an adapter; any other raises a KeyError there.
ADAPTER = "default"


@dataclass(frozen=True)
class Device:
    """Where the model lives and in which precision."""

    name: str  # "cpu" or "cuda"
    bf16: bool  # weights and activations in bfloat16; always False on CPU, where it is slower and less exact


def choose_device(wanted: str, precision: str = "auto") -> Device:
    """The device profile for "auto", "cpu" or "cuda", and one of `spec.PRECISIONS`.

    Raises Failure when CUDA or bfloat16 is wanted and absent.
    """
    import torch

    available = wanted != "cpu" and torch.cuda.is_available()
    if available and (local := os.environ.get("LOCAL_RANK")):
        torch.cuda.set_device(int(local))  # one of several processes, and each has a GPU of its own
    if wanted == "cuda" and not available:
        raise Failure(
            "no_device", Said("No CUDA device is visible. Choose the device 'auto' or 'cpu', or start on a GPU.")
        )
    able = available and computes_bf16(torch.cuda.current_device())
    if precision == "bfloat16" and not able:
        raise Failure(
            "no_bfloat16",
            Said(
                "The worker has no GPU that computes in bfloat16 by itself. Choose the precision “auto” or “float32”."
            ),
        )
    return Device("cuda" if available else "cpu", bf16=able and precision != "float32")


def for_training(spec: TrainSpec, device: Device) -> Device:
    """With the precision that weights are held in: where all of them are trained, steps are too small for bfloat16."""
    return replace(device, bf16=False) if spec.adaptation == "full" else device


def load_tokenizer(ref: ModelRef, job: Job) -> Chat:
    """The tokenizer with a padding token and a chat template. Raises Failure `bad_model`."""
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            ref.model, revision=ref.revision or None, trust_remote_code=False
        )
        config = AutoConfig.from_pretrained(ref.model, revision=ref.revision or None, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise Failure(
            "bad_model",
            Said("The tokenizer of “%(model)s” cannot be loaded: %(why)s", model=ref.model, why=_short(error)),
        ) from error
    # transformers 5 replaces some custom tokenizers by the architecture's own, which then returns nothing at all.
    if not tokenizer.encode("hello", add_special_tokens=False):
        raise Failure(
            "bad_model",
            Said("The tokenizer of “%(model)s” turns text into nothing; save it as a fast tokenizer.", model=ref.model),
        )
    if tokenizer.eos_token_id is None:
        raise Failure(
            "bad_model",
            Said("The tokenizer of “%(model)s” has no end-of-sequence token; set `eos_token`.", model=ref.model),
        )
    # One such token in a text is an error deep inside torch. Added ones that nobody writes do no harm.
    known = int(getattr(config.get_text_config(), "vocab_size", 0) or 0)
    written = set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder)
    highest = max(written | {int(tokenizer.eos_token_id), int(tokenizer.pad_token_id or 0)})
    if 0 < known <= highest:
        raise Failure(
            "bad_model",
            Said(
                "The tokenizer of “%(model)s” knows %(tokens)s tokens and its model %(known)s: they do not belong "
                "together, or the model was not resized.",
                model=ref.model,
                tokens=highest + 1,
                known=known,
            ),
        )
    for note in prepare_tokenizer(tokenizer):
        job.events.warning(note)
    return Chat(tokenizer)


def require_four_bit(device: Device) -> None:
    """Raises Failure `no_quantization` where a model cannot be loaded in 4 bits."""
    if device.name == "cuda" and importlib.util.find_spec("bitsandbytes") is not None:
        return
    raise Failure(
        "no_quantization",
        Said("QLoRA needs the package bitsandbytes on the worker. Install it there, or choose LoRA.")
        if device.name == "cuda"
        else Said("QLoRA needs a GPU, and the worker has none. Choose LoRA."),
    )


def load_base(ref: ModelRef, device: Device, *, four_bit: bool = False, scores: bool = False) -> "PreTrainedModel":
    """The base model in evaluation mode on its device, or its weights in 4 bits (NF4, 2305.14314).

    `scores`: with one number a sequence as its output; a head that the folder lacks is made by torch's random stream.

    Raises Failure `bad_model` or `no_quantization`.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig

    auto: Any = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    small: dict[str, Any] = {"num_labels": 1} if scores else {}
    if four_bit:
        require_four_bit(device)
        small["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if device.bf16 else torch.float16,
        )
        small["device_map"] = {"": 0}
    try:
        model: PreTrainedModel = auto.from_pretrained(
            ref.model,
            revision=ref.revision or None,
            dtype=torch.bfloat16 if device.bf16 else torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            **small,
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        raise Failure(
            "bad_model",
            Said(
                "The model “%(model)s” cannot be loaded: %(why)s It must be a folder or hub id with safetensors "
                "weights and without code of its own.",
                model=ref.model,
                why=_short(error),
            ),
        ) from error
    return model.eval() if four_bit else model.to(device.name).eval()


def add_adapter(base: "PreTrainedModel", folder: str, *, trainable: bool) -> "PeftModel":
    """`base` with the LoRA adapter of `folder` under the name "default". Raises Failure `bad_adapter`."""
    from peft import PeftModel
    from safetensors import SafetensorError

    check_adapter(Path(folder))
    try:
        with warnings.catch_warnings():
            # peft only warns when the adapter does not fit the base, and goes on with fresh weights.
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            return PeftModel.from_pretrained(base, folder, adapter_name=ADAPTER, is_trainable=trainable)
    except (OSError, ValueError, KeyError, RuntimeError, UserWarning, SafetensorError) as error:
        raise Failure(
            "bad_adapter",
            Said(
                "The adapter “%(adapter)s” does not fit this model: %(why)s",
                adapter=Path(folder).name,
                why=_short(error),
            ),
        ) from error


def with_adapter_merged(base: Any, folder: str) -> Any:
    """`base` with the adapter's weights added into its own, all of them to be trained. Raises Failure `bad_adapter`."""
    merged: Any = add_adapter(base, folder, trainable=False).merge_and_unload()
    return merged.requires_grad_(True)  # peft had frozen the base's weights


def check_adapter(folder: Path) -> dict[str, Any]:
    """The adapter's config, after refusing everything but a plain LoRA in safetensors.

    Verifies a manifest if there is one.
    """
    for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
        if not (folder / name).is_file():
            raise Failure(
                "bad_adapter",
                Said(
                    "The adapter “%(adapter)s” has no %(file)s; only safetensors adapters are loaded.",
                    adapter=folder.name,
                    file=name,
                ),
            )
    if (folder / rundir.MANIFEST).exists():
        try:
            rundir.verify_manifest(folder)
        except rundir.ManifestError as error:
            raise Failure(
                "bad_adapter", Said("The adapter was changed after training: %(why)s. Restore it.", why=str(error))
            ) from error
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        # These two make peft import modules that the file names.
        plain = config["peft_type"] == "LORA" and not config.get("auto_mapping") and not config.get("megatron_config")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Failure(
            "bad_adapter",
            Said("The adapter “%(adapter)s” has no readable %(file)s.", adapter=folder.name, file=ADAPTER_CONFIG),
        ) from error
    if not plain:
        raise Failure(
            "bad_adapter",
            Said("The adapter “%(adapter)s” is not a plain LoRA; only those are loaded.", adapter=folder.name),
        )
    return dict(config)


def load_policy(ref: ModelRef, device: Device) -> "PreTrainedModel | PeftModel":
    """Base, or base and adapter, ready to answer."""
    base = load_base(ref, device)
    return add_adapter(base, ref.adapter, trainable=False).eval() if ref.adapter else base


def all_finite(tensors: "dict[str, torch.Tensor]") -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
