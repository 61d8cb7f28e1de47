"""What happens to a job when its worker is killed, stopped, rung twice, cancelled, or cannot do it at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.conf import settings

from tests.jobs.harness import (
    LONG,
    ROOT,
    SHORT,
    Site,
    alive,
    attempts,
    judge_everything,
    kill,
    newest_run,
    open_project,
    stop,
)
from tests.jobs.prepared import answers_for
from training.engine import rundir
from training.models import Job, Loop, Policy, RecipeRun, RewardModel, Run, SnapshotItem
from training.paths import reward_model_folder
from training.recipes import Stage
from training.services import doorbell
from training.services.recipe_runs import go_on, start_recipe
from training.services.recipes import make_recipe
from training.services.resuming import resume_run
from training.services.runs import cancel_run, start_run, stop_run


def ready_to_train(site: Site) -> Loop:
    """A project with 24 judged pairs. Paused, so that nothing but the run under test keeps the worker busy."""
    loop = open_project(site, paused_at="2026-11-21T00:00Z")
    answers_for(loop)
    assert judge_everything(loop.project) == 24
    return loop


def training_job(loop: Loop, **chosen: object) -> Job:
    run = start_run(loop=loop, method="dpo", settings=LONG | chosen, started_by=None, reason="test")
    return Job.objects.get(run=run)


def has_checkpoint(job: Job, home: Path) -> list[Path]:
    return [path for folder in attempts(job, home) for path in folder.glob("checkpoints/checkpoint-*")]


def engine_pid(folder: Path) -> int:
    return int(json.loads((folder / "engine.json").read_text())["pid"])


def state_of(job: Job) -> str:
    job.refresh_from_db()
    return job.state


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def trained_by_hand(spec_folder: Path, place: Path) -> bytes:
    """The same plan, run from the command line without a break: the weights that it gives."""
    place.mkdir()
    shutil.copy(spec_folder / "rows.jsonl", place / "rows.jsonl")
    spec = json.loads((spec_folder / "spec.json").read_text()) | {"resume_from": []}
    (place / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "training.engine", "train", str(place)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return adapter_bytes(place / "adapter")


def test_a_worker_killed_in_the_middle_of_training_resumes_to_the_very_same_weights(site: Site, tmp_path: Path) -> None:
    job = training_job(ready_to_train(site))
    first = site.start_worker("gpu")
    site.wait_for(lambda: has_checkpoint(job, site.home))
    orphan = engine_pid(attempts(job, site.home)[0])
    kill(first)
    site.wait_for(lambda: not alive(orphan))
    assert rundir.read_result(attempts(job, site.home)[0]) is None

    site.start_worker("gpu")
    site.wait_for(lambda: state_of(job) == "done")
    assert job.attempt == 2
    assert job.run is not None
    policy = Policy.objects.get(run=job.run)
    resumed = [event.data["message"] for event in job.run.events.filter(kind="phase", data__name="resume")]
    assert len(resumed) == 1
    assert resumed[0].startswith("Resuming from step ")
    rundir.verify_manifest(site.home / policy.adapter_path, policy.manifest_sha256)
    weights = adapter_bytes(site.home / policy.adapter_path)
    assert weights == trained_by_hand(attempts(job, site.home)[0], tmp_path / "by-hand")
    outcomes = list(SnapshotItem.objects.filter(snapshot=job.run.snapshot).values_list("outcome", flat=True))
    assert outcomes == ["used"] * 24
    assert not has_checkpoint(job, site.home)


def test_workers_killed_in_a_stage_and_at_its_end_cost_a_recipe_nothing(site: Site) -> None:
    """The first stage makes a reward model, so that nothing hangs on what a tiny policy happens to say.

    Whenever the kills come, what is asserted is so.
    """
    loop = ready_to_train(site)
    base = Policy.objects.get(number=0)
    stages = [Stage("reward", LONG | {"epochs": 6.0, "save_every": 12}), Stage("dpo", SHORT)]
    recipe = make_recipe(project=loop.project, name="Night", stages=stages, actor=None)
    recipe_run = start_recipe(recipe=recipe, loop=loop, start=base, actor=None)
    job = Job.objects.get(run=newest_run())
    first = site.start_worker("gpu")
    site.wait_for(lambda: has_checkpoint(job, site.home) or state_of(job) == "done")
    kill(first)

    second = site.start_worker("gpu")
    site.wait_for(lambda: state_of(job) == "done")
    kill(second)
    site.wait_for(lambda: recipe_run.runs.filter(stage=2).exists())
    for _ in range(3):
        go_on(recipe_run=RecipeRun.objects.get(pk=recipe_run.pk))

    recipe_run.refresh_from_db()
    assert recipe_run.at == 2
    done, next_one = recipe_run.runs.order_by("number")
    assert (done.stage, done.method, done.state) == (1, "reward", "finished")
    assert (next_one.stage, next_one.method, next_one.parent) == (2, "dpo", base)
    made = RewardModel.objects.get()
    rundir.verify_manifest(reward_model_folder(loop.pk, made.number), made.manifest_sha256)
    assert set(SnapshotItem.objects.filter(snapshot=done.snapshot).values_list("outcome", flat=True)) == {"used"}
    assert Job.objects.filter(run=next_one, kind=Job.Kind.TRAIN).count() == 1


def test_a_worker_that_is_asked_to_stop_saves_and_the_next_one_goes_on_at_once(site: Site) -> None:
    job = training_job(ready_to_train(site))
    first = site.start_worker("gpu")
    site.wait_for(lambda: has_checkpoint(job, site.home))
    began = time.monotonic()
    assert stop(first) == 0
    assert time.monotonic() - began < 60
    assert state_of(job) == "queued"
    assert job.attempt == 0  # Nobody's fault, so nothing is held against the job.
    result = rundir.read_result(attempts(job, site.home)[0])
    assert result is not None
    assert result["status"] == "cancelled"

    second = site.start_worker("gpu")
    site.wait_for(lambda: state_of(job) == "done")
    assert (job.attempt, job.token) == (1, 2)
    assert newest_run().state == "scoring"

    # A second copy of the message, and one for a job that never was, do nothing at all.
    before = (Job.objects.values().get(pk=job.pk), Policy.objects.count(), len(attempts(job, site.home)))
    doorbell.ring(job.pk)
    doorbell.ring(type(job.pk)(int=7))
    log = site.home / "worker-1.log"
    site.wait_for(lambda: log.read_text().count("Task training.tasks.run_job") >= 6, ticking=False)
    assert (Job.objects.values().get(pk=job.pk), Policy.objects.count(), len(attempts(job, site.home))) == before
    assert stop(second) == 0


def test_a_cancelled_run_ends_within_a_minute_and_leaves_no_policy_and_no_process(site: Site) -> None:
    loop = ready_to_train(site)
    job = training_job(loop, epochs=99.0)
    site.start_worker("gpu")
    site.wait_for(lambda: newest_run().step > 0)
    pid = engine_pid(attempts(job, site.home)[0])
    began = time.monotonic()
    cancel_run(run=newest_run(), actor=loop.project.created_by)
    site.wait_for(lambda: newest_run().state == "cancelled", seconds=60)
    assert time.monotonic() - began < 60
    assert state_of(job) == "cancelled"
    assert not alive(pid)
    assert not Policy.objects.filter(number__gt=0).exists()

    # It goes on where it was, and what it has learnt when a lead has seen enough is a policy that says so.
    reached = newest_run().step
    resume_run(run=newest_run(), actor=loop.project.created_by)
    site.wait_for(lambda: newest_run().state == "training" and newest_run().step > reached)
    assert stop_run(run=newest_run(), actor=loop.project.created_by)
    site.wait_for(lambda: newest_run().state in ("scoring", "finished"))
    policy = Policy.objects.get(number=1)
    assert newest_run().result["about"]["resumed_from_step"] >= reached
    assert policy.manifest["about"]["stopped_early"].startswith("stopped early after step ")
    assert state_of(job) == "done"


def test_a_job_that_kills_its_engine_every_time_is_given_up_after_three_attempts(site: Site) -> None:
    job = training_job(ready_to_train(site), epochs=99.0)
    site.start_worker("gpu")
    for attempt in (1, 2, 3):
        site.wait_for(lambda wanted=attempt: len([*site.home.glob(f"runs/{job.pk}/*/engine.json")]) == wanted)
        os.kill(engine_pid(attempts(job, site.home)[-1]), signal.SIGKILL)
    site.wait_for(lambda: state_of(job) == "failed")
    run = newest_run()
    assert (run.state, run.code, job.attempt) == ("failed", "poison", 3)
    assert "Given up after 3 attempts" in run.message
    assert "killed by SIGKILL" in run.message
    assert "lower the batch size" in run.message
    assert not Policy.objects.filter(number__gt=0).exists()
    assert not Run.objects.filter(state__in=["queued", "training", "scoring"]).exists()


def test_a_model_that_cannot_be_loaded_fails_once_with_a_sentence(site: Site) -> None:
    loop = ready_to_train(site)
    broken = site.home / "broken-model"
    shutil.copytree(site.starter, broken)
    (broken / "model.safetensors").write_bytes(b"not a model")
    Policy.objects.update(base_model=str(broken))
    job = training_job(Loop.objects.get(pk=loop.pk), **SHORT)
    site.start_worker("gpu")
    site.wait_for(lambda: state_of(job) == "failed")
    run = newest_run()
    assert run.state == "failed"
    assert run.message
    assert job.attempt == 1
    assert settings.JOB_MAX_ATTEMPTS > 1
