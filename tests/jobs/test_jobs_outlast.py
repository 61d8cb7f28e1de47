"""What a worker does about an engine that hangs, and about a database that goes away while it trains."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from tests.jobs.harness import ROOT, Site, alive, attempts, newest_run, running_site
from tests.jobs.postgres import PostgresServer
from tests.jobs.test_jobs_survive import engine_pid, ready_to_train, training_job
from training.models import Job, Policy, RunEvent
from training.services.jobs import work_on

# What stands in the engine's place: it runs, and neither says nor does anything.
HANGING = ("-c", "import signal; signal.pause()")


def test_an_engine_that_makes_no_progress_is_ended_and_tried_again_until_it_is_given_up(
    site: Site, settings: LazySettings
) -> None:
    job = training_job(ready_to_train(site))
    settings.JOB_STALL_SECONDS, settings.JOB_MAX_ATTEMPTS, settings.LAUNCH = 1, 2, HANGING
    assert work_on(job_id=job.pk, owner="worker") == job.project_id
    job.refresh_from_db()
    assert (job.state, job.attempt, newest_run().state) == ("queued", 1, "training")
    assert "No sign of progress" in job.error
    work_on(job_id=job.pk, owner="worker")
    run = newest_run()
    assert (run.state, run.code) == ("failed", "poison")
    assert "Given up after 2 attempts" in run.message
    assert "No sign of progress" in run.message
    folders = attempts(job, site.home)
    assert len(folders) == 2
    assert not any(alive(engine_pid(folder)) for folder in folders)
    assert work_on(job_id=job.pk, owner="worker") is None


# Waits for a checkpoint; while the engine stands still, restarts the database.
RESTARTER = """
import contextlib, json, os, pathlib, signal, subprocess, sys, time
runs, *restart = sys.argv[1:]
while not (found := list(pathlib.Path(runs).glob("*/*/checkpoints/checkpoint-*"))):
    time.sleep(0.02)
pid = json.loads((found[0].parents[1] / "engine.json").read_text())["pid"]
with contextlib.suppress(ProcessLookupError):
    os.kill(pid, signal.SIGSTOP)
silent = subprocess.DEVNULL
done = subprocess.run(restart, cwd="/", stdin=silent, stdout=silent, stderr=silent)
with contextlib.suppress(ProcessLookupError):
    os.kill(pid, signal.SIGCONT)
sys.exit(done.returncode)
"""


@pytest.fixture
def postgres_site(
    tmp_path: Path, tiny_starter: Path, postgres: PostgresServer, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """PostgreSQL, and files for a broker that nobody listens to: the test itself works."""
    settings, monkeypatch, blocker = map(request.getfixturevalue, ("settings", "monkeypatch", "django_db_blocker"))
    env = {"PAIRLOOP_DATABASE_URL": postgres.migrated_database()}
    home, starter = tmp_path / "home", tiny_starter / "model"
    with blocker.unblock(), running_site(home, starter, settings=settings, monkeypatch=monkeypatch, **env) as running:
        yield running


def test_a_database_that_restarts_in_the_middle_of_training_costs_nothing(
    postgres_site: Site, postgres: PostgresServer
) -> None:
    site = postgres_site
    job = training_job(ready_to_train(site), epochs=4.0, save_every=4)
    command = [sys.executable, "-c", RESTARTER, str(site.home / "runs"), *postgres.restart]
    with subprocess.Popen(command, cwd=ROOT) as restarter:
        try:
            work_on(job_id=job.pk, owner="worker")
            assert restarter.wait(240) == 0
        finally:
            restarter.kill()
    job.refresh_from_db()
    run = newest_run()
    assert (job.state, job.attempt, run.state) == ("done", 1, "scoring")
    assert Policy.objects.get(run=run).manifest_sha256
    steps = RunEvent.objects.filter(run=run, kind="metric").order_by("pk").values_list("step", flat=True)
    assert list(steps) == list(range(1, run.total_steps + 1)), "every number once, none lost"
    assert Job.objects.filter(run=run).count() == 1
