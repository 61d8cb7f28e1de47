"""Where a run's numbers go besides its events: TensorBoard's files always, other trackers when the spec names them.

Everything that is measured (`metric` and `look` events) is passed on as `train/...` and `look/...`. A tracker that is
not installed, or that fails, is a warning and no more: a run must not end because a dashboard is away. Trackers that
nobody named are not imported, and the launcher keeps their settings and keys out of the engine's environment.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine.job import Job

if TYPE_CHECKING:
    from training.engine.spec import TrainSpec

FOLDER = "tensorboard"

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Tracker:
    """One destination: `log(step, numbers)` and `close()`."""

    name: str
    log: Callable[[int, Numbers], Any]
    close: Callable[[], Any]


@contextmanager
def tracked(job: Job, spec: "TrainSpec") -> Iterator[None]:
    """Numbers that are measured inside go to every tracker; afterwards all are closed."""
    trackers = _opened(job, spec) if job.rank == 0 else []  # of several processes one speaks

    def passed_on(kind: str, step: int, values: Numbers) -> None:
        prefix = "train" if kind == "metric" else kind
        numbers = {f"{prefix}/{name}": value for name, value in values.items()}
        for tracker in list(trackers):
            try:
                tracker.log(step, numbers)
            except Exception as error:  # noqa: BLE001  # whatever a tracker does, the run goes on without it
                trackers.remove(tracker)
                _warn(job, tracker.name, error)

    job.events.listener = passed_on
    try:
        yield
    finally:
        job.events.listener = None
        for tracker in trackers:
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001  # likewise
                _warn(job, tracker.name, error)


def _opened(job: Job, spec: "TrainSpec") -> list[Tracker]:
    found = []
    for name in ("tensorboard", *spec.trackers):
        try:
            found.append(_OPEN[name](job.path, spec))
        except ImportError:
            job.events.warning(
                Said("%(tracker)s is not installed, so the run is not tracked there. Install it.", tracker=name)
            )
        except Exception as error:  # noqa: BLE001  # likewise
            _warn(job, name, error)
    return found


def _warn(job: Job, name: str, error: BaseException) -> None:
    why = " ".join(str(error).split())[:200].encode("utf-8", "replace").decode()
    job.events.warning(Said("%(tracker)s failed, and the run goes on without it: %(why)s", tracker=name, why=why))


def _tensorboard(path: Path, spec: "TrainSpec") -> Tracker:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(path / FOLDER))

    def log(step: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    return Tracker("tensorboard", log, writer.close)


def _wandb(path: Path, spec: "TrainSpec") -> Tracker:
    import wandb

    run = wandb.init(project=spec.tracker_project, name=spec.tracker_run or None, config=_settings(spec), dir=str(path))
    return Tracker("wandb", lambda step, numbers: run.log(dict(numbers), step=step), run.finish)


def _mlflow(path: Path, spec: "TrainSpec") -> Tracker:
    import mlflow

    mlflow.set_experiment(spec.tracker_project)
    mlflow.start_run(run_name=spec.tracker_run or None)
    mlflow.log_params(_settings(spec))
    return Tracker("mlflow", lambda step, numbers: mlflow.log_metrics(dict(numbers), step=step), mlflow.end_run)


def _trackio(path: Path, spec: "TrainSpec") -> Tracker:
    import trackio

    trackio.init(project=spec.tracker_project, name=spec.tracker_run or None, config=_settings(spec))
    return Tracker("trackio", lambda step, numbers: trackio.log(dict(numbers), step=step), trackio.finish)


_OPEN: dict[str, Callable[[Path, "TrainSpec"], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}


def _settings(spec: "TrainSpec") -> dict[str, Any]:
    """The spec without what names folders of this machine."""
    here = {"model", "start_adapter", "resume_from", "reference_cache", "trackers", "tracker_project", "tracker_run"}
    return {
        name: value
        for name, value in spec.to_json().items()
        if name not in here and not (isinstance(value, str) and value.startswith("/"))
    }
