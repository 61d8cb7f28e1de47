"""Starts the engine in a fresh process and stays with it: passes events on, keeps the lease, ends it when asked.

It knows the run directory and processes; what a job means and where its events go, it is told. One process a job is
safe with CUDA, gives all memory back, and keeps an out-of-memory kill away from the worker. The child leads a process
group of its own, carries no Django and none of our secrets, and on Linux dies with us.
"""

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from annotate.said import Said
from training.engine import rundir

logger = logging.getLogger(__name__)

LOG = "engine.log"
PID = "engine.json"
POLL_SECONDS = 0.2
# After SIGTERM the engine finishes its step, saves and leaves, and gives up by itself after 45 s. Whoever overstays
# this is killed with the whole group.
GRACE_SECONDS = 50.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class _Shutdown:
    """Was this worker asked to stop? A plain flag: it is set inside a signal handler, where locks are a trap."""

    asked = False


def stop_soon() -> None:
    """The worker is shutting down: the engine saves a checkpoint and ends, and the lease is given back."""
    _Shutdown.asked = True


def stopping_soon() -> bool:
    """Was this worker asked to stop?"""
    return _Shutdown.asked


@dataclass(frozen=True, slots=True)
class Ending:
    """How an engine process ended.

    "result": by itself, with a result; "cancelled": a lead asked; "stopped": the worker was asked to stop; "stalled":
    no sign of life for too long; "crashed": it left no result.
    """

    kind: Literal["result", "cancelled", "stopped", "stalled", "crashed"]
    result: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """What the launcher asks its caller while the engine works.

    ``keep`` passes new events on and renews the lease, and raises when it is lost; ``wished`` says what leads ask for:
    "cancel", "save" (end early, and publish what has been learnt), or nothing. Either may fail for a while without
    hurting the engine: a database that restarts must not cost an hour of training.
    """

    keep: Callable[[Sequence[dict[str, Any]]], None]
    wished: Callable[[], Literal["", "cancel", "save"]]
    every_seconds: float
    stall_seconds: float
    # What ``keep`` and ``wished`` may raise while the database is away.
    passing: tuple[type[Exception], ...]


def run_engine(
    command: str, folder: Path, watch: Watch, *, trackers: Sequence[str] = (), launch: Sequence[str] = ()
) -> Ending:
    """Runs ``python -m training.engine command folder`` to its end. What ``watch.keep`` raises ends the engine too.

    ``launch``: what comes between ``python`` and ``-m training.engine`` to start several processes that train as one.
    """
    process = _start(command, folder, trackers, launch)
    try:
        return _supervise(process, folder, watch, several=bool(launch))
    finally:
        _kill_group(process)


def _start(command: str, folder: Path, trackers: Sequence[str], launch: Sequence[str]) -> "subprocess.Popen[bytes]":
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *launch, "-m", "training.engine", command, str(folder)],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=engine_environment(trackers, several=bool(launch)),
            start_new_session=True,
            # One libc call, loaded before the fork, in a process without threads.
            preexec_fn=partial(_die_with_parent, os.getpid()),  # noqa: PLW1509
        )
    identity = {"pid": process.pid, "host": socket.gethostname(), "started": _start_time(process.pid)}
    rundir.write_atomically(folder / PID, json.dumps(identity) + "\n")
    return process


# What would tell somebody else about us: off, unless the worker's own environment says otherwise.
NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
# Settings and keys of trackers, by the names that their variables begin with.
_OF_TRACKERS = {"wandb": "WANDB_", "mlflow": "MLFLOW_", "trackio": "TRACKIO_"}


def engine_environment(trackers: Sequence[str] = (), *, several: bool = False) -> dict[str, str]:
    """Ours without Pairloop's own settings, and without those of trackers that are not among ``trackers``.

    The engine needs no database and must see no secret; a tracker that nobody named must not start by itself.
    """
    unnamed = tuple(prefix for name, prefix in _OF_TRACKERS.items() if name not in trackers)
    ours = ("PAIRLOOP_", "DJANGO_", *unnamed)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    off = NO_TELEMETRY | ({} if "wandb" in trackers else {"WANDB_MODE": "disabled"})
    # PyTorch would take the machine's cores, not the ones that a container or taskset leaves us.
    # torchrun and accelerate share the cores out among their processes themselves.
    threads = {} if several else {"OMP_NUM_THREADS": str(cores)}
    return off | threads | {"PYTHONUNBUFFERED": "1"} | kept


def _die_with_parent(parent: int) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It died before it could be watched.
            os._exit(1)


