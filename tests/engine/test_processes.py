"""The engine as a process: killed, stopped, resumed, misused; always with a result that tells the truth."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.kit import FAST, messages, pairs, start, train_here
from training.engine import rundir
from training.engine.job import Failure, Job, run
from training.engine.models import ADAPTER_WEIGHTS
from training.engine.spec import ModelRef, SampleSpec, StarterSpec, TrainSpec
from training.engine.train import train

LONG: dict[str, Any] = FAST | {
    "epochs": 10,
    "batch_size": 2,
    "save_every": 4,
    "lora_dropout": 0.1,
    "save_total_limit": 3,
}
ROWS = pairs(8)


def wait_for(path: Path, kind: str, step: int = 0, seconds: float = 300) -> None:
    """Until an event of this kind at or beyond this step is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(event["kind"] == kind and event.get("step", step) >= step for event in rundir.read_events(path)):
            return
        time.sleep(0.02)
    raise AssertionError(f"no {kind} event within {seconds} s: {rundir.read_events(path)[-3:]}")


def children_seconds() -> float:
    """The processor time of all processes that were started here and have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def finish(process: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str]:
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


@pytest.fixture(scope="module")
def uninterrupted(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    train_here(path, TrainSpec(method="dpo", model=str(starter), **LONG), ROWS)
    return path


def test_a_killed_run_resumes_to_the_very_same_weights_past_a_damaged_checkpoint(
    starter: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    rundir.write_run_dir(first, TrainSpec(method="dpo", model=str(starter), **LONG), ROWS)
    process = start("train", first)
    wait_for(first, "checkpoint", step=8)
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert rundir.read_result(first) is None
    assert not (first / "adapter").exists()

    newest = max((first / "checkpoints").iterdir(), key=lambda folder: int(folder.name.split("-")[1]))
    optimizer = newest / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1] + b"\x00\x01")
    kept = sorted(int(folder.name.split("-")[1]) for folder in (first / "checkpoints").iterdir())[-2]

    second = tmp_path / "second"
    spec = TrainSpec(method="dpo", model=str(starter), resume_from=(str(first / "checkpoints"),), **LONG)
    rundir.write_run_dir(second, spec, ROWS)
    code, output = finish(start("train", second))
    assert code == 0, output
    result = rundir.read_result(second)
    assert result is not None
    assert result["about"]["resumed_from_step"] == kept
    assert (first / "checkpoints" / f"{newest.name}.damaged").is_dir()
    assert any(
        "damaged checkpoint" in e.get("message", "") for e in rundir.read_events(second) if e["kind"] == "warning"
    )
    weights = "adapter/" + ADAPTER_WEIGHTS
    assert (second / weights).read_bytes() == (uninterrupted / weights).read_bytes()
    assert result["manifest_sha256"] == rundir.verify_manifest(uninterrupted / "adapter")["sha256"]


def test_a_run_that_was_killed_after_its_last_step_only_publishes(
    starter: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(uninterrupted / "checkpoints", checkpoints)
    spec = TrainSpec(method="dpo", model=str(starter), resume_from=(str(checkpoints),), **LONG)
    job = train_here(tmp_path / "run", spec, ROWS)
    assert job.about["resumed_from_step"] == 40
    assert job.manifest_sha256 == rundir.verify_manifest(uninterrupted / "adapter")["sha256"]


def test_too_little_disk_is_found_before_training(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10 * 2**20))
    with pytest.raises(Failure, match="Free some space") as caught:
        train_here(tmp_path / "run", TrainSpec(method="dpo", model=str(starter), **LONG), ROWS)
    assert caught.value.code == "no_space"
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_checkpoint_of_other_rows_is_not_resumed(starter: Path, uninterrupted: Path, tmp_path: Path) -> None:
    spec = TrainSpec(
        method="dpo", model=str(starter), resume_from=(str(uninterrupted / "checkpoints"),), **(LONG | {"epochs": 1})
    )
    job = train_here(tmp_path / "run", spec, ROWS[::-1])
    warnings = [event["message"] for event in rundir.read_events(tmp_path / "run") if event["kind"] == "warning"]
    assert any("belongs to another job (rows, settings differ)" in message for message in warnings)
    assert "resumed_from_step" not in job.about


def test_sigterm_finishes_the_step_saves_and_can_be_resumed(starter: Path, uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    rundir.write_run_dir(path, TrainSpec(method="dpo", model=str(starter), **(LONG | {"save_every": 1000})), ROWS)
    process = start("train", path)
    wait_for(path, "metric", step=4)
    asked = time.monotonic()
    process.terminate()
    code, output = finish(process, 60)
    assert (code, time.monotonic() - asked < 60) == (0, True), output
    result = rundir.read_result(path)
    assert result is not None
    assert (result["status"], result["code"]) == ("cancelled", "cancelled")
    assert result["manifest_sha256"] is None
    assert not (path / "adapter").exists()
    events = rundir.read_events(path)
    last_step = max(event["step"] for event in events if event["kind"] == "metric")
    assert [event["step"] for event in events if event["kind"] == "checkpoint"] == [last_step]
    rundir.verify_manifest(path / "checkpoints" / f"checkpoint-{last_step}")

    again = tmp_path / "again"
    spec = TrainSpec(method="dpo", model=str(starter), resume_from=(str(path / "checkpoints"),), **LONG)
    rundir.write_run_dir(again, spec, ROWS)
    (again / "stop").touch()  # a stop file before the start: nothing is done, and the checkpoints are left alone
    assert finish(start("train", again))[0] == 0
    stopped = rundir.read_result(again)
    assert stopped is not None
    assert stopped["status"] == "cancelled"
    assert (path / "checkpoints" / f"checkpoint-{last_step}").is_dir()

    resumed = train_here(tmp_path / "resumed", spec, ROWS)
    assert resumed.about["resumed_from_step"] == last_step
    assert resumed.manifest_sha256 == rundir.verify_manifest(uninterrupted / "adapter")["sha256"]


def test_asked_to_finish_it_publishes_what_it_has_learnt_and_says_so(starter: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    rundir.ask_to_finish(path)
    job = Job(path)
    message = train(job, TrainSpec(method="dpo", model=str(starter), **LONG), ROWS)
    why = "stopped early after step 1 of 40: a lead stopped it and kept what it had learnt"
    assert message == f"Trained on 8 rows, {why}; 0 rows skipped."
    assert (job.metrics["steps"], job.about["stopped_early"]) == (1, why)
    assert rundir.verify_manifest(path / "adapter")["about"]["stopped_early"] == why


def test_sigterm_while_the_model_loads_ends_at_once(starter: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    rows = [{"id": i, "messages": messages("hi")} for i in range(3)]
    rundir.write_run_dir(path, SampleSpec(model=ModelRef(str(starter))), rows)
    process = start("sample", path)
    wait_for(path, "phase")
    process.terminate()
    code, output = finish(process, 60)
    result = rundir.read_result(path)
    assert result is not None, output
    assert (code, result["status"]) == (0, "cancelled")
    assert not (path / "responses.jsonl").exists()


def test_a_whole_sampling_process_leaves_what_the_contract_says(starter: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    rows = [{"id": 1, "messages": messages("Where is my lamp?")}, {"id": "2", "messages": []}]
    rundir.write_run_dir(path, SampleSpec(model=ModelRef(str(starter)), n=2, max_new_tokens=8), rows)
    code, output = finish(start("sample", path))
    assert code == 0, output
    result = rundir.read_result(path)
    assert result is not None
    assert (result["status"], result["code"]) == ("finished", "ok")
    assert result["used"] == [1]
    assert result["skipped"] == [{"id": "2", "reason": "malformed messages"}]
    assert {"python", "torch", "transformers"} <= set(result["versions"])
    assert len(list(rundir.iter_rows(path / "responses.jsonl"))) == 2
    before = (path / "result.json").read_bytes()
    code, output = finish(start("sample", path))  # the same message twice does nothing
    assert (code, "already has a result" in output) == (0, True)
    assert (path / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("spec", "rows", "words"),
    [
        ("{", "", "cannot be read"),
        (json.dumps({"kind": "sample"}), "", "needs a 'train' spec"),
        (
            json.dumps({"kind": "train", "method": "dpo", "model": "m", "beta": -1}),
            "",
            "beta: must be a number above 0",
        ),
        (json.dumps({"kind": "train", "method": "dpo", "model": "m"}), "{}\nx\n", "rows.jsonl line 2 is not JSON"),
    ],
)
def test_a_run_directory_that_makes_no_sense_is_a_foreseen_failure(
    tmp_path: Path, spec: str, rows: str, words: str
) -> None:
    (tmp_path / "spec.json").write_text(spec)
    (tmp_path / "rows.jsonl").write_text(rows)
    before = children_seconds()
    code, _ = finish(start("train", tmp_path))
    # It is told before anything heavy is imported: torch and TRL alone take more.
    assert children_seconds() - before < 3
    result = rundir.read_result(tmp_path)
    assert result is not None
    assert (code, result["status"], result["code"]) == (3, "failed", "bad_spec")
    assert words in result["message"]


def test_an_unforeseen_error_is_a_crash_with_a_result_and_running_out_of_memory_is_not(tmp_path: Path) -> None:
    for name, error, code, exit_code in (
        ("bug", ZeroDivisionError("\ud800 oops"), "internal", 1),
        ("memory", MemoryError(), "out_of_memory", 3),
        ("cuda", RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory", 3),
        ("disk", OSError(28, "No space left on device"), "no_space", 3),
    ):

        def work(job: Job, error: Exception = error) -> str:
            raise error

        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        (tmp_path / name).mkdir()
        try:
            assert run(tmp_path / name, work) == exit_code
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        result = rundir.read_result(tmp_path / name)
        assert result is not None
        assert (result["status"], result["code"]) == ("failed", code)


def test_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    code, output = finish(start("train", tmp_path / "nothing"))
    assert (code, "is not a folder" in output) == (2, True)


def test_the_starter_command_builds_once_repairs_damage_and_is_loadable(tmp_path: Path) -> None:
    path = tmp_path / "starter"
    path.mkdir()
    tiny = StarterSpec(
        examples=100, lesson_steps=2, steps=3, batch_size=4, vocab_size=300, hidden_size=16, layers=1, heads=1
    )
    rundir.write_atomically(path / "spec.json", json.dumps(tiny.to_json()))
    before = children_seconds()
    code, output = finish(start("starter", path))
    assert code == 0, output
    assert "100 %" in output
    first = rundir.read_result(path)
    assert first is not None
    rundir.verify_manifest(path / "model", first["manifest_sha256"])

    built = children_seconds()
    code, output = finish(start("starter", path))
    assert (code, "is ready" in output) == (0, True)
    # It looks, and imports nothing heavy.
    assert children_seconds() - built < (built - before) / 4

    (path / "model" / "chat_template.jinja").unlink()
    code, output = finish(start("starter", path))
    assert (code, "building it again" in output) == (0, True)
    second = rundir.read_result(path)
    assert second is not None
    assert second["manifest_sha256"] == first["manifest_sha256"], "the same spec gives the same bytes"


def test_what_the_web_imports_of_the_engine_imports_no_torch() -> None:
    code = (
        "import sys, training.engine.spec, training.engine.rundir, training.engine.domain, training.engine.job;"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'numpy', 'datasets', 'django'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_sampling_and_scoring_never_import_trl(starter: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.engine.kit import *; from training.engine.spec import *;"
        f"m = ModelRef({str(starter)!r}); rows = [{{'id': 1, 'messages': messages('hi')}}];"
        f"sample_here(Path({str(tmp_path)!r}) / 's', SampleSpec(model=m, n=1, max_new_tokens=2), rows);"
        f"spec = ScoreSpec(policy=m, max_new_tokens=2); rows = [{{'kind': 'prompt', **rows[0]}}];"
        f"score_here(Path({str(tmp_path)!r}) / 'c', spec, rows);"
        "heavy = {'trl', 'datasets', 'scipy.stats'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-800:]
