"""Which training settings a form starts from, and a spec made of what the form brought back."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.engine.methods import METHODS, foreign_knobs
from training.engine.profile import choose
from training.engine.spec import ModelRef, TrainSpec
from training.models import Loop, Policy, RewardModel, Run
from training.paths import adapter_folder, is_starter, model_of, reward_model_folder
from training.queries.machines import surroundings

# The settings of a run that a lead may choose. Everything else in the spec follows from the policies and the worker.
KNOBS = (
    "source",
    "loss_type",
    "loss_weights",
    "beta",
    "label_smoothing",
    "ld_alpha",
    "f_divergence_type",
    "f_alpha_divergence_coef",
    "use_weighting",
    "learning_rate",
    "epochs",
    "batch_size",
    "gradient_accumulation",
    "max_length",
    "adaptation",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "warmup_ratio",
    "lr_scheduler",
    "weight_decay",
    "max_grad_norm",
    "desirable_weight",
    "undesirable_weight",
    "margin",
    "num_generations",
    "max_new_tokens",
    "scale_rewards",
    "seed",
    "save_every",
    "min_rows",
    "gradient_checkpointing",
    "precision",
    "reference",
    "look_every",
    "patience",
    "chosen_guard",
    "chosen_drop",
    "kl_guard",
    "kl_budget",
    "length_guard",
    "length_ratio",
    "fresh_answers",
    "fresh_tokens",
)
# Looks cost a pass over what is held out, and change nothing in the result. Sampling fresh answers (for KL and length)
# costs more, so that is for who asks for it.
LOOKS: dict[str, Any] = {"look_every": 25, "chosen_guard": "warn"}
STARTER_LOOKS = LOOKS | {"look_every": 10}


def default_settings(*, method: str, base_model: str, losses: Sequence[str] = ()) -> dict[str, Any]:
    """The usual settings, made for the machine that was heard of last where one was (docs/profile.md).

    ``losses``: as these want the others to be; unless given, the method's first.
    """
    usual = usual_settings(method=method, base_model=base_model)
    usual = METHODS[method].usual_with(losses, usual)
    where = surroundings(base_model)
    return usual if where is None else choose(where.machine, where.model, method, usual).settings


def usual_settings(*, method: str, base_model: str) -> dict[str, Any]:
    """What an expert would choose for this base model: our measured values for the starter, the literature's else."""
    own = METHODS[method]
    looks, preset = (STARTER_LOOKS, own.starter) if is_starter(base_model) else (LOOKS, own.expert)
    looks = {name: value for name, value in looks.items() if name not in foreign_knobs(method)}
    spec = TrainSpec(**(looks | dict(preset) | {"method": method, "model": base_model})).to_json()
    return {knob: spec[knob] for knob in KNOBS}


def with_changes(
    *, method: str, base_model: str, kept: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """``kept`` with ``changes``. Where these name other losses, what was as usual with the old ones is so with them."""
    losses = changes.get("loss_type", kept.get("loss_type", ()))
    usual = default_settings(method=method, base_model=base_model)
    moved = METHODS[method].moved(kept.get("loss_type", ()), losses, usual)
    followed = {name: now for name, (was, now) in moved.items() if kept.get(name, was) == was}
    return {**kept, **followed, **changes}


def settings_of(run: Run) -> dict[str, Any]:
    """What a lead chose of the run's frozen spec."""
    return {knob: run.spec[knob] for knob in KNOBS if knob in run.spec}


def reward_model_ref(reward_model: RewardModel) -> ModelRef:
    """The reward model as the engine wants it: a whole model, or an adapter with its head on the model it stands on."""
    folder = str(reward_model_folder(reward_model.project_id, reward_model.number))
    if reward_model.run.spec["adaptation"] == "full":
        return ModelRef(folder)
    model, revision = model_of(reward_model.run.parent)
    return ModelRef(model, revision, adapter=folder)


def train_spec(
    *,
    loop: Loop,
    parent: Policy,
    method: str,
    settings: Mapping[str, Any],
    reward_model: RewardModel | None = None,
) -> TrainSpec:
    """The engine's whole spec: defaults, then ``settings`` (some of ``KNOBS``), on top of ``parent``.

    Raises ``SpecError``, keyed by field. The run continues the parent's adapter; what it is held close to is the
    reference, by default the base (facts: with the previous policy as reference, KL grows round after round).
    """
    losses = settings.get("loss_type", ())
    values = default_settings(method=method, base_model=loop.base_model, losses=losses) | dict(settings)
    model, revision = model_of(parent)
    adapter = "" if METHODS[method].makes_reward_model else adapter_folder(parent)
    anchor = ("", "")
    if parent.anchor is not None and METHODS[method].has_reference and values["reference"] == "base":
        anchor = model_of(parent.anchor)
    return TrainSpec.from_json(
        values
        | {
            "method": method,
            "model": model,
            "revision": revision,
            "start_adapter": adapter,
            # Without a start adapter the previous policy *is* the base, unless that lies further back.
            "reference": values["reference"] if adapter or parent.anchor is not None else "base",
            "reference_model": anchor[0],
            "reference_revision": anchor[1],
            "reward_model": None if reward_model is None else reward_model_ref(reward_model),
        }
    )
