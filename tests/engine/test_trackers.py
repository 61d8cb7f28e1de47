"""A run's numbers in TensorBoard's files and in trackers that are named; none of them can hurt it."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.engine.kit import FAST, logged, pairs
from training.engine import rundir
from training.engine.job import Job
from training.engine.spec import SpecError, TrainSpec
from training.engine.trackers import tracked


def spec_with(*trackers: str) -> TrainSpec:
    return TrainSpec(
        method="dpo", model="/models/secret-place", trackers=trackers, tracker_run="project-1-run-4", **FAST
    )


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would read: the records of the event files, by the format's own protobuf."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:  # length (8 bytes), its checksum (4), the record, its checksum (4)
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def measure(job: Job) -> None:
    job.events.measured("metric", 1, {"loss": 0.5})
    job.events.measured("look", 1, {"heldout_accuracy": 0.75})
    job.events.measured("metric", 2, {"loss": 0.25})


def warnings_of(path: Path) -> list[str]:
    return [event["message"] for event in rundir.read_events(path) if event["kind"] == "warning"]


def test_every_number_of_a_run_is_in_tensorboards_files(starter: Path, tmp_path: Path) -> None:
    from training.engine.train import train

    path = tmp_path / "run"
    path.mkdir()
    rows = pairs(8)
    train(Job(path), TrainSpec(method="dpo", model=str(starter), **FAST), rows)
    found = scalars(path / "tensorboard")
    for step, values in enumerate(logged(path), start=1):
        for name, value in values.items():
            assert dict(found[f"train/{name}"])[step] == pytest.approx(value, rel=1e-6)
    assert warnings_of(path) == []


def test_looks_and_steps_have_names_of_their_own(tmp_path: Path) -> None:
    job = Job(tmp_path)
    with tracked(job, spec_with()):
        measure(job)
    found = scalars(tmp_path / "tensorboard")
    assert found["train/loss"] == [(1, 0.5), (2, 0.25)]
    assert found["look/heldout_accuracy"] == [(1, 0.75)]


class Heard:
    """Stands in for the three packages, by the few names that they are called by."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def called(*given: Any, **named: Any) -> "Heard":
            self.said.append((name, given, named))
            return self

        return called


@pytest.mark.parametrize(
    ("name", "first", "logs", "last"),
    [
        ("wandb", "init", "log", "finish"),
        ("mlflow", "set_experiment", "log_metrics", "end_run"),
        ("trackio", "init", "log", "finish"),
    ],
)
def test_a_tracker_that_is_named_hears_everything_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: str, logs: str, last: str
) -> None:
    heard = Heard()
    package = ModuleType(name)
    package.__getattr__ = heard.__getattr__  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, name, package)
    job = Job(tmp_path)
    with tracked(job, spec_with(name)):
        measure(job)
    assert (heard.said[0][0], heard.said[-1][0]) == (first, last)
    assert [(given[0], named) for called, given, named in heard.said if called == logs] == [
        ({"train/loss": 0.5}, {"step": 1}),
        ({"look/heldout_accuracy": 0.75}, {"step": 1}),
        ({"train/loss": 0.25}, {"step": 2}),
    ]
    assert "project-1-run-4" in repr(heard.said)
    assert "secret-place" not in repr(heard.said)


def test_a_tracker_that_is_missing_or_breaks_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    broken = ModuleType("trackio")
    broken.init = broken.finish = lambda **named: None  # type: ignore[attr-defined]
    broken.log = lambda numbers, step: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", broken)
    job = Job(tmp_path)
    with tracked(job, spec_with("mlflow", "trackio")):
        measure(job)
    assert warnings_of(tmp_path) == [
        "mlflow is not installed, so the run is not tracked there. Install it.",
        "trackio failed, and the run goes on without it: division by zero",
    ]
    assert len(scalars(tmp_path / "tensorboard")["train/loss"]) == 2
    with pytest.raises(SpecError, match="must be among wandb, mlflow, trackio"):
        spec_with("neptune")
