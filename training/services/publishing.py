"""What a run's worker does: write the engine's folder, pass its events on, publish its policy."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from annotate.said import Said
from annotate.services.content import policy_author
from training.engine import rundir
from training.engine.methods import METHODS
from training.engine.spec import TrainSpec
from training.models import Job, Policy, RewardModel, Run, RunEvent
from training.paths import policy_folder, reference_cache, reward_model_folder
from training.services.leases import Lease, finish
from training.services.runs import brief, move
from training.services.snapshots import SnapshotChangedError, run_rows, settle, settle_refused
from training.services.text import storable


def write_train_dir(
    run: Run, folder: Path, *, resume_from: Sequence[Path], heldout: Iterable[Mapping[str, Any]] = ()
) -> None:
    """What the engine needs to train. Raises ``SnapshotChangedError``."""
    here: dict[str, Any] = {"resume_from": [str(path) for path in resume_from]} | reference_cache()
    here |= {"trackers": list(settings.TRACKERS), "tracker_run": f"project-{run.project_id}-run-{run.number}"}
    spec = TrainSpec.from_json(run.spec | here)
    rundir.write_run_dir(folder, spec, run_rows(run).rows, heldout)


def relay(run: Run, events: Sequence[Mapping[str, Any]], *, attempt: int, stage: str) -> None:
    """Stores the engine's events, and the newest step and metrics on the run. ``stage``: "train" or "score"."""
    rows: list[RunEvent] = []
    latest: dict[str, float] = {}
    progress: dict[str, int] = {}
    extra = {"attempt": attempt, "stage": stage}
    for event in events:
        data = {key: value for key, value in event.items() if key not in ("seq", "at", "kind", "step")}
        kind, step = str(event["kind"]), event.get("step")
        if kind == "progress":
            progress = {"step": int(event["step"]), "total_steps": int(event["total"])}
            continue
        if kind == "metric":
            latest = storable(event.get("values", {})) | {"step": step}
        at = datetime.fromtimestamp(float(event["at"]), UTC)
        rows.append(RunEvent(run=run, kind=kind[:20], step=step, data=storable(data) | extra, at=at))
    RunEvent.objects.bulk_create(rows, batch_size=500)
    if stage == "train" and (progress or latest):
        Run.objects.filter(pk=run.pk).update(**progress, **({"latest": latest} if latest else {}))


def publish_run(*, lease: Lease, run: Run, folder: Path, result: Mapping[str, Any]) -> Policy:
    """The run's adapter, or its merged model, becomes an immutable, numbered policy.

    The bytes are copied aside and verified before the transaction; inside, one UPDATE proves that the lease is ours,
    then the folder takes its number by a rename. A crash before the commit leaves a folder that no row names, and
    the next attempt puts its own in that place. Raises ``LeaseLostError`` or ``ManifestError``.
    """
    whole = TrainSpec.from_json(run.spec).makes_whole_models
    with _brought_in(lease, run, folder, result) as (incoming, manifest):
        made = run_rows(run)
        with transaction.atomic():
            finish(lease, state=Job.State.DONE)
            number = 1 + (run.project.policies.aggregate(Max("number"))["number__max"] or 0)
            place = str(policy_folder(run.project_id, number).relative_to(settings.HOME))
            policy = Policy.objects.create(
                project=run.project,
                number=number,
                parent=run.parent,
                author=policy_author(project=run.project, number=number, name=f"policy {number}"),
                run=run,
                base_model=run.parent.base_model,
                base_revision=run.parent.base_revision,
                adapter_path=place,
                model_path=place if whole else run.parent.model_path,
                anchor=_anchor(run, whole=whole),
                manifest=manifest,
                manifest_sha256=str(result["manifest_sha256"]),
            )
            settle(snapshot=run.snapshot, made=made, used=map(str, result["used"]), skipped=result["skipped"])
            move(run, to="scoring", why=Said("trained policy %(number)s", number=number), result=brief(result))
            _put_in_place(incoming, policy_folder(run.project_id, number))
    return policy


def publish_reward_model(*, lease: Lease, run: Run, folder: Path, result: Mapping[str, Any]) -> RewardModel:
    """The same for a run that made a reward model, which ends with that. Raises as ``publish_run``."""
    with _brought_in(lease, run, folder, result) as (incoming, manifest):
        made = run_rows(run)
        with transaction.atomic():
            finish(lease, state=Job.State.DONE)
            number = 1 + (run.project.reward_models.aggregate(Max("number"))["number__max"] or 0)
            reward_model = RewardModel.objects.create(
                project=run.project,
                number=number,
                run=run,
                manifest=manifest,
                manifest_sha256=str(result["manifest_sha256"]),
                metrics=storable(dict(result["metrics"])),
            )
            settle(snapshot=run.snapshot, made=made, used=map(str, result["used"]), skipped=result["skipped"])
            why = Said("Reward model %(number)s was trained.", number=number)
            ended = {"ended_at": timezone.now(), "code": "ok", "message": why}
            move(run, to="finished", why=why, result=brief(result), **ended)
            _put_in_place(incoming, reward_model_folder(run.project_id, number))
    return reward_model


@contextmanager
def _brought_in(
    lease: Lease, run: Run, folder: Path, result: Mapping[str, Any]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A verified copy of the weights on the disk where they will stay, and their manifest; gone at the end."""
    incoming = policy_folder(run.project_id, 0).parent / f".incoming-{lease.job_id}-{lease.token}"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.parent.mkdir(parents=True, exist_ok=True)
    whole = TrainSpec.from_json(run.spec).makes_whole_models
    shutil.copytree(folder / ("model" if whole else "adapter"), incoming)
    try:
        manifest = rundir.verify_manifest(incoming, str(result["manifest_sha256"]))
        _sync(incoming)
        yield incoming, manifest
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _anchor(run: Run, *, whole: bool) -> Policy | None:
    """Which policy's model the new one is held close to, unless it is the model that it stands on."""
    if METHODS[run.method].merges or not METHODS[run.method].has_reference:
        return None  # it begins anew
    parent = run.parent
    if parent.anchor is not None or not whole:
        return parent.anchor
    if parent.model_path:
        return Policy.objects.get(project=run.project, adapter_path=parent.model_path)
    return Policy.objects.get(project=run.project, number=0)


def _sync(folder: Path) -> None:
    for item in folder.rglob("*"):
        if item.is_file():
            with item.open("rb") as file:
                os.fsync(file.fileno())
    rundir.fsync_folder(folder)


def _put_in_place(incoming: Path, target: Path) -> None:
    """A folder at the target was left by a crash before its commit: no policy has this number, or we would not."""
    if target.exists():
        shutil.rmtree(target)
    incoming.rename(target)
    rundir.fsync_folder(target.parent)


def record_skips(run: Run, result: Mapping[str, Any]) -> None:
    """Which rows the engine refused may be why the run failed: the page shows it."""
    try:
        made = run_rows(run)
    except SnapshotChangedError:
        return
    settle_refused(snapshot=run.snapshot, made=made, skipped=result.get("skipped", []))
