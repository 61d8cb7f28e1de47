"""One job from doorbell to end: claim it, run the engine, publish what it made, or say why not."""

import logging
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from annotate.said import Said, packed, unpacked
from training.engine import rundir
from training.engine.checks import SpecError
from training.engine.methods import METHODS
from training.engine.rundir import ManifestError
from training.launcher import Ending, Watch, end_leftover, finished_before, run_engine
from training.models import Job, Policy, Run
from training.paths import attempt_folder, drop_checkpoints, drop_working_files, earlier_attempts
from training.services.database import BROKEN, patiently, reconnecting
from training.services.heldout import score_rows
from training.services.leases import Lease, LeaseLostError, claim, claimable, finish, held, in_line, release, renew
from training.services.machines import note_surroundings
from training.services.outbound import publish_merge, publish_push, write_merge_dir, write_push_dir
from training.services.publishing import publish_reward_model, publish_run, record_skips, relay, write_train_dir
from training.services.release import CannotReleaseError
from training.services.runs import end_run, mark_training, spec_problems, wish_for
from training.services.sampling import publish_samples, write_sample_dir
from training.services.scoring import publish_scores, write_score_dir
from training.services.snapshots import SnapshotChangedError
from training.services.text import storable
from training.services.trials import publish_trial, write_trial_dir
from training.states import JOB_TERMINAL

logger = logging.getLogger(__name__)

Kind = Job.Kind


def work_on_next(*, rung_for: uuid.UUID | str, owner: str) -> int | None:
    """Works on the job that has waited longest, whichever the bell was rung for. Returns its project's id, or None.

    Bells are heard in the broker's order, and some twice: there are as many as jobs, so each job gets its turn.
    """
    for job_id in [*patiently(in_line), uuid.UUID(str(rung_for))]:
        project_id = work_on(job_id=job_id, owner=owner)
        if project_id is not None:
            return project_id
    return None


def work_on(*, job_id: uuid.UUID | str, owner: str) -> int | None:
    """Claims the job and works on it until it has ended or was given back. Returns its project's id.

    None, quietly, for a job that is not to be had: gone, ended, held by another worker, or given up.
    """
    lease = patiently(partial(claim, job_id=job_id, owner=owner))
    if lease is None:
        patiently(partial(give_up, job_id))
        return None
    job = patiently(lambda: _load(job_id))
    folder = attempt_folder(job, lease.token)
    logger.info("Job %s (%s): attempt %s begins.", job.pk, job.kind, lease.attempt)
    try:
        ending = _run(job, lease, folder)
        patiently(partial(_settle, job, lease, folder, ending))
    except LeaseLostError:
        logger.warning("Job %s: the lease of attempt %s was lost; what it made is discarded.", job.pk, lease.attempt)
    except OSError as error:
        # A full disk, most likely: somebody may make room before the attempts are used up.
        patiently(partial(_try_again, job, lease, _disk_trouble(error)))
    except (KeyboardInterrupt, SystemExit):
        release(lease, counts=False)
        raise
    return job.project_id


def _load(job_id: uuid.UUID | str) -> Job:
    return Job.objects.select_related(
        "project", "policy__author", "run__project__loop", "run__snapshot__project", "run__parent"
    ).get(pk=job_id)


# --- Running ----------------------------------------------------------------------------------------------------------


def _run(job: Job, lease: Lease, folder: Path) -> Ending:
    """The engine's ending, or that of an earlier attempt that had finished before its worker died."""
    earlier = earlier_attempts(job, lease.token)
    for leftover in earlier:
        end_leftover(leftover)
    for finished, result in finished_before(earlier):
        # What it wrote is whole, because the result is written last: only the publication is missing.
        return Ending("result", result | {"folder": str(finished)})
    if job.run is not None:
        if job.kind == Kind.TRAIN:
            drop_checkpoints_of_others(job)
            patiently(partial(mark_training, job.run))
        if patiently(partial(wish_for, job.run.pk)) == "cancel":
            return Ending("cancelled")
    try:
        patiently(partial(_write_folder, job, folder, [attempt / "checkpoints" for attempt in earlier]))
    except SnapshotChangedError as error:
        return _failed("snapshot_changed", error.args[0])
    except SpecError as error:
        return _failed("bad_spec", spec_problems(error))
    except CannotReleaseError as error:
        return _failed("cannot_release", error.args[0])
    watch = Watch(
        keep=partial(_keep, job, lease),
        wished=partial(_wished, job),
        every_seconds=min(2.0, settings.JOB_LEASE_SECONDS / 4),
        stall_seconds=settings.JOB_STALL_SECONDS,
        passing=BROKEN,
    )
    launch = settings.LAUNCH if job.kind == Kind.TRAIN else ()
    return run_engine(job.kind, folder, watch, trackers=settings.TRACKERS, launch=launch)


