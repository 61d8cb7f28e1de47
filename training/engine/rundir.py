"""The run directory: the whole contract between the engine and whoever starts it. Standard library only.

    spec.json      what to do (training.engine.spec); written by the caller before the start
    rows.jsonl     the data, one JSON object a line; written by the caller before the start
    heldout.jsonl  train only, and only where there is something: judged pairs and prompts to look at while it trains
    stop           an empty file that asks for a cancel, for callers that cannot send SIGTERM
    finish         train only: an empty file that asks to end after this step and publish what has been learnt
    events.jsonl   grows while the engine works: {"seq", "at", "kind", ...}
    adapter/       train only: adapter_model.safetensors, adapter_config.json, manifest.json
    model/         instead of it, where what was learned is merged: a whole model with its tokenizer, manifest.json
    result.json    last of all. A reader who sees it may trust the rest

Whole files appear by "write aside, fsync, rename", so a reader never sees half of one. `events.jsonl` is the one
exception: it is appended to, and its reader tolerates a torn last line.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.said import packed

if TYPE_CHECKING:
    from training.engine.spec import Spec

SPEC, ROWS, EVENTS, RESULT, STOP, MANIFEST = (
    "spec.json",
    "rows.jsonl",
    "events.jsonl",
    "result.json",
    "stop",
    "manifest.json",
)


FINISH, HELDOUT = "finish", "heldout.jsonl"


class ManifestError(ValueError):
    """A folder does not hold what its manifest says."""


# --- files ------------------------------------------------------------------------------------------------------------


def dumps(value: Any) -> str:
    """Canonical JSON on one line: sorted keys, ASCII (lone surrogates survive), NaN refused."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def fsync_folder(folder: Path) -> None:
    """Makes renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the whole new one, also after a power loss."""
    write_lines_atomically(path, [text])


def write_lines_atomically(path: Path, chunks: Iterable[str]) -> None:
    """Like `write_atomically`, for text that need not fit in memory. The chunks carry their own newlines."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line, atomically."""
    write_lines_atomically(path, (dumps(row) + "\n" for row in rows))


def iter_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file. Raises ValueError naming the line when one is not a JSON object."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path.name} line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path.name} line {number} is not a JSON object")
            yield row


# --- the caller's side ------------------------------------------------------------------------------------------------


def write_run_dir(
    path: Path, spec: "Spec", rows: Iterable[Mapping[str, Any]], heldout: Iterable[Mapping[str, Any]] = ()
) -> None:
    """Creates the folder with `rows.jsonl`, then `spec.json`. Raises FileExistsError when a spec is already there."""
    path.mkdir(parents=True, exist_ok=True)
    if (path / SPEC).exists():
        raise FileExistsError(f"{path} already holds a {SPEC}; give each attempt a folder of its own")
    write_rows(path / ROWS, rows)
    if kept := list(heldout):
        write_rows(path / HELDOUT, kept)
    write_atomically(path / SPEC, json.dumps(spec.to_json(), indent=2, allow_nan=False) + "\n")


