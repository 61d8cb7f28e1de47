"""A site without its web server: a real database, a real broker, and real workers that can be killed.

The test itself plays beat: it ticks in its own process, on the site's database, while it waits.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from celery import Celery
from django.db import ConnectionHandler, connections
from django.utils import timezone

from annotate.models import Project, User
from annotate.services.claims import claim_slot
from annotate.services.judging import record_judgment
from config.settings import _database as database
from tests.cast import make_prompt, make_user
from training.models import Job, Loop, Run
from training.services import doorbell
from training.services.loops import ensure_loop
from training.tasks import tick

ROOT = Path(__file__).resolve().parents[2]
# Long enough for a worker that gets no processor for seconds, short enough to wait for.
LEASE_SECONDS = 8


@dataclass
class Site:
    """Where everything lies, and the processes that were started on it."""

    home: Path
    starter: Path
    env: dict[str, str]
    workers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    # --- Processes ---

    def start_worker(self, queues: str = "gpu,default", *more: str) -> "subprocess.Popen[bytes]":
        """A worker in a process group of its own. Its log lies in the home."""
        name = f"worker-{len(self.workers)}"
        with (self.home / f"{name}.log").open("ab") as log:
            worker = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "config",
                    "worker",
                    "-Q",
                    queues,
                    "-n",
                    f"{name}@test",
                    "--loglevel",
                    "INFO",
                    "--without-gossip",
                    "--without-mingle",
                    *more,
                ],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def run_python(self, code: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """A short program on the site's database, with Django set up."""
        return subprocess.run(
            [sys.executable, "-c", "import django; django.setup()\n" + code],
            cwd=ROOT,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def logs(self) -> str:
        """The end of every log, for the message of a failure."""
        paths = [*self.home.glob("worker-*.log"), *self.home.glob("runs/*/*/engine.log")]
        return "\n".join(f"--- {path}\n" + path.read_text(errors="replace")[-3000:] for path in sorted(paths))

    def wait_for(self, what: Callable[[], Any], *, seconds: float = 400, ticking: bool = True) -> Any:
        """What ``what`` returns, once that is something; ticks meanwhile, as beat would."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            if time.monotonic() > deadline:
                states = list(Job.objects.values_list("kind", "state", "attempt", "error"))
                pytest.fail(f"Waited {seconds:.0f} s in vain.\nJobs: {states}\n{self.logs()}")
            if ticking:
                tick()
            time.sleep(0.1)
        return found


def kill(worker: "subprocess.Popen[bytes]") -> None:
    """kill -9 for the worker and all that shares its group; the engine leads a group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def stop(worker: "subprocess.Popen[bytes]", *, seconds: float = 240) -> int:
    """A warm shutdown, as the supervisor asks for it."""
    worker.send_signal(signal.SIGTERM)
    return worker.wait(timeout=seconds)


def alive(pid: int) -> bool:
    """Is there such a process, and is it more than a zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def running_site(
    home: Path, starter: Path, *, settings: Any, monkeypatch: pytest.MonkeyPatch, **env: str
) -> Iterator[Site]:
    """A site at ``home``, whose database is migrated, on which this very process works too."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PAIRLOOP_", "DJANGO_"))}
    chosen = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PAIRLOOP_HOME": str(home),
        "PAIRLOOP_JOB_LEASE_SECONDS": str(LEASE_SECONDS),
        "PAIRLOOP_TICK_SECONDS": "1",
        "OMP_NUM_THREADS": "1",
    }
    site = Site(home=home, starter=starter, env=clean | chosen | env)
    for name, folder in (("HOME", ""), ("RUNS_DIR", "runs"), ("POLICIES_DIR", "policies"), ("CACHE_DIR", "cache")):
        setattr(settings, name, home / folder)
    settings.STARTER_DIR = starter
    settings.JOB_LEASE_SECONDS, settings.TICK_SECONDS = LEASE_SECONDS, 1
    before = connections["default"]
    connections["default"] = _connection(home, env.get("PAIRLOOP_DATABASE_URL", ""))
    monkeypatch.setattr(doorbell, "current_app", _broker(site))
    try:
        yield site
    finally:
        for worker in site.workers:
            kill(worker)
        connections["default"].close()
        connections["default"] = before


def _connection(home: Path, url: str) -> Any:
    values = database(url)
    if not url:
        values["NAME"] = home / "db.sqlite3"
    return ConnectionHandler({"default": values}).create_connection("default")


def _broker(site: Site) -> Celery:
    """The same broker as the site's processes have, read from the same settings."""
    told = site.run_python(
        "import json; from django.conf import settings as s;"
        "print(json.dumps([s.CELERY_BROKER_URL, s.CELERY_BROKER_TRANSPORT_OPTIONS, s.CELERY_TASK_ROUTES]))"
    )
    assert told.returncode == 0, told.stderr
    url, options, routes = json.loads(told.stdout.splitlines()[-1])
    app = Celery("test", broker=url, set_as_current=False)
    app.conf.update(broker_transport_options=options, task_routes=routes, task_default_queue="default")
    return app


# --- What is on the site ----------------------------------------------------------------------------------------------


def open_project(site: Site, *, train: int = 24, reserved: int = 6, **loop: Any) -> Loop:
    """Alice's project on the tiny starter, with prompts, and nothing sampled yet."""
    alice = make_user("alice")
    project = Project.objects.create(name="Parcel support", created_by=alice)
    for number in range(train + reserved):
        split = "train" if number < train else "reserved"
        make_prompt(project, f"My parcel {number} is late. What now?", split=split)
    defaults = {"queue_target": 10, "max_new_tokens": 8, "responses_per_prompt": 2, "pairs_per_prompt": 1}
    return ensure_loop(project=project, base_model=str(site.starter), **(defaults | loop))


def judge_everything(project: Project, *, most: int = 1000) -> int:
    """Bob prefers the longer answer of every pair that waits. Returns how many he judged."""
    bob = User.objects.filter(username="bob").first() or make_user("bob")
    dice = Random(0)
    for done in range(most):
        now = timezone.now()
        slot = claim_slot(project=project, annotator=bob, kind="pair", now=now, rng=dice)
        if slot is None or slot.comparison is None:
            return done
        sides = [slot.comparison.first, slot.comparison.second]
        left, right = reversed(sides) if slot.swapped else sides
        record_judgment(
            project=project,
            annotator=bob,
            slot_id=slot.pk,
            client_id=slot.submit_id,
            choice="A" if (len(left.text), left.text) > (len(right.text), right.text) else "B",
            now=now,
        )
    return most


# Many tiny steps: long enough to be interrupted in the middle, short enough to wait for.
LONG = {
    "epochs": 15.0,
    "batch_size": 2,
    "gradient_accumulation": 1,
    "save_every": 20,
    "min_rows": 4,
    "gradient_checkpointing": False,
}
SHORT = LONG | {"epochs": 1.0}


def newest_run() -> Run:
    return Run.objects.select_related("snapshot", "parent").latest("pk")


def attempts(job: Job, home: Path) -> list[Path]:
    """The folders of a job's attempts, oldest first."""
    folder = home / "runs" / str(job.pk)
    return sorted(folder.iterdir(), key=lambda item: int(item.name)) if folder.exists() else []
