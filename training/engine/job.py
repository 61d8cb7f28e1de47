"""What all engine processes have in common: events, stopping, and a result that is written last, whatever happens.

It does not know what the work is, and imports no torch.
"""

import contextlib
import errno
import importlib.metadata
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from annotate.said import Said, packed, unpacked
from training.engine import ranks, rundir

# A step that takes longer than this after SIGTERM is given up: the promise is to be gone within 60 seconds.
STOP_WITHIN_SECONDS = 45.0
FINISHED, FAILED = 0, 3

PACKAGES = ("torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "datasets", "safetensors")


class Failure(Exception):  # noqa: N818  # what it is called in the result
    """A foreseen end: `code` for programs, `message` for people, saying what to do next."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Cancelled(BaseException):
    """Someone asked to stop. Not an Exception, so that no library swallows it while it loads a model."""


def versions() -> dict[str, str]:
    """Of Python and of every package that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


class Job:
    """One engine process at work in its run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # One of several processes that train as one: only the first speaks, see `training.engine.ranks`.
        self.rank = ranks.rank()
        self.events: rundir.EventLog = rundir.EventLog(path) if self.rank == 0 else rundir.NoEvents(path)
        self.used: list[int | str] = []
        self.skipped: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        self.about: dict[str, Any] = {}
        self.manifest_sha256: str | None = None
        self._stop = threading.Event()
        self._stop_at_once = True
        self._own_process = False
        self._write_lock = threading.Lock()

    # --- rows ---

    def skip(self, row_id: int | str, reason: str) -> None:
        """Accounts for a row that is not used."""
        self.skipped.append({"id": row_id, "reason": reason})

    # --- stopping ---

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT ask for a stop, and the process is this job's own. Main thread only."""
        self._own_process = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._ask_to_stop()
        if self._stop_at_once:
            raise Cancelled

    def _ask_to_stop(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            if not self._own_process:
                return
            deadline = threading.Timer(STOP_WITHIN_SECONDS, self._give_up)
            deadline.daemon = True
            deadline.start()

    def _give_up(self) -> None:
        """A step that does not end must not keep the device: say cancelled and leave, without a checkpoint of it."""
        self.write_result(
            "cancelled", "cancelled", Said("Cancelled in the middle of a long step; start it again to resume.")
        )
        os._exit(FINISHED)

    @property
    def stop_asked(self) -> bool:
        """Whether a signal or the `stop` file asked for a stop."""
        if not self._stop.is_set() and (self.path / rundir.STOP).exists():
            self._ask_to_stop()
        return self._stop.is_set()

    def raise_if_stopped(self) -> None:
        """For places where stopping at once loses nothing."""
        if self.stop_asked:
            raise Cancelled

    @property
    def finish_asked(self) -> bool:
        """Whether somebody wants what has been learnt so far: end after this step, and publish."""
        return (self.path / rundir.FINISH).exists()

    def stop_only_between_steps(self) -> None:
        """From now to the end, a signal only sets `stop_asked`: the work looks at it where stopping loses nothing."""
        self.raise_if_stopped()
        self._stop_at_once = False

    # --- the result ---

    def write_result(self, status: str, code: str, message: str) -> None:
        """Writes `result.json` once; a second call does nothing."""
        with self._write_lock:
            self._stop_at_once = False
            if (self.path / rundir.RESULT).exists():
                return
            if self.rank:
                if status == "failed":  # the first one will be told to end, and look here why
                    note = {"status": status, "code": code, "message": message, "said": packed(message)}
                    rundir.write_failure(self.path, self.rank, note)
                return
            rundir.write_result(
                self.path,
                {
                    "status": status,
                    "code": code,
                    "message": message,
                    "said": packed(message),
                    "used": self.used,
                    "skipped": self.skipped,
                    "metrics": self.metrics,
                    "about": {name: packed(value) for name, value in self.about.items()},
                    "versions": versions(),
                    "manifest_sha256": self.manifest_sha256,
                },
            )


def require_ids(rows: Sequence[Mapping[str, Any]]) -> None:
    """Every row must have an id of its own, or used + skipped could not account for it."""
    seen: set[int | str] = set()
    for number, row in enumerate(rows, start=1):
        row_id = row.get("id")
        if isinstance(row_id, bool) or not isinstance(row_id, (int, str)):
            raise Failure(
                "bad_rows",
                Said(
                    "Row %(row)s of %(file)s has no id; give each row a number or a text as id.",
                    row=number,
                    file=rundir.ROWS,
                ),
            )
        if row_id in seen:
            raise Failure(
                "bad_rows",
                Said(
                    "The id %(id)s occurs twice in %(file)s; give each row its own.", id=str(row_id), file=rundir.ROWS
                ),
            )
        seen.add(row_id)


def foreseen(error: BaseException) -> Failure | None:
    """What an exception of a library means for people, or None when it is a fault of ours."""
    text = str(error)
    if isinstance(error, Failure):
        return error
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return Failure(
            "out_of_memory", Said("The device ran out of memory. Lower the batch size or the maximal length.")
        )
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Failure("no_space", Said("The disk is full. Free some space and start the job again."))
    return None


def _failure_elsewhere(job: Job) -> Failure | None:
    """Why another process of this job failed: what this one then sees is only that the other is gone."""
    note = rundir.read_failure(job.path) if job.rank == 0 else None
    if note is None:
        return None
    said = unpacked(note["said"])
    return Failure(str(note["code"]), said if isinstance(said, Said) else str(note["message"]))


def run(path: Path, work: Callable[[Job], str]) -> int:
    """Calls `work(job)`, which returns the closing sentence; writes the result; returns the process's exit code."""
    if (earlier := rundir.read_result(path)) is not None:
        print(f"{path} already has a result ({earlier.get('status')}); give each attempt a folder of its own.")  # noqa: T201
        return FAILED if earlier.get("status") == "failed" else FINISHED
    job = Job(path)
    job.listen()
    started = time.monotonic()
    try:
        job.raise_if_stopped()
        message = work(job)
        job.metrics["seconds"] = round(time.monotonic() - started, 2)
        job.write_result("finished", "ok", message)
        return FINISHED
    except Cancelled:
        if (failure := _failure_elsewhere(job)) is not None:
            job.write_result("failed", failure.code, failure.message)
            return FAILED
        job.write_result(
            "cancelled", "cancelled", Said("Cancelled. Start it again to resume from the last checkpoint.")
        )
        return FINISHED
    except Exception as error:  # noqa: BLE001  # the outermost door: whatever happened, a result says so
        if (failure := _failure_elsewhere(job) or foreseen(error)) is not None:
            print(f"{failure.code}: {failure.message}", file=sys.stderr)  # noqa: T201
            job.write_result("failed", failure.code, failure.message)
            return FAILED
        traceback.print_exc()
        last = f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace").decode()
        job.write_result(
            "failed",
            "internal",
            Said("The engine failed unexpectedly (%(error)s). Report it with the job's log.", error=last),
        )
        return 1
    finally:
        job.events.close()
