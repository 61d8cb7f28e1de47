"""The whole embedded site as `make up` starts it, in a home of its own, for tests that need the real thing."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWNER = "owner"


@dataclass
class LiveSite:
    """A running site. `env` is what a command needs to work on the same database."""

    url: str
    home: Path
    env: dict[str, str]
    said: list[str] = field(default_factory=list)

    @property
    def owner_password(self) -> str:
        return (self.home / "owner-password").read_text().strip()

    def manage(self, *arguments: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        """Runs a management command beside the site."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )

    def logs(self) -> str:
        """The end of every log, for the message of a failure."""
        parts = ["\n".join(self.said[-30:])]
        parts += [
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:])
            for path in sorted((self.home / "log").glob("*.log"))
        ]
        return "\n".join(parts)


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def live_site(home: Path, *, start_within: float = 300, **env: str) -> Iterator[LiveSite]:
    """`manage.py up` on a free port, from preparing to a clean stop. RuntimeError carries the logs if it fails."""
    port = free_port()
    # Settings of the test run must not leak into the site, nor the developer's own.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PAIRLOOP_", "DJANGO_"))}
    site = LiveSite(f"http://127.0.0.1:{port}", home, {**clean, **env, "PAIRLOOP_HOME": str(home)})
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up", "--port", str(port)],
        cwd=ROOT,
        env=site.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    reader = threading.Thread(target=_keep, args=(process, site.said), daemon=True)
    reader.start()
    try:
        deadline = time.monotonic() + start_within
        while not any("Pairloop runs at" in line for line in site.said):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The site did not start.\n{site.logs()}")
            time.sleep(0.1)
        yield site
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)


def _keep(process: "subprocess.Popen[str]", said: list[str]) -> None:
    for line in process.stdout or ():
        said.append(line.rstrip("\n"))  # noqa: PERF401  (read by others while it grows)
