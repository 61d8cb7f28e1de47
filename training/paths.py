"""Where jobs and policies lie on disk. Only ids and numbers make up a path, never text that came from people."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from training.engine.checkpoints import FOLDER as CHECKPOINTS
from training.models import Job, Policy


def is_starter(base_model: str) -> bool:
    """Is this the small model that Pairloop builds for itself?"""
    return bool(base_model) and Path(base_model) == Path(settings.STARTER_DIR)


def belongs_to_a_project(base_model: str) -> bool:
    """Is this a folder of ours that holds what projects made: policies, runs? No other project may begin with it."""
    folder, home = Path(base_model).resolve(), Path(settings.HOME).resolve()
    return folder.is_relative_to(home) and not folder.is_relative_to(home / "models")


def job_folder(job: Job) -> Path:
    """All attempts at one job."""
    return Path(settings.RUNS_DIR) / str(job.pk)


def attempt_folder(job: Job, token: int) -> Path:
    """One attempt: nobody else ever had this token, so nobody else writes here."""
    return job_folder(job) / str(token)


def earlier_attempts(job: Job, token: int) -> list[Path]:
    """Folders of the attempts before this one, oldest first."""
    folder = job_folder(job)
    numbers = sorted(int(item.name) for item in folder.iterdir() if item.name.isdecimal()) if folder.exists() else []
    return [folder / str(number) for number in numbers if number < token]


def policy_folder(project_id: int, number: int) -> Path:
    """Where a policy's adapter is kept."""
    return Path(settings.POLICIES_DIR) / str(project_id) / str(number)


def reward_model_folder(project_id: int, number: int) -> Path:
    """Where a reward model's weights are kept, beside the policies and never among their numbers."""
    return Path(settings.POLICIES_DIR) / str(project_id) / f"reward-{number}"


def weights_folder(policy: Policy) -> Path:
    """The policy's own weights, an adapter or a whole model. Not for the base, which has none."""
    return Path(settings.HOME) / policy.adapter_path


def merged_folder(policy: Policy) -> Path:
    """Where a whole model is kept that was made of a trained policy. It can be made again: no backup is needed."""
    return Path(settings.HOME) / "merged" / str(policy.project_id) / str(policy.number)


def adapter_folder(policy: Policy) -> str:
    """The adapter as the engine wants it: a folder, or empty for the base and for a whole model."""
    return str(weights_folder(policy)) if policy.adapter_path and not policy.whole else ""


def model_of(policy: Policy) -> tuple[str, str]:
    """The model without any adapter, as the engine wants it: a folder or hub id, and its revision."""
    if policy.model_path:
        return str(Path(settings.HOME) / policy.model_path), ""
    return policy.base_model, policy.base_revision


def reference_cache() -> dict[str, str | int]:
    """Where the engine keeps log-probabilities under references, as its specs say it; nothing where it must not."""
    if not settings.REFERENCE_CACHE_MB:
        return {}
    folder = str(Path(settings.CACHE_DIR) / "reference")
    return {"reference_cache": folder, "reference_cache_mb": settings.REFERENCE_CACHE_MB}


def drop_working_files(job: Job, *, keep_checkpoints: bool = False) -> None:
    """After a job has ended: the unpublished copy of the adapter, and optimizer states unless they may be resumed from.

    Spec, rows, events, logs and result stay, so that what was done can be looked up and done again by hand.
    """
    _drop(job, ("adapter", "model", "work") if keep_checkpoints else ("adapter", "model", "work", CHECKPOINTS))


def drop_checkpoints(job: Job) -> None:
    """Nobody will resume it any more."""
    _drop(job, (CHECKPOINTS,))


def _drop(job: Job, names: Sequence[str]) -> None:
    folder = job_folder(job)
    if folder.exists():
        for attempt in folder.iterdir():
            for name in names:
                shutil.rmtree(attempt / name, ignore_errors=True)
