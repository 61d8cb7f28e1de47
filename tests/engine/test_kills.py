"""kill -9 at chosen steps, in the middle of saves and while publishing: the adapter is the same to the last byte."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.engine.kit import FAST, pairs, thumbs
from tests.engine.zygote import Zygote
from training.engine import rundir
from training.engine.models import ADAPTER_WEIGHTS
from training.engine.spec import ModelRef, TrainSpec

# Seven rows in batches of two: epochs end on a smaller batch, and checkpoints fall in the middle of them.
SHORT: dict[str, Any] = FAST | {"epochs": 6, "batch_size": 2, "save_every": 3, "lora_dropout": 0.1, "min_rows": 4}
STEPS = 24


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


def has_logged(path: Path, step: int) -> bool:
    return any(event["kind"] == "metric" and event["step"] >= step for event in rundir.read_events(path))


def is_saving(path: Path, step: int) -> bool:
    """The trainer writes a checkpoint of this step or a later one, or it is being moved to its place."""
    work = path / "work"
    return work.is_dir() and any(int(item.name.split("-")[1]) >= step for item in work.glob("checkpoint-*"))


def is_publishing(path: Path, step: int) -> bool:
    return (path / ".adapter.tmp").exists()


def kill_when(zygote: Zygote, path: Path, moment: Callable[[Path, int], bool], step: int, delay: float) -> None:
    """Starts the run and kills it at that moment and a little later, if it still runs."""
    process = zygote.start(path)
    deadline = time.monotonic() + 300
    while not moment(path, step):
        assert time.monotonic() < deadline, (path / "engine.log").read_text()
        if (path / rundir.RESULT).exists():
            break
        time.sleep(0.001)
    time.sleep(delay)
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    zygote.wait()


@pytest.mark.parametrize(
    ("method", "moments"),
    [
        # Resumed from nothing, from a whole checkpoint, over a half-written one, and from the last step of all.
        (
            "dpo",
            [(has_logged, 2), (is_saving, 6), (has_logged, 11), (is_saving, 15), (is_saving, 21), (is_publishing, 24)],
        ),
        ("kto", [(is_saving, 9), (has_logged, 20)]),
        ("reward", [(has_logged, 11)]),
        # In its third epoch, so that order and random numbers must go on where they were.
        ("rloo", [(has_logged, 11)]),
        ("grpo", [(is_saving, 12)]),
    ],
)
def test_killed_at_any_moment_it_resumes_to_the_bytes_of_a_run_that_was_left_alone(
    starter: Path,
    tmp_path: Path,
    zygote: Zygote,
    reward_model: ModelRef,
    method: str,
    moments: list[tuple[Callable[[Path, int], bool], int]],
) -> None:
    dice = Random(f"kills {method}")
    rows = thumbs(8, up=3) if method == "kto" else pairs(7)
    cache = str(tmp_path / "cache")
    more: dict[str, Any] = {}
    if method in {"rloo", "grpo"}:
        rows = [{"id": row["id"], "messages": row["messages"]} for row in rows]
        more = {"reward_model": reward_model, "gradient_accumulation": 2, "num_generations": 2, "max_new_tokens": 6}

    def prepare(name: str, earlier: list[Path]) -> Path:
        path = tmp_path / name
        resume_from = tuple(str(attempt / "checkpoints") for attempt in earlier)
        spec = TrainSpec(
            method=method, model=str(starter), resume_from=resume_from, reference_cache=cache, **(SHORT | more)
        )
        rundir.write_run_dir(path, spec, rows)
        return path

    alone = prepare("alone", [])
    zygote.start(alone)
    assert zygote.wait() == 0, (alone / "engine.log").read_text()

    attempts: list[Path] = []
    for number, (moment, step) in enumerate(moments):
        path = prepare(f"attempt-{number}", attempts)
        kill_when(zygote, path, moment, step, dice.uniform(0, 0.005))
        # A busy machine can be late with the kill: whoever has a result has all that it promises.
        if (path / rundir.RESULT).exists():
            rundir.verify_manifest(path / "adapter")
        attempts.append(path)
    last = prepare("last", attempts)
    zygote.start(last)
    assert zygote.wait() == 0, (last / "engine.log").read_text()

    result = rundir.read_result(last)
    assert result is not None
    assert result["about"]["resumed_from_step"] >= moments[-1][1] - SHORT["save_every"] * 2
    assert result["metrics"]["steps"] == STEPS
    assert (last / "adapter" / ADAPTER_WEIGHTS).read_bytes() == (alone / "adapter" / ADAPTER_WEIGHTS).read_bytes()
    assert result["manifest_sha256"] == rundir.verify_manifest(alone / "adapter")["sha256"]
