"""What checkpoints and weights say they were made from: rows, settings, base, start adapter, versions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.engine import ranks, rundir
from training.engine.job import versions
from training.engine.models import ADAPTER_WEIGHTS
from training.engine.rows import TrainingRow, rows_sha256
from training.engine.spec import TrainSpec

# Settings that a checkpoint need not agree in: where things lie and how often they are saved. Adapters by their bytes.
NOT_IN_THE_RESULT = (
    "resume_from",
    "start_adapter",
    "save_every",
    "save_total_limit",
    "reference_cache",
    "reference_cache_mb",
    "trackers",
    "tracker_project",
    "tracker_run",
)


def checkpoint_about(spec: TrainSpec, usable: Sequence[TrainingRow]) -> dict[str, Any]:
    """What a checkpoint must agree in to be resumed: rows, settings that shape the result, start adapter, versions."""
    settings = spec.to_json()
    for name in NOT_IN_THE_RESULT:
        settings.pop(name)
    return {
        "rows": rows_sha256(usable),
        "settings": rundir.sha256_of_text(rundir.dumps(settings)),
        "start_adapter": _adapter_sha256(spec.start_adapter),
        "base": _base_sha256(spec.model),
        "versions": versions(),
        "processes": ranks.processes(),
    }


def weights_about(spec: TrainSpec, usable: Sequence[TrainingRow], ended_early: str | None) -> dict[str, Any]:
    """What the adapter's manifest says about it."""
    early = {} if ended_early is None else {"stopped_early": str(ended_early)}
    return early | {
        "base": spec.model,
        "revision": spec.revision,
        "method": spec.method,
        "adaptation": spec.adaptation,
        "loss_type": list(spec.loss_type),
        "reference": "" if not spec.own.has_reference else spec.reference if spec.start_adapter else "base",
        "beta": spec.beta,
        "start_adapter": _adapter_sha256(spec.start_adapter),
        "rows": rows_sha256(usable),
    }


def _base_sha256(model: str) -> str:
    """Tells one base from another without reading gigabytes: names and sizes of a local folder's files, and its config.

    A hub id is named by the settings, with its revision.
    """
    folder = Path(model)
    if not folder.is_dir():
        return ""
    facts: list[object] = [[item.name, item.stat().st_size] for item in sorted(folder.iterdir()) if item.is_file()]
    facts += [rundir.sha256_of(item) for item in (folder / "config.json", folder / rundir.MANIFEST) if item.is_file()]
    return rundir.sha256_of_text(rundir.dumps(facts))


def _adapter_sha256(folder: str) -> str:
    return rundir.sha256_of(Path(folder) / ADAPTER_WEIGHTS) if folder else ""