def _failed(code: str, message: Said) -> Ending:
    """As if the engine had said it."""
    return Ending("result", {"status": "failed", "code": code, "message": message, "said": packed(message)})


def _write_folder(job: Job, folder: Path, checkpoints: list[Path]) -> None:
    # A repeat after a broken connection finds what the first try wrote; the spec is written last.
    if (folder / rundir.SPEC).exists():
        return
    if job.kind == Kind.TRAIN:
        # A training job of before looks, or without them, has nothing to look at.
        heldout = score_rows(job) if job.payload else ()
        resume_from = [path for path in checkpoints if path.is_dir()]
        write_train_dir(_run_of(job), folder, resume_from=resume_from, heldout=heldout)
    elif job.kind == Kind.SCORE:
        write_score_dir(job, folder)
    elif job.kind == Kind.TRIAL:
        write_trial_dir(job, folder)
    elif job.kind == Kind.MERGE:
        write_merge_dir(job, folder)
    elif job.kind == Kind.PUSH:
        write_push_dir(job, _policy_of(job), folder)
    else:
        write_sample_dir(job, folder)


def _keep(job: Job, lease: Lease, events: Any) -> None:
    """Renews the lease and stores new events in one transaction: nobody who lost it writes into a run's history."""
    with reconnecting(), transaction.atomic():
        if not renew(lease):
            raise LeaseLostError(f"job {job.pk} is no longer held with token {lease.token}")
        if job.run is not None and events:
            relay(job.run, events, attempt=lease.token, stage=job.kind)


def _wished(job: Job) -> Literal["", "cancel", "save"]:
    with reconnecting():
        return "" if job.run is None else wish_for(job.run.pk)


# --- Ending -----------------------------------------------------------------------------------------------------------


def _settle(job: Job, lease: Lease, folder: Path, ending: Ending) -> None:
    """What the ending means for the job and its run. One transaction each, safe to repeat."""
    note_surroundings(job=job, result=ending.result)
    if ending.kind == "stopped":
        release(lease, counts=False)
        logger.info("Job %s: given back, to go on at the next start.", job.pk)
    elif ending.kind == "cancelled":
        _end(job, lease, state=Job.State.CANCELLED, code="cancelled", message=Said("Cancelled by a lead."))
    elif ending.kind != "result":
        _try_again(job, lease, ending)
    elif ending.result["status"] == "finished":
        _publish(job, lease, Path(ending.result.get("folder", folder)), ending.result)
    else:
        code, message = str(ending.result["code"]), _sentence(ending.result)
        _end(job, lease, state=Job.State.FAILED, code=code, message=message, result=ending.result)


def _publish(job: Job, lease: Lease, folder: Path, result: dict[str, Any]) -> None:
    try:
        if job.kind == Kind.TRAIN:
            run = _run_of(job)
            publish = publish_reward_model if METHODS[run.method].makes_reward_model else publish_run
            publish(lease=lease, run=run, folder=folder, result=result)
        elif job.kind == Kind.SCORE:
            publish_scores(lease=lease, run=_run_of(job), policy=_policy_of(job), folder=folder, result=result)
        elif job.kind == Kind.TRIAL:
            publish_trial(lease=lease, job=job, folder=folder, result=result)
        elif job.kind == Kind.MERGE:
            publish_merge(lease=lease, job=job, policy=_policy_of(job), folder=folder, result=result)
        elif job.kind == Kind.PUSH:
            publish_push(lease=lease, job=job, policy=_policy_of(job), result=result)
        else:
            publish_samples(lease=lease, job=job, folder=folder, result=result)
    except (ManifestError, SnapshotChangedError, ValueError, KeyError, FileNotFoundError) as error:
        logger.exception("Job %s: its result cannot be published.", job.pk)
        # The result said finished, and its files say otherwise: no policy comes of that.
        message = Said(
            "What the engine wrote cannot be trusted (%(why)s). Nothing was published; start it again.", why=str(error)
        )
        _end(job, lease, state=Job.State.FAILED, code="bad_result", message=message)
        return
    drop_working_files(job)
    logger.info("Job %s (%s): published.", job.pk, job.kind)


