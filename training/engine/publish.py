"""The last thing that a run does: its weights are looked through, written aside, and given their manifest and name."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotate.said import Said
from training.engine import rundir
from training.engine.chat import Chat
from training.engine.job import Failure, Job
from training.engine.models import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Device,
    all_finite,
    load_base,
    with_adapter_merged,
)
from training.engine.spec import ModelRef, TrainSpec


def gathered_weights(trainer: Any) -> Any:
    """The weights from all processes that hold a part of them (FSDP, DeepSpeed), else None. All must take part."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)


def publish_adapter(path: Path, model: Any, adapter: str, about: Mapping[str, Any], weights: Any) -> str:
    """Writes `adapter/` atomically and returns its manifest's sha256. Raises Failure `not_finite`.

    `weights`: the model's where the process that publishes holds only a part of them, else None.
    """
    from peft import get_peft_model_state_dict

    _require_finite(get_peft_model_state_dict(model, state_dict=weights, adapter_name=adapter))
    aside = path / ".adapter.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    # Only "default": a plain save also writes the frozen reference beside it.
    model.save_pretrained(str(aside), selected_adapters=[adapter], **({"state_dict": weights} if weights else {}))
    for item in aside.iterdir():
        if item.name not in {ADAPTER_WEIGHTS, ADAPTER_CONFIG}:
            item.unlink()  # peft's README is an empty template
    config = json.loads((aside / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    # peft keeps the module names in a set, whose order changes from process to process.
    config = {
        key: sorted(value) if key == "target_modules" and isinstance(value, list) else value
        for key, value in config.items()
    }
    config["inference_mode"] = True
    rundir.write_atomically(aside / ADAPTER_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return rundir.put_in_place(aside, path / "adapter", about)


def publish_model(job: Job, spec: TrainSpec, device: Device, model: Any, chat: Chat, about: Mapping[str, Any]) -> str:
    """Writes `model/` atomically, with the adapter merged and with its tokenizer; returns its manifest's sha256.

    Raises Failure `not_finite`.
    """
    path = job.path
    if spec.adaptation == "qlora":  # into weights of 4 bits it could not be merged without a loss
        kept = path / ".adapter.tmp"
        shutil.rmtree(kept, ignore_errors=True)
        model.save_pretrained(str(kept))
        whole = load_base(ModelRef(spec.model, spec.revision), device)
        if spec.start_adapter:
            whole = with_adapter_merged(whole, spec.start_adapter)
        merged = with_adapter_merged(whole, str(kept))
        shutil.rmtree(kept)
    elif spec.adaptation == "full":
        merged = model.bfloat16() if device.bf16 else model
    else:
        merged = model.merge_and_unload()
    _require_finite(merged.state_dict())
    aside = path / ".model.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    merged.config.use_cache = True  # the trainer switched it off
    merged.save_pretrained(str(aside))
    chat.tokenizer.save_pretrained(str(aside))
    return rundir.put_in_place(aside, path / "model", about)


def _require_finite(weights: dict[str, Any]) -> None:
    if not all_finite(weights):
        raise Failure(
            "not_finite",
            Said("The trained weights hold NaN or infinity, so there is no policy. Lower the learning rate."),
        )
