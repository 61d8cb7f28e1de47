"""`train`: one LoRA run with TRL's own trainer of the method, and nothing published that is not sound.

What is a method's own (rows, trainer, checks) is in `training.engine.methods`; this is what they have in common. The
trainers are used as they are. What they get wrong without a word is closed around them: the row gate (rows), an
explicit reference that is measured before the first step (reference), verified checkpoints (checkpoints), a stop at
the first number that is not finite (watch), and a finite scan of the weights before they are published.

A resumed run starts from the original start adapter and then loads the checkpoint: started from the checkpoint
itself, it would silently take the half-trained adapter as its reference. On CPU the result is bit for bit that of an
uninterrupted run.
"""

import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from annotate.said import Said
from training.engine import checkpoints, ranks
from training.engine.chat import Chat
from training.engine.job import Cancelled, Failure, Job
from training.engine.looks import Looks, RewardLooks
from training.engine.models import (
    ADAPTER,
    Device,
    choose_device,
    for_training,
    load_base,
    load_tokenizer,
    with_adapter_merged,
)
from training.engine.provenance import checkpoint_about, weights_about
from training.engine.publish import gathered_weights, publish_adapter, publish_model
from training.engine.reference_models import base_to_look_at, held_close_trainer
from training.engine.rows import TrainingRow, usable_rows
from training.engine.sizes import note_surroundings, within_reach
from training.engine.spec import ModelRef, TrainSpec
from training.engine.trackers import tracked
from training.engine.trainer import WORK, make_trainer
from training.engine.watch import Watch, reported


def train(job: Job, spec: TrainSpec, rows: Sequence[Mapping[str, Any]]) -> str:
    """Trains, publishes `adapter/` (`model/` where the method merges), and returns the closing sentence.

    Raises Failure or Cancelled; then nothing is published.
    """
    with tracked(job, spec):
        return _train(job, spec, rows)


def _train(job: Job, spec: TrainSpec, rows: Sequence[Mapping[str, Any]]) -> str:
    job.events.phase("load", Said("Loading the model and checking the rows"))
    whole, spec = spec, ranks.share(spec)
    device = choose_device(spec.device, spec.precision)
    ref = ModelRef(spec.model, spec.revision, spec.start_adapter)
    chat = load_tokenizer(ref, job)
    note_surroundings(job, ref)
    spec = within_reach(job, ref, spec)
    usable = usable_rows(job, chat, spec, rows)
    _quiet_libraries()
    import torch
    from transformers import PrinterCallback, set_seed

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # for debugging, and costs a fifth of the time
    asked, about = len(usable), partial(checkpoint_about, whole, usable)
    usable = spec.own.keep(job, spec, chat, device, usable, about)
    set_seed(spec.seed)
    scores = spec.own.makes_reward_model
    model: Any = load_base(ref, for_training(spec, device), four_bit=spec.adaptation == "qlora", scores=scores)
    base = model
    if spec.reference_model:
        base = load_base(ModelRef(spec.reference_model, spec.reference_revision), for_training(spec, device))
    looks = (RewardLooks if scores else Looks)(job, spec, chat, usable)
    looks.measure_base(base)
    if spec.own.has_reference:
        far = None if base is model else base
        trainer = held_close_trainer(job, spec, device, chat, model, usable, far=far, asked=asked)
    else:
        if spec.start_adapter:  # what was learned so far becomes part of what is trained on
            model = with_adapter_merged(model, spec.start_adapter)
        job.events.phase("prepare", Said("Preparing %(n)s rows", n=len(usable)))
        trainer = make_trainer(job, spec, device, chat, model, usable, asked=asked)
    if spec.makes_whole_models and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise Failure(
            "sharded",
            Said("Whole models are not made where each process holds a part. Train an adapter, or without sharding."),
        )
    _require_space(job, trainer.model, spec)
    if looks.wants_base_model:
        looks.base_model = base_to_look_at(job, spec, device, trainer, None if base is model else base)

    trainer.remove_callback(PrinterCallback)
    found = _watch_and_find_checkpoint(job, whole, trainer, usable, looks)
    looks.at_start(trainer.model)
    job.events.phase("train", Said("Training on %(n)s rows", n=len(usable)))
    job.stop_only_between_steps()
    if looks.ended is None:  # else an attempt before this one had ended early and was killed before it could publish
        trainer.train(resume_from_checkpoint=str(found) if found else None)
    stopped = any(ranks.any_says(job.stop_asked))
    if job.rank == 0:
        shutil.rmtree(job.path / WORK, ignore_errors=True)
    if stopped:
        raise Cancelled
    return _finish(job, spec, device, trainer, chat, usable, looks)