def _try_again(job: Job, lease: Lease, ending: Ending) -> None:
    """A crash or a stall: once more, until the attempts are used up."""
    held(lease).update(error=ending.detail)
    logger.warning("Job %s: attempt %s ended badly. %s", job.pk, lease.attempt, ending.detail)
    if release(lease, counts=True) and lease.attempt >= settings.JOB_MAX_ATTEMPTS:
        give_up(job.pk)


def give_up(job_id: uuid.UUID | str) -> bool:
    """Ends a job whose attempts are used up, as ``poison``; False when it is not one, or someone else did."""
    with transaction.atomic():
        spent = Q(pk=job_id, attempt__gte=settings.JOB_MAX_ATTEMPTS)
        if not Job.objects.filter(claimable(), spent).update(state=Job.State.FAILED, ended_at=Now(), lease_until=None):
            return False
        job = _load(job_id)
        message = Said(
            "Given up after %(attempts)s attempts that ended without a result. %(last)s If memory ran out, lower the "
            "batch size or the maximal length; then start it again.",
            attempts=job.attempt,
            last=job.error or Said("The worker died each time."),
        )
        Job.objects.filter(pk=job_id).update(error=message)
        _end_run(job, state="failed", code="poison", message=message)
    _tidy(job)
    return True


def _sentence(result: Mapping[str, Any]) -> str:
    """What the engine says of its end, with its values where it gave them."""
    said = unpacked(storable(result.get("said")))
    return said if isinstance(said, Said) else str(result["message"])


def _disk_trouble(error: OSError) -> Ending:
    return Ending("crashed", detail=Said("Files could not be written: %(error)s.", error=str(error)))


def _end(job: Job, lease: Lease, *, state: str, code: str, message: str, result: dict[str, Any] | None = None) -> None:
    with transaction.atomic():
        finish(lease, state=state, error=message if state == Job.State.FAILED else "")
        _end_run(job, state=state, code=code, message=message, result=result)
    _tidy(job)


def _tidy(job: Job) -> None:
    """After a bad end. A training's checkpoints stay: a lead may resume it, until another run begins."""
    drop_working_files(job, keep_checkpoints=job.kind == Kind.TRAIN)


def drop_checkpoints_of_others(job: Job) -> None:
    """A run that begins is the newest, and only the newest can be resumed: what earlier ones kept may go."""
    earlier = Job.objects.filter(project=job.project_id, kind=Kind.TRAIN, state__in=JOB_TERMINAL).exclude(pk=job.pk)
    for other in patiently(lambda: list(earlier)):
        drop_checkpoints(other)


def _end_run(job: Job, *, state: str, code: str, message: str, result: dict[str, Any] | None = None) -> None:
    """The run ends with its job. A policy that could not be scored stays, and is never sampled from."""
    if job.run is None:
        return
    if job.kind == Kind.TRAIN:
        if result is not None:
            record_skips(job.run, result)
        end_run(job.run, state=state, code=code, message=message, result=result)
        return
    told = Said("The policy was trained, but not scored, so it is not sampled from. %(why)s", why=message)
    end_run(job.run, state=state, code=f"scoring_{code}"[:40], message=told)


def _run_of(job: Job) -> Run:
    if job.run is None:
        raise ValueError(f"{job.kind} job {job.pk} belongs to no run")
    return job.run


def _policy_of(job: Job) -> Policy:
    if job.policy is None:
        raise ValueError(f"{job.kind} job {job.pk} names no policy")
    return job.policy
