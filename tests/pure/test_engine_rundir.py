"""The run directory: whole files or none, events that survive a crash, manifests that notice any change."""

import json
from pathlib import Path

import pytest

from training.engine import checkpoints, rundir
from training.engine.spec import TrainSpec

SPEC = TrainSpec(method="dpo", model="m")


def test_a_run_dir_is_written_once_and_read_back(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "naïve \ud800 \u2028"}, {"id": "b"}]
    rundir.write_run_dir(tmp_path / "run", SPEC, rows)
    assert TrainSpec.from_json(rundir.read_spec_json(tmp_path / "run")) == SPEC
    assert list(rundir.iter_rows(tmp_path / "run" / rundir.ROWS)) == rows
    assert rundir.read_result(tmp_path / "run") is None
    assert rundir.read_events(tmp_path / "run") == []
    with pytest.raises(FileExistsError, match="folder of its own"):
        rundir.write_run_dir(tmp_path / "run", SPEC, rows)


def test_a_write_that_fails_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    rundir.write_atomically(path, "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        rundir.write_rows(path, [{"a": 1}, {"a": float("nan")}])
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["result.json"]


def test_events_are_numbered_and_read_after_a_number(tmp_path: Path) -> None:
    log = rundir.EventLog(tmp_path)
    log.phase("load", "Loading")
    log.progress(1, 2)
    log.warning("careful")
    assert [event["kind"] for event in rundir.read_events(tmp_path)] == ["phase", "progress", "warning"]
    assert [event["seq"] for event in rundir.read_events(tmp_path, after_seq=1)] == [2, 3]


def test_an_event_that_is_still_being_written_waits_and_one_torn_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    log = rundir.EventLog(tmp_path)
    log.progress(1, 9)
    log.close()
    with (tmp_path / rundir.EVENTS).open("ab") as file:
        file.write(b'{"seq": 2, "kind": "prog')
    assert [event["seq"] for event in rundir.read_events(tmp_path)] == [1]
    again = rundir.EventLog(tmp_path)
    again.progress(2, 9)
    assert [(event["seq"], event["step"]) for event in rundir.read_events(tmp_path)] == [(1, 1), (2, 2)]


def test_an_event_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        rundir.EventLog(tmp_path).write("metric", values={"loss": float("nan")})
    assert rundir.read_events(tmp_path) == []


@pytest.mark.parametrize("line", ["[1]", "{", "nonsense", "[" * 100_000])
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": 1}\n\n' + line + "\n")
    with pytest.raises(ValueError, match="line 3 is not"):
        list(rundir.iter_rows(tmp_path / "rows.jsonl"))


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "adapter"
    (made / "sub").mkdir(parents=True)
    (made / "a.bin").write_bytes(b"weights")
    (made / "sub" / "b.json").write_text("{}")
    return made


def test_a_manifest_of_untouched_files_verifies_and_has_one_digest(tmp_path: Path) -> None:
    made = folder(tmp_path)
    digest = rundir.write_manifest(made, {"method": "dpo"})
    assert rundir.verify_manifest(made, digest)["about"] == {"method": "dpo"}
    assert rundir.write_manifest(made, {"method": "dpo"}) == digest
    assert rundir.write_manifest(made, {"method": "kto"}) != digest


@pytest.mark.parametrize("change", ["flip", "truncate", "remove", "add", "link", "manifest", "no manifest", "about"])
def test_any_change_below_a_manifest_is_noticed(tmp_path: Path, change: str) -> None:
    made = folder(tmp_path)
    rundir.write_manifest(made, {"method": "dpo"})
    manifest = made / rundir.MANIFEST
    if change == "flip":
        (made / "a.bin").write_bytes(b"weightz")
    elif change == "truncate":
        (made / "a.bin").write_bytes(b"")
    elif change == "remove":
        (made / "sub" / "b.json").unlink()
    elif change == "add":
        (made / "sub" / "c.pkl").write_bytes(b"x")
    elif change == "link":
        (made / "a.bin").rename(tmp_path / "elsewhere")
        (made / "a.bin").symlink_to(tmp_path / "elsewhere")
    elif change == "manifest":
        manifest.write_text("{")
    elif change == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"about": {"method": "kto"}}))
    with pytest.raises(rundir.ManifestError):
        rundir.verify_manifest(made)


def test_a_manifest_must_be_the_one_that_the_caller_recorded(tmp_path: Path) -> None:
    made = folder(tmp_path)
    rundir.write_manifest(made, {})
    with pytest.raises(rundir.ManifestError, match="itself was changed"):
        rundir.verify_manifest(made, "0" * 64)


def checkpoint(tmp_path: Path, root: Path, step: int, about: dict[str, str], limit: int = 5) -> Path:
    written = tmp_path / "work" / f"checkpoint-{step}"
    written.mkdir(parents=True)
    (written / "weights").write_text(str(step))
    return checkpoints.keep(written, root, about=about, limit=limit)


def test_the_newest_intact_checkpoint_of_the_same_job_is_found_and_damaged_ones_put_aside(tmp_path: Path) -> None:
    first, second, warnings = tmp_path / "first", tmp_path / "second", list[str]()
    mine = {"rows": "r", "settings": "s"}
    checkpoint(tmp_path, first, 9, mine)
    checkpoint(tmp_path, first, 10, mine)
    (checkpoint(tmp_path, second, 100, mine) / "weights").write_text("101")
    checkpoint(tmp_path, second, 50, mine | {"rows": "other"})
    (tmp_path / "work" / "checkpoint-200").mkdir()  # a save that was killed: never looked at

    found = checkpoints.newest_verified([first, second, tmp_path / "none"], about=mine, warn=warnings.append)
    assert found == (10, first / "checkpoint-10")
    assert (second / "checkpoint-100.damaged").is_dir()
    assert (second / "checkpoint-50").is_dir()
    assert "damaged" in warnings[0]
    assert "rows differ" in warnings[1]


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (8, 9, 10, 11):
        checkpoint(tmp_path, tmp_path / "root", step, {}, limit=2)
    assert sorted(item.name for item in (tmp_path / "root").iterdir()) == ["checkpoint-10", "checkpoint-11"]