def _quiet_libraries() -> None:
    """Progress bars are for terminals; ours are events. TRL still uses a name that transformers deprecates."""
    import datasets

    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing. is deprecated", category=FutureWarning)


def _require_space(job: Job, model: Any, spec: TrainSpec) -> None:
    """Refuses to start when the checkpoints would not fit: a full disk in the middle of a save loses more."""
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    # Weights and two Adam moments in float32, for each checkpoint kept, one being written, and the result.
    needed = weights * 4 * (3 * (spec.save_total_limit + 1) + 1) + 64 * 2**20
    if spec.makes_whole_models:
        needed += sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    free = shutil.disk_usage(job.path).free
    if free < needed:
        raise Failure(
            "no_space",
            Said(
                "The job needs about %(needed)s MiB of disk and %(free)s MiB are free. Free some space, or keep fewer "
                "checkpoints.",
                needed=needed // 2**20,
                free=free // 2**20,
            ),
        )


def _watch_and_find_checkpoint(
    job: Job, spec: TrainSpec, trainer: Any, usable: Sequence[TrainingRow], looks: Looks
) -> Path | None:
    """Sets the watch on the trainer; the newest sound checkpoint of the very same job to resume from, or None.

    `spec`: the whole job's, not one process's share of it.
    """
    about = checkpoint_about(spec, usable) | looks.about()
    root = job.path / checkpoints.FOLDER
    found: tuple[int, Path] | None = None
    if job.rank == 0:
        shutil.rmtree(job.path / WORK, ignore_errors=True)  # what a killed process left half-written
        places = [Path(item) for item in spec.resume_from] + [root]
        found = checkpoints.newest_verified(places, about=about, warn=job.events.warning)
    found = ranks.from_first(found)
    trainer.add_callback(Watch(job, root, about, spec.save_total_limit, looks).callback())
    if found is None:
        return None
    job.events.phase("resume", Said("Resuming from step %(step)s", step=found[0]))
    job.about["resumed_from_step"] = found[0]
    looks.restore(found[1])
    return found[1]


def _finish(
    job: Job,
    spec: TrainSpec,
    device: Device,
    trainer: Any,
    chat: Chat,
    usable: Sequence[TrainingRow],
    looks: Looks,
) -> Said:
    """Publishes the weights, the best ones where the looks chose, and says what came of the run."""
    steps, ended_early = looks.ended or (int(trainer.state.global_step), None)
    looks.take_best(trainer.model, steps)
    job.metrics |= looks.at_end(trainer.model)
    about = weights_about(spec, usable, ended_early)
    weights = gathered_weights(trainer)
    if job.rank:
        pass  # the first process publishes
    elif spec.makes_whole_models:
        job.events.phase("publish", Said("Merging, checking and saving the model"))
        job.manifest_sha256 = publish_model(job, spec, device, trainer.model, chat, about)
    else:
        job.events.phase("publish", Said("Checking and saving the adapter"))
        job.manifest_sha256 = publish_adapter(job.path, trainer.model, ADAPTER, about, weights)
    job.metrics |= {"rows": len(usable), "steps": steps} | _last_metrics(trainer.state.log_history)
    return _closing(job, rows=len(usable), steps=steps, ended_early=ended_early)


def _closing(job: Job, *, rows: int, steps: int, ended_early: Said | None) -> Said:
    """What the result says of a run that trained something."""
    skipped = len(job.skipped)
    if ended_early is not None:
        return Said(
            "Trained on %(rows)s rows, %(why)s; %(skipped)s rows skipped.", rows=rows, why=ended_early, skipped=skipped
        )
    return Said(
        "Trained on %(rows)s rows in %(steps)s steps; %(skipped)s rows skipped.",
        rows=rows,
        steps=steps,
        skipped=skipped,
    )


def _last_metrics(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """First and last loss, and the last finite value of every logged metric."""
    logged = [entry for entry in history if "loss" in entry]
    found: dict[str, float] = {}
    for entry in logged:
        found |= {name: value for name, value in reported(entry).items() if math.isfinite(value)}
    if logged:
        found["first_loss"] = float(logged[0]["loss"])
    return found