def _supervise(process: "subprocess.Popen[bytes]", folder: Path, watch: Watch, *, several: bool) -> Ending:
    seen, kept_at, alive_at = 0, 0.0, time.monotonic()
    size = -1
    stopping: Literal["", "cancelled", "stopped"] = ""
    kill_at = float("inf")
    while True:
        ended = process.poll() is not None
        now = time.monotonic()
        if now - kept_at >= watch.every_seconds or ended:
            events = rundir.read_events(folder, after_seq=seen)
            with contextlib.suppress(*watch.passing):
                watch.keep(events)
                seen = events[-1]["seq"] if events else seen
                if ended:  # And everything that it said has been passed on.
                    return _ending(process, folder, stopping)
                wish = watch.wished()
                if not stopping and wish == "cancel":
                    stopping = "cancelled"
                elif wish == "save":
                    rundir.ask_to_finish(folder)
            kept_at = now
        if ended:
            time.sleep(POLL_SECONDS)
            continue
        if not stopping and _Shutdown.asked:
            stopping = "stopped"
        if stopping and kill_at == float("inf"):
            _ask_to_end(process, folder, several=several)
            kill_at = now + GRACE_SECONDS
        grown = _sign_of_life(folder)
        if grown != size:
            size, alive_at = grown, now
        if now - alive_at > watch.stall_seconds:
            _kill_group(process)
            minutes = float(f"{watch.stall_seconds / 60:.3g}")
            return Ending("stalled", detail=Said("No sign of progress for %(minutes)s minutes.", minutes=minutes))
        if now > kill_at:
            _kill_group(process)
            return _ending(process, folder, stopping)
        time.sleep(POLL_SECONDS)


def _ask_to_end(process: "subprocess.Popen[bytes]", folder: Path, *, several: bool) -> None:
    if several:
        rundir.ask_to_stop(folder)  # torchrun passes a signal on, and after 30 s kills whoever still saves
    else:
        process.terminate()


def _ending(process: "subprocess.Popen[bytes]", folder: Path, stopping: Literal["", "cancelled", "stopped"]) -> Ending:
    result = rundir.read_result(folder)
    if result is not None and result.get("status") in ("finished", "failed"):
        return Ending("result", result)  # It was quicker than the wish to stop.
    if stopping:
        return Ending(stopping, result or {})
    if result is not None:
        # Cancelled by somebody else: a signal from outside, or the stop file.
        return Ending("stopped", result)
    if (note := rundir.read_failure(folder)) is not None:
        return Ending("result", note)  # one of several processes said why, and the first one could not repeat it
    how, log = _how(process.returncode), last_words(folder)
    return Ending("crashed", detail=Said("%(what)s %(log)s", what=how, log=log) if log else how)


def _how(code: int) -> Said:
    if -code == signal.SIGKILL:
        return Said("The engine was killed by SIGKILL. The system may have run out of memory.")
    if code < 0:
        return Said("The engine was killed by %(signal)s.", signal=signal.Signals(-code).name)
    return Said("The engine ended with exit code %(code)s and no result.", code=code)


def last_words(folder: Path, *, limit: int = 600) -> str:
    """The end of the engine's log: what it said before it died."""
    try:
        text = (folder / LOG).read_bytes()[-4 * limit :].decode(errors="replace")
    except FileNotFoundError:
        return ""
    return " ".join(text.split("\n")[-12:]).strip()[-limit:]


def _sign_of_life(folder: Path) -> int:
    """Grows with whatever the engine writes: events, and its log (a model that downloads shows progress there)."""
    total = 0
    for name in (rundir.EVENTS, LOG):
        with contextlib.suppress(FileNotFoundError):
            total += (folder / name).stat().st_size
    return total


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL for the engine and whatever it started, and no zombie left. Harmless when it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- What an earlier attempt may have left ----------------------------------------------------------------------------


def _start_time(pid: int) -> str:
    """When the process began, in the kernel's ticks: tells a process from another one that got its id later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def end_leftover(folder: Path) -> bool:
    """Kills the engine of an earlier attempt that still runs on this machine. True when there was one.

    On Linux a child dies with its worker; this is for a worker that was frozen past its lease.
    """
    try:
        identity = json.loads((folder / PID).read_text())
        pid, started = int(identity["pid"]), str(identity["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if identity.get("host") != socket.gethostname() or not started or _start_time(pid) != started:
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
        logger.warning("Ended the engine of an earlier attempt (process %s).", pid)
    return True


def finished_before(folders: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Earlier attempts whose engine finished although nobody published it, newest first."""
    for folder in reversed(folders):
        result = rundir.read_result(folder)
        if result is not None and result.get("status") == "finished":
            yield folder, result
