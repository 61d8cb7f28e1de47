"""PURE: what to do after a run that did not end well, and which settings to start the next one with.

The message of a run says what happened. This says what to do now, by the code of its end, in sentences for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotate.said import Said


@dataclass(frozen=True, slots=True)
class Advice:
    """Sentences, each a thing to do, and settings that the next run's form is filled with where they help."""

    steps: list[Said]
    changes: dict[str, Any]


def advice(code: str, spec: Mapping[str, Any]) -> Advice:
    """For an end's ``code`` and the frozen ``spec`` of its run. Unknown codes have none."""
    if code == "not_finite":
        return _diverged(spec)
    if code == "out_of_memory":
        return _out_of_memory(spec)
    if code.startswith("scoring_"):
        return Advice([*_cause(code.removeprefix("scoring_")), _SCORE_AGAIN], {})
    return Advice(list(_STEPS.get(code, ())), {})


def _cause(code: str) -> tuple[Said, ...]:
    """What to mend before it is scored again: the first step of the same end in training, where that is one."""
    return () if code == "cancelled" else _STEPS.get(code, (_LOG,))[:1]


_LOG = Said("Read the end of the engine's log below: it names what broke.")
_RESUME = Said("Resume the run when that is done; it goes on from its last checkpoint.")
_SCORE_AGAIN = Said("Then have it scored again: its policy is kept, and nothing is trained anew.")
_STEPS: dict[str, tuple[Said, ...]] = {
    "cancelled": (Said("Resume it, or start one like it with other settings."),),
    "no_space": (
        Said("Make room on the disk that holds the runs: old run directories, model caches, other files."),
        _RESUME,
    ),
    "poison": (
        _LOG,
        Said("If the system killed it for its memory, start one like it with a smaller batch; else resume it."),
    ),
    "internal": (_LOG, Said("If it was a matter of the moment, resume it. If it comes again, report it with the log.")),
    "bad_result": (
        Said("Check the disk that holds the runs: what was written differs from what was meant."),
        _RESUME,
    ),
    "no_device": (
        Said("See that the worker's machine shows its GPU (nvidia-smi), or start it where it does."),
        _RESUME,
    ),
    "no_bfloat16": (Said("Start one like it with the precision “auto”: the worker chooses what its device can do."),),
    "bad_model": (
        Said("Check the base model in the loop's settings: the folder is there, or the hub id and revision are right."),
        Said("A gated hub model wants HF_TOKEN in the worker's environment."),
    ),
    "bad_adapter": (
        Said("Restore the policy's folder from a backup; manage.py verify says which files differ."),
        Said("Or go back to an earlier policy, and train from there."),
    ),
    "bad_reward_model": (Said("Train a reward model with a lower learning rate, and start one like this with it."),),
    "wrong_reference": (_LOG, Said("Report it with the versions of the packages: no setting of yours causes this.")),
    "all_rows_skipped": (
        Said("See below why each row was skipped. Rows that are too long fit with a larger maximal length."),
    ),
    "too_few_rows": (
        Said("See below why rows were skipped, judge some more, or lower the fewest rows that a run may have."),
    ),
    "too_few_kept": (
        Said("Look at the reward model's held-out accuracy: near one half, it drops good pairs. Train a better one."),
        Said("If the policy really answers better than what was judged, judge its answers; or train DPO on all pairs."),
    ),
    "no_such_modules": (Said("Start one like it with target modules that the message names, or with all-linear."),),
    "one_sided": (Said("Rate some answers of the other kind: KTO learns from the difference."),),
    "snapshot_changed": (Said("Start one like it: it takes today's judgments."),),
    "bad_spec": (Said("Start one like it and look at the fields that the message names."),),
    "guards": (
        Said("Look at the answers before and after: they show what the guard saw."),
        Said("Train closer to the reference: a larger beta, a lower learning rate, fewer epochs."),
    ),
    "stalled": (_LOG, _RESUME),
}


def _diverged(spec: Mapping[str, Any]) -> Advice:
    rate = float(spec.get("learning_rate") or 0)
    steps = [Said("Look at the gradient norm and the loss just before the end: a jump there means too large a step.")]
    if rate:
        lower = float(f"{rate / 3:.2g}")
        steps.append(Said("Start one like it with a learning rate of %(rate)s, a third of this one's.", rate=lower))
        return Advice(steps, {"learning_rate": lower})
    return Advice(steps, {})


def _out_of_memory(spec: Mapping[str, Any]) -> Advice:
    """Halve what is in memory at once; the rows of a step stay the same."""
    batch, length = int(spec.get("batch_size") or 1), int(spec.get("max_length") or 0)
    if batch > 1:
        half, doubled = batch // 2, int(spec.get("gradient_accumulation") or 1) * 2
        step = Said(
            "Start one like it with a batch size of %(batch)s and a gradient accumulation of %(times)s: as many rows a "
            "step in half the memory.",
            batch=half,
            times=doubled,
        )
        return Advice([step], {"batch_size": half, "gradient_accumulation": doubled})
    if spec.get("gradient_checkpointing") is False:
        return Advice(
            [Said("Start one like it with gradient checkpointing: a lot less memory, a fifth more time.")],
            {"gradient_checkpointing": True},
        )
    if length > 64:
        return Advice(
            [
                Said(
                    "Start one like it with a maximal length of %(length)s tokens; longer answers are cut.",
                    length=length // 2,
                )
            ],
            {"max_length": length // 2},
        )
    return Advice([Said("Train a smaller base model, or on a larger device.")], {})
