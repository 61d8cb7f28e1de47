"""Which models stand beside the one in training: the reference that it is held close to, and the base that its KL is
measured against, loaded only where the model in training without its adapter is not what is meant.
"""

from typing import Any

from annotate.said import Said
from training.engine.chat import Chat
from training.engine.job import Failure, Job
from training.engine.looks import untouched
from training.engine.models import ADAPTER, Device, add_adapter, for_training, load_base, with_adapter_merged
from training.engine.reference import Reference, give_logprobs, open_cache, probe_logprobs, split_prompts
from training.engine.rows import TrainingRow
from training.engine.spec import ModelRef, TrainSpec
from training.engine.trainer import make_trainer


def held_close_trainer(
    job: Job,
    spec: TrainSpec,
    device: Device,
    chat: Chat,
    base: Any,
    usable: list[TrainingRow],
    *,
    far: Any,
    asked: int,
) -> Any:
    """The trainer of a method with a reference, after its reference was found to be the model that is meant.

    `far` is the model of `spec.reference_model`, or None; `asked` as for `make_trainer`.
    """
    probe = usable[:4]
    # The reference's log-probabilities, taken from the model that is meant before TRL has touched anything.
    previous = spec.reference == "previous" and bool(spec.start_adapter)
    other = _other_reference(spec, device, far, previous=previous)
    meant = base if other is None else other
    cache = None
    if known := spec.own.data != "prompts":  # else its answers do not exist yet
        cache = open_cache(spec, meant, device, adapter=spec.start_adapter if previous and other is None else "")
    expected = None if previous and other is None else probe_logprobs(meant, chat, probe, spec.max_length)
    model: Any = base
    if spec.start_adapter and spec.adaptation == "full":
        model = with_adapter_merged(base, spec.start_adapter)
    elif spec.start_adapter:
        model = add_adapter(base, spec.start_adapter, trainable=True)
        _require_same_kind(spec, model)
    if expected is None:
        expected = probe_logprobs(model, chat, probe, spec.max_length)

    job.events.phase("prepare", Said("Preparing %(n)s rows", n=len(usable)))
    trainer = make_trainer(job, spec, device, chat, model, usable, reference=other, asked=asked)
    if "ref" in getattr(trainer.model, "peft_config", {}) and not previous:
        # TRL took the incoming adapter as the reference. Without this copy it switches adapters off instead: the base.
        trainer.model.delete_adapter("ref")
    reference = Reference("previous" if previous else "base", expected, split_prompts(probe))
    job.about["reference"] = reference.verify(trainer, device)
    if known:
        job.about["reference"] |= give_logprobs(trainer, job=job, spec=spec, chat=chat, device=device, cache=cache)
    return trainer


def _other_reference(spec: TrainSpec, device: Device, far: Any, *, previous: bool) -> Any:
    """A second model, where the reference is not the one in training with its adapter off, or with the incoming one."""
    if previous and spec.adaptation == "full":
        model = load_base(ModelRef(spec.model, spec.revision), for_training(spec, device))
        return with_adapter_merged(model, spec.start_adapter)
    if far is not None and not previous:
        return far
    if spec.adaptation == "full":
        return load_base(ModelRef(spec.model, spec.revision), for_training(spec, device))
    return None


def _require_same_kind(spec: TrainSpec, model: Any) -> None:
    """An adapter that is continued stays what it is; the knob would change nothing, without a word."""
    if bool(model.peft_config[ADAPTER].use_dora) != (spec.adaptation == "dora"):
        raise Failure(
            "other_adaptation",
            Said(
                "The policy that is continued is a %(kind)s adapter and stays one. Choose that, or full fine-tuning.",
                kind="DoRA" if model.peft_config[ADAPTER].use_dora else "LoRA",
            ),
        )


def base_to_look_at(job: Job, spec: TrainSpec, device: Device, trainer: Any, named: Any) -> Any:
    """The model that the KL is measured against: the one that the spec names, the trainer's reference where that is the
    base, or the base loaded once more."""
    found = named
    if found is None and not (spec.reference == "previous" and spec.start_adapter):
        found = getattr(trainer, "ref_model", None)
    if found is None:
        ref = ModelRef(spec.model, spec.revision)
        with untouched(trainer.model):
            found = load_base(ref, for_training(spec, device), four_bit=spec.adaptation == "qlora")
    size = sum(weight.numel() * weight.element_size() for weight in found.parameters())
    job.events.phase(
        "base",
        Said("The KL is measured against a model of its own: %(mib)s MiB beside the one in training.", mib=size >> 20),
    )
    return found