def read_spec_json(path: Path) -> dict[str, Any]:
    """The parsed `spec.json`, for `XSpec.from_json`. Raises OSError or ValueError."""
    data = json.loads((path / SPEC).read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{SPEC} is not a JSON object")
    return data


def read_events(path: Path, after_seq: int = 0) -> list[dict[str, Any]]:
    """Events with a higher `seq`, oldest first.

    A last line without its newline is still being written: left for later.
    """
    try:
        text = (path / EVENTS).read_bytes()
    except FileNotFoundError:
        return []
    events = []
    for line in text[: text.rfind(b"\n") + 1].splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # torn by a crash; the next attempt went on below it
        if isinstance(event, dict) and isinstance(event.get("seq"), int) and event["seq"] > after_seq:
            events.append(event)
    return events


def read_result(path: Path) -> dict[str, Any] | None:
    """The result, or None while there is none."""
    try:
        result = json.loads((path / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return result if isinstance(result, dict) else None


def ask_to_stop(path: Path) -> None:
    """Asks the engine to finish its step, save, and end as cancelled. Does nothing when it has ended."""
    (path / STOP).touch()


def ask_to_finish(path: Path) -> None:
    """Asks a training engine to end after its step and publish what it has learnt. Harmless twice, or too late."""
    (path / FINISH).touch()


# --- the engine's side ------------------------------------------------------------------------------------------------


class EventLog:
    """Appends to `events.jsonl`, one write a line. Goes on after the last `seq` of an earlier process."""

    def __init__(self, path: Path) -> None:
        self._file = (path / EVENTS).open("ab")
        self.listener: Callable[[str, int, Mapping[str, float]], None] | None = None
        earlier = read_events(path)
        self._seq = earlier[-1]["seq"] if earlier else 0
        if self._file.tell() and not _ends_with_newline(path / EVENTS):
            self._file.write(b"\n")  # closes the line that a crash tore

    def write(self, kind: str, **values: Any) -> None:
        """Values must be finite: NaN in an event would poison every reader's JSON column."""
        self._seq += 1
        event = {"seq": self._seq, "at": round(time.time(), 3), "kind": kind} | values
        self._file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def measured(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step: written, and passed on to whoever listens."""
        self.write(kind, step=step, values=dict(values))
        if self.listener is not None:
            self.listener(kind, step, values)

    def phase(self, name: str, message: str) -> None:
        """A new stage of the work; `message` is a sentence for people, kept with its values too."""
        self.write("phase", name=name, message=message, said=packed(message))

    def progress(self, step: int, total: int) -> None:
        """`step` of `total` units of the present stage are done."""
        self.write("progress", step=step, total=total)

    def warning(self, message: str) -> None:
        """Something a person should know that does not stop the job."""
        self.write("warning", message=message, said=packed(message))

    def close(self) -> None:
        self._file.close()


class NoEvents(EventLog):
    """For a process that is not the one to speak."""

    def __init__(self, path: Path) -> None:
        self.listener = None

    def write(self, kind: str, **values: Any) -> None:
        pass

    def close(self) -> None:
        pass


def write_failure(path: Path, rank: int, note: Mapping[str, Any]) -> None:
    """Leaves word of why one of several processes failed. Only the first one writes a result."""
    write_atomically(path / f"failed-{rank}.json", json.dumps(note, allow_nan=False) + "\n")


def read_failure(path: Path) -> dict[str, Any] | None:
    """The word that `write_failure` left, of the lowest rank, or None."""
    for file in sorted(path.glob("failed-*.json")):
        note = json.loads(file.read_text(encoding="utf-8"))
        return note if isinstance(note, dict) else None
    return None


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes `result.json`: the last thing an engine process does."""
    write_atomically(path / RESULT, json.dumps(result, indent=2, allow_nan=False) + "\n")


# --- manifests --------------------------------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(text: str) -> str:
    """Hex digest of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def _files_below(folder: Path) -> list[str]:
    return sorted(
        item.relative_to(folder).as_posix()
        for item in folder.rglob("*")
        if (item.is_file() or item.is_symlink()) and item.relative_to(folder).as_posix() != MANIFEST
    )


def manifest_of(files: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[str, str]:
    """(sha256, text) of the manifest of ``files``: {name: {"sha256", "bytes"}}."""
    content = {"files": dict(files), "about": dict(about)}
    digest = sha256_of_text(dumps(content))
    return digest, json.dumps(content | {"sha256": digest}, indent=2, sort_keys=True) + "\n"


def write_manifest(folder: Path, about: Mapping[str, Any]) -> str:
    """fsyncs every file below `folder`, writes `manifest.json`, and returns its sha256.

    The sha256 covers each file's name and digest, and `about` (JSON-ready facts that say what this is).
    """
    files = {}
    for name in _files_below(folder):
        path = folder / name
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    digest, text = manifest_of(files, about)
    write_atomically(folder / MANIFEST, text)
    for inside in {(folder / name).parent for name in files}:
        fsync_folder(inside)
    return digest


def put_in_place(written: Path, place: Path, about: Mapping[str, Any]) -> str:
    """Gives a folder that was written aside its manifest, whose sha256 it returns, and its name beside it, durably."""
    digest = write_manifest(written, about)
    if place.exists():  # of an earlier process, which was killed or went on further than where we resumed
        shutil.rmtree(place)
    written.rename(place)
    fsync_folder(place.parent)
    return digest


def verify_manifest(folder: Path, expected_sha256: str = "") -> dict[str, Any]:
    """The manifest of an untouched folder, or `ManifestError` that says what differs.

    Checked: every file and no other is there with its digest, and the manifest's own digest (against `expected_sha256`
    too, where the caller knows it).
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = manifest["files"]
        digest, _ = manifest_of(files, manifest["about"])
        recorded = {name: str(entry["sha256"]) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{folder.name}: no readable {MANIFEST} ({error})") from error
    if digest != manifest.get("sha256") or (expected_sha256 and digest != expected_sha256):
        raise ManifestError(f"{folder.name}: {MANIFEST} itself was changed")
    present = _files_below(folder)
    if missing := sorted(set(recorded) - set(present)):
        raise ManifestError(f"{folder.name}: {missing[0]} is missing")
    if extra := sorted(set(present) - set(recorded)):
        raise ManifestError(f"{folder.name}: {extra[0]} is not in the manifest")
    for name, sha256 in recorded.items():
        if (folder / name).is_symlink() or sha256_of(folder / name) != sha256:
            raise ManifestError(f"{folder.name}: {name} was changed")
    return dict(manifest)
