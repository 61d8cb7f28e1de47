"""Several processes that train as one: the numbers of a single one, one voice, one end."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.engine.kit import FAST, logged, pairs, train_here
from training.engine import ranks, rundir
from training.engine.job import Failure, Job, run
from training.engine.spec import TrainSpec
from training.launcher import Ending, Watch, run_engine

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
STEPS = 8


def launch(path: Path, *, cancel_after: int = 0) -> Ending:
    """Runs the engine with two processes, and cancels it once it has logged that many steps."""
    seen: list[dict[str, Any]] = []

    def keep(events: Sequence[dict[str, Any]]) -> None:
        seen.extend(events)

    def wished() -> Literal["", "cancel"]:
        steps = sum(event["kind"] == "metric" for event in seen)
        return "cancel" if 0 < cancel_after <= steps else ""

    watch = Watch(keep=keep, wished=wished, every_seconds=0.05, stall_seconds=300, passing=())
    return run_engine("train", path, watch, launch=TORCHRUN)


def test_two_processes_stop_together_resume_and_log_what_one_logs(starter: Path, tmp_path: Path) -> None:
    rows = pairs(16)
    settings: dict[str, Any] = FAST | {"epochs": 4, "gradient_accumulation": 2, "batch_size": 2, "save_every": 3}
    alone = TrainSpec(method="dpo", model=str(starter), **settings)
    train_here(tmp_path / "alone", alone, rows)

    first, second = tmp_path / "first", tmp_path / "second"
    cache = str(tmp_path / "cache")
    spec = TrainSpec(method="dpo", model=str(starter), reference_cache=cache, **settings)
    rundir.write_run_dir(first, spec, rows)
    ending = launch(first, cancel_after=1)
    log = (first / "engine.log").read_text()
    assert ending.kind == "cancelled", log
    result = rundir.read_result(first)
    assert result is not None, log
    assert (result["status"], result["about"]["processes"]) == ("cancelled", 2)
    last = max(event["step"] for event in rundir.read_events(first) if event["kind"] == "metric")
    assert 1 <= last < 2 * STEPS
    stopped_at = first / "checkpoints" / f"checkpoint-{last}"
    written = rundir.verify_manifest(stopped_at)["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(written)

    resumed = TrainSpec.from_json(spec.to_json() | {"resume_from": [str(first / "checkpoints")]})
    rundir.write_run_dir(second, resumed, rows)
    ending = launch(second)
    assert ending.kind == "result", (second / "engine.log").read_text()
    assert ending.result["status"] == "finished", ending.result["message"]
    assert ending.result["about"]["resumed_from_step"] == last
    assert ending.result["about"]["reference"]["known_answers"] == 32
    rundir.verify_manifest(second / "adapter", ending.result["manifest_sha256"])

    sequence = [event["seq"] for event in rundir.read_events(second)]
    assert sequence == list(range(1, len(sequence) + 1)), "one process speaks"
    together = logged(first) + logged(second)
    assert len(together) == len(logged(tmp_path / "alone")) == 2 * STEPS
    for step, (one, two) in enumerate(zip(logged(tmp_path / "alone"), together, strict=True), start=1):
        for name in ("loss", "rewards/margins", "rewards/chosen", "grad_norm"):
            assert two[name] == pytest.approx(one[name], abs=1e-4, rel=1e-3), (step, name)


def test_a_step_sees_as_many_rows_however_many_processes_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TrainSpec(method="dpo", model="m", batch_size=6, gradient_accumulation=4)
    assert ranks.share(spec) == spec
    for processes, shared in (("2", (6, 2)), ("4", (6, 1)), ("3", (2, 4))):
        monkeypatch.setenv("WORLD_SIZE", processes)
        part = ranks.share(spec)
        assert (part.batch_size, part.gradient_accumulation) == shared
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(Failure, match="5 processes cannot share"):
        ranks.share(spec)


def test_what_went_wrong_in_another_process_is_what_the_first_one_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def out_of_memory(job: Job) -> str:
        job.events.warning("nobody hears this")
        raise MemoryError

    def left_alone(job: Job) -> str:
        raise RuntimeError("Connection closed by peer")

    try:
        monkeypatch.setenv("RANK", "1")
        assert run(tmp_path, out_of_memory) == 3
        assert [item.name for item in tmp_path.iterdir()] == ["failed-1.json"]
        monkeypatch.setenv("RANK", "0")
        assert run(tmp_path, left_alone) == 3
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    result = rundir.read_result(tmp_path)
    assert result is not None
    assert (result["status"], result["code"]) == ("failed", "out_of_memory")
    assert "Lower the batch size" in result["message"]
