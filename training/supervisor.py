"""Starts a handful of long-running processes, restarts one that falls over, and stops them all together.

Knows nothing of Django. Each child leads its own process group, so that Ctrl-C in a terminal reaches only the
supervisor, which then ends the children in order; on Linux a child also dies with a supervisor that is killed.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Ask Linux to send this process SIGTERM when its parent is gone. Elsewhere it does nothing."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Program:
    """One process to keep alive: its name, command, and how long it may take to stop (seconds)."""

    name: str
    command: Sequence[str]
    stop_seconds: float = 10.0
    process: "subprocess.Popen[bytes] | None" = None
    starts: list[float] = field(default_factory=list)


class GivenUpError(Exception):
    """A program fell over too often; the message carries the end of its log."""


class Supervisor:
    """Keeps programs running until :meth:`stop` is asked for or a signal comes."""

    # A program that needed more starts than this within a minute will not come up by itself.
    MAX_STARTS_A_MINUTE = 4

    def __init__(self, programs: Sequence[Program], *, log_dir: Path, env: dict[str, str]) -> None:
        self.programs = list(programs)
        self.log_dir = log_dir
        self.env = env
        self.stopping = False
        log_dir.mkdir(parents=True, exist_ok=True)

    def log_path(self, program: Program) -> Path:
        return self.log_dir / f"{program.name}.log"

    def start(self) -> None:
        for program in self.programs:
            self._start(program)

    def _start(self, program: Program) -> None:
        now = time.monotonic()
        program.starts = [at for at in program.starts if now - at < 60] + [now]
        if len(program.starts) > self.MAX_STARTS_A_MINUTE:
            tail = "\n".join(self.log_path(program).read_text(errors="replace").splitlines()[-15:])
            raise GivenUpError(f"{program.name} does not stay up. The end of {self.log_path(program)}:\n{tail}")
        with self.log_path(program).open("ab") as log:
            program.process = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (one libc call, loaded before the fork)
            )

    def watch(self, *, each: Callable[[], None] | None = None) -> None:
        """Restart what falls over, until :attr:`stopping` is set."""
        while not self.stopping:
            for program in self.programs:
                if program.process is not None and program.process.poll() is not None:
                    self._start(program)
            if each is not None:
                each()
            time.sleep(0.5)

    def stop(self) -> list[str]:
        """SIGTERM to all at once, then wait; what overstays its time is killed with its group. Returns those names."""
        self.stopping = True
        killed: list[str] = []
        running = [(program, program.process) for program in self.programs if program.process is not None]
        for _, process in running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        for program, process in running:
            try:
                process.wait(timeout=max(0.1, program.stop_seconds - (time.monotonic() - began)))
            except subprocess.TimeoutExpired:
                killed.append(program.name)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return killed
