"""A real site and a real browser: gunicorn with the real settings, and Chromium through Playwright.

The site runs in processes and on a database file of its own, because a live server inside the tests would share one
SQLite connection between its threads, which no site does. Tests read that database directly to see what was saved.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tests.browser.install import playwright_chromium, system_chromium
from tests.live_site import ROOT, free_port
from tests.migrated import copy_database, manage

FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
]

# How long anything may take that a test waits for. Only a failure ever takes so long.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class Desk:
    """A project that waits for its annotator, and the session that signs them in."""

    project: int
    session: str
    username: str

    @property
    def judge(self) -> str:
        return f"/projects/{self.project}/judge/"

    @property
    def thumbs(self) -> str:
        return f"/projects/{self.project}/thumbs/"

    @property
    def rank(self) -> str:
        return f"/projects/{self.project}/rank/"


@dataclass(frozen=True)
class WebSite:
    """The running web process, and the database below ``home``."""

    url: str
    home: Path
    seeder: "subprocess.Popen[str]"

    def seed(self, **wanted: Any) -> Desk:
        """A new project with ``pairs=3``, ``thumbs=2`` or written ``items`` (see tests.browser.seed)."""
        assert self.seeder.stdin is not None
        assert self.seeder.stdout is not None
        self.seeder.stdin.write(json.dumps(wanted) + "\n")
        self.seeder.stdin.flush()
        made = json.loads(self.seeder.stdout.readline())
        assert "error" not in made, made["error"]
        return Desk(**made)

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the site's database says."""
        with closing(sqlite3.connect(self.home / "db.sqlite3", timeout=20)) as connection, connection:
            return list(connection.execute(query, parameters))


@pytest.fixture(scope="session")
def prepared(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty database and all static files, to be copied by each site."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    copy_database(migrated, home)
    manage("collectstatic", "--noinput", "-v0", home=home)
    return home


@pytest.fixture(scope="session")
def site(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    """The web process alone, without workers."""
    with web_site(prepared, tmp_path_factory.mktemp("site") / "home", free_port()) as website:
        yield website


@contextmanager
def web_site(prepared: Path, home: Path, port: int, **settings: str) -> Iterator[WebSite]:
    """A site of its own, with settings from the environment."""
    shutil.copytree(prepared, home)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PAIRLOOP_", "DJANGO_"))}
    env = {**clean, "PAIRLOOP_HOME": str(home), "PAIRLOOP_LOG_LEVEL": "WARNING", **settings}
    gunicorn = [
        *("gunicorn", "config.wsgi", "--no-control-socket", "--bind", f"127.0.0.1:{port}"),
        *("--workers", "1", "--threads", "4", "--log-level", "warning"),
    ]
    with (
        (home / "web.log").open("w") as log,
        _process(gunicorn, env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT) as server,
        _process(["tests.browser.seed"], env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as seeder,
    ):
        website = WebSite(f"http://127.0.0.1:{port}", home, seeder)
        _wait_for(website.url, server, home / "web.log")
        yield website


@contextmanager
def _process(module: list[str], env: dict[str, str], **streams: Any) -> Iterator["subprocess.Popen[str]"]:
    """``python -m MODULE``, which ends with the block."""
    with subprocess.Popen([sys.executable, "-m", *module], cwd=ROOT, env=env, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(url: str, server: "subprocess.Popen[str]", log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/accounts/login/", timeout=5):  # noqa: S310  (our own loopback)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"The site did not start:\n{log.read_text()[-4000:]}")


# For this folder, not the session: while Playwright lives, an event loop runs in this thread, and Django refuses its
# database there to whatever test comes next.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = system_chromium() or playwright_chromium()
    if chromium is None:
        pytest.fail(
            "The browser tests need Chromium, and there is none. Run `make browser`, or `python -m playwright install "
            "chromium`, or set PAIRLOOP_CHROMIUM to a browser's path."
        )
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield launched
        launched.close()


class Wire:
    """What pages send to addresses that match ``path``: let through, until a test says what ``befalls`` it.

    It is there before a page is: Chromium tells an open page of a new route by and by, and what the page sends at once
    slips past it.
    """

    def __init__(self, path: str) -> None:
        self.path = re.compile(path)
        self.befalls: Callable[[Route], object] = Route.continue_

    def __call__(self, route: Route) -> None:
        self.befalls(route)


class Visit:
    """Opens signed-in pages, and closes them after the test; fails the test when a page logged an error.

    A test that provokes an error says so beforehand with ``forgive``: a page that tries again logs the same error
    again at any time, so nothing that is looked at only once would do.
    """

    def __init__(self, browser: Browser, site: WebSite) -> None:
        self._browser, self._site = browser, site
        self._contexts: list[BrowserContext] = []
        self._errors: list[str] = []
        self._forgiven: set[str] = set()

    def __call__(self, desk: Desk, path: str, wire: Wire | None = None, **options: Any) -> Page:
        """A page at ``path``, signed in as the desk's annotator. ``options`` are Playwright's for a new context."""
        context = self._browser.new_context(**{"base_url": self._site.url, **options})
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies([{"name": "sessionid", "value": desk.session, "url": self._site.url}])
        if wire:
            context.route(wire.path, wire)
        page = context.new_page()
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        # A violated content security policy is reported here as well.
        page.on("console", lambda said: self._errors.append(said.text) if said.type == "error" else None)
        page.goto(path)
        return page

    def forgive(self, *texts: str) -> None:
        """Errors that contain one of ``texts`` are the test's own, whenever and however often they come."""
        self._forgiven.update(texts)

    def close(self) -> list[str]:
        """Closes all pages; returns the errors that nobody forgave, and what was forgiven but never came."""
        open_pages = [page for context in self._contexts for page in context.pages]
        awaited = time.monotonic() + PATIENCE_MS / 1000
        while open_pages and self._never_came() and time.monotonic() < awaited:
            open_pages[0].wait_for_timeout(50)  # The browser may still be about to say it.
        for context in self._contexts:
            context.close()
        unforgiven = [error for error in self._errors if not any(text in error for text in self._forgiven)]
        return unforgiven + [f"never came: {text}" for text in self._never_came()]

    def _never_came(self) -> list[str]:
        return [text for text in self._forgiven if not any(text in error for error in self._errors)]


@pytest.fixture
def visit(browser: Browser, site: WebSite) -> Iterator[Visit]:
    visits = Visit(browser, site)
    yield visits
    assert visits.close() == []
