"""How large a model is, told from its config alone: nothing is downloaded but that, and no weight is read."""

import contextlib
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from annotate.said import Said
from training.engine.job import Failure, Job
from training.engine.machine import look
from training.engine.spec import ModelRef, SampleSpec, ScoreSpec, TrainSpec, TrialSpec

S = TypeVar("S", TrainSpec, SampleSpec, ScoreSpec, TrialSpec)
SPARE_POSITIONS = 8  # OPT has two


@dataclass(frozen=True)
class ModelFacts:
    """What memory depends on."""

    parameters: int  # tied ones counted once
    linear: int  # of them in the linear layers inside the blocks: what QLoRA holds in 4 bits
    linear_widths: int  # inputs + outputs of those layers, summed: a LoRA of rank r has r times as many weights
    hidden_size: int
    layers: int
    vocab_size: int
    positions: int = 0  # the longest text it can read, in tokens; 0 = not told
    reach: int = 0  # positions that it has learned: none can follow them; 0 = it computes them
    kept: float = 1.6  # values kept for the backward pass, a token, in units of `linear_widths`; see docs/profile.md

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `ModelFacts(**it)` is the same again."""
        return asdict(self)


def model_facts(ref: ModelRef) -> ModelFacts:
    """Built on torch's meta device, where tensors have shapes and no storage. Raises Failure `bad_model`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(ref.model, revision=ref.revision or None, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
        raise Failure(
            "bad_model",
            Said(
                "The config of “%(model)s” cannot be read: %(why)s",
                model=ref.model,
                why=" ".join(str(error).split())[:300],
            ),
        ) from error
    text = config.get_text_config()
    head = model.get_output_embeddings()
    layers = [
        module
        for module in model.modules()
        if (isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D") and module is not head
    ]
    return ModelFacts(
        parameters=sum(weight.numel() for weight in model.parameters()),
        linear=sum(module.weight.numel() for module in layers),
        linear_widths=sum(sum(module.weight.shape) for module in layers),
        hidden_size=int(text.hidden_size),
        layers=int(text.num_hidden_layers),
        vocab_size=int(text.vocab_size),
        positions=int(getattr(text, "max_position_embeddings", 0) or 0),
        reach=reach(model),
        # GPT-2's gelu is made of many operations, each of which keeps its input.
        kept=2.2 if "gelu_new" in (getattr(text, name, "") for name in ("hidden_act", "activation_function")) else 1.6,
    )


def reach(model: Any) -> int:
    """How many tokens the model can read because it looks their positions up in a table (GPT-2, OPT); else 0."""
    positions = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0)
    words = model.get_input_embeddings()
    tables = (module.weight for module in model.modules() if hasattr(module, "num_embeddings") and module is not words)
    learned = any(positions <= len(table) <= positions + SPARE_POSITIONS for table in tables)
    return positions if learned else 0


def note_surroundings(job: Job, ref: ModelRef) -> None:
    """Says in the result where the job ran and how large its base is, which is what profiles are made of."""
    if job.rank:
        return
    job.about["machine"] = look().to_json()
    with contextlib.suppress(Failure):  # whoever loads the model says what is wrong with it
        job.about["base"] = model_facts(ref).to_json()


def within_reach(job: Job, ref: ModelRef, spec: S) -> S:
    """The spec with no text longer than the model can read at all: one token more is an error deep inside torch.

    A prompt leaves room for one token of an answer; `sampling.draw` ends the answer where the room ends.
    """
    try:
        tokens = model_facts(ref).reach
    except Failure:  # whoever loads the model says what is wrong with it
        return spec
    most = {"max_length": tokens, "max_prompt_tokens": tokens - 1}
    cut: dict[str, Any] = {name: value for name, value in most.items() if tokens and getattr(spec, name, 0) > value}
    if not cut:
        return spec
    job.events.warning(
        Said("The model reads no more than %(tokens)s tokens, prompt and answer together.", tokens=tokens)
    )
    return replace(spec, **cut)
