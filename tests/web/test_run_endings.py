"""Stop and save, resume, start one like it, and what to do after a bad end: by page, command and service."""

import contextlib
import json
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from annotate.models import AuditEntry, Project, User
from annotate.said import Said
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.engineless import publish_as_scored, publish_as_trained
from training.advice import advice
from training.engine import rundir
from training.engine.spec import TrainSpec
from training.loop import ActiveRun
from training.models import Job, Loop, Run
from training.paths import attempt_folder, drop_working_files, earlier_attempts
from training.queries.facts import gather
from training.queries.runs import why_not_resumable
from training.services.heldout import score_rows
from training.services.jobs import drop_checkpoints_of_others
from training.services.leases import claim
from training.services.loops import ensure_loop
from training.services.publishing import write_train_dir
from training.services.resuming import resume_run, score_again
from training.services.runs import (
    AlreadyRunningError,
    CannotStartError,
    cancel_run,
    end_run,
    mark_training,
    start_run,
    stop_run,
    wish_for,
)
from training.services.scoring import start_scoring


@pytest.fixture
def loop(project: Project, bob: User) -> Loop:
    for number in range(10):
        make_judgment(make_comparison(make_prompt(project), round=1), bob, "A" if number % 2 else "B")
    return ensure_loop(project=project, base_model=str(settings.STARTER_DIR))


def begun(loop: Loop, **chosen: object) -> Run:
    """A run that a worker took up."""
    run = start_run(loop=loop, method="dpo", settings=chosen, started_by=None, reason="")
    assert claim(job_id=Job.objects.get(run=run).pk, owner="worker")
    mark_training(run)
    run.refresh_from_db()
    return run


def ended(run: Run, state: str, code: str) -> Run:
    end_run(run, state=state, code=code, message="It ended.")
    Job.objects.filter(run=run).update(state=state, attempt=3)
    run.refresh_from_db()
    return run


def press(client: Client, user: User, name: str, run: Run) -> None:
    client.force_login(user)
    assert client.post(reverse(f"training:{name}", args=[run.project_id, run.number])).status_code == 302
    run.refresh_from_db()


# --- Stop and save ----------------------------------------------------------------------------------------------------


def test_a_run_in_training_is_asked_once_to_end_and_keep_what_it_has_learnt(
    client: Client, alice: User, loop: Loop
) -> None:
    run = begun(loop)
    assert wish_for(run.pk) == ""
    press(client, alice, "stop", run)
    assert wish_for(run.pk) == "save"
    assert run.state == "training"
    assert not stop_run(run=run, actor=alice)
    assert AuditEntry.objects.filter(verb="run.stopped").count() == 1
    cancel_run(run=run, actor=alice)
    assert wish_for(run.pk) == "cancel"
    assert not stop_run(run=run, actor=alice)


def test_a_run_that_has_learnt_nothing_yet_cannot_be_stopped_and_kept(client: Client, alice: User, loop: Loop) -> None:
    run = start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="")
    press(client, alice, "stop", run)
    assert (wish_for(run.pk), run.state) == ("", "queued")


# --- Resuming ---------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_is_queued_again_with_its_snapshot_plan_and_checkpoints(
    client: Client, alice: User, loop: Loop, tmp_path: Path, settings: object
) -> None:
    settings.RUNS_DIR = tmp_path / "runs"  # type: ignore[attr-defined]
    run = ended(begun(loop), "cancelled", "cancelled")
    job = Job.objects.get(run=run)
    checkpoint = attempt_folder(job, 1) / "checkpoints" / "checkpoint-7"
    checkpoint.mkdir(parents=True)
    drop_working_files(job, keep_checkpoints=True)
    plan = (run.snapshot_id, run.spec)
    press(client, alice, "resume", run)
    assert (run.state, run.code, run.message, run.cancel_requested_at) == ("queued", "", "", None)
    assert (run.snapshot_id, run.spec) == plan
    lease = claim(job_id=job.pk, owner="worker 2")
    assert lease is not None
    assert (lease.attempt, lease.token) == (1, 2)
    folder = attempt_folder(job, lease.token)
    write_train_dir(run, folder, resume_from=[attempt / "checkpoints" for attempt in earlier_attempts(job, 2)])
    spec = TrainSpec.from_json(rundir.read_spec_json(folder))
    assert spec.resume_from == (str(checkpoint.parent),)
    assert AuditEntry.objects.filter(verb="run.resumed").count() == 1


def test_only_the_newest_run_that_might_end_better_can_be_resumed(alice: User, loop: Loop) -> None:
    run = begun(loop)
    assert "cancelled or failed" in str(why_not_resumable(run))
    ended(run, "failed", "not_finite")
    assert "end the same way" in str(why_not_resumable(run))
    run.code = "no_space"
    assert why_not_resumable(run) is None
    later = ended(begun(loop), "cancelled", "cancelled")
    assert "later run" in str(why_not_resumable(run))
    assert why_not_resumable(later) is None
    with pytest.raises(CannotStartError, match="later run"):
        resume_run(run=run, actor=alice)


def test_two_presses_on_resume_and_one_beside_another_run_start_one(alice: User, loop: Loop) -> None:
    run = ended(begun(loop), "cancelled", "cancelled")
    resume_run(run=run, actor=alice)
    with pytest.raises(CannotStartError, match="Somebody else"):
        resume_run(run=run, actor=alice)
    assert Job.objects.get(run=run).state == "queued"
    with pytest.raises(AlreadyRunningError):
        start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="")


def test_checkpoints_of_a_bad_end_stay_until_another_run_begins(loop: Loop, tmp_path: Path, settings: object) -> None:
    settings.RUNS_DIR = tmp_path / "runs"  # type: ignore[attr-defined]
    first = Job.objects.get(run=ended(begun(loop), "cancelled", "cancelled"))
    kept = attempt_folder(first, 1) / "checkpoints"
    kept.mkdir(parents=True)
    second = Job.objects.get(run=begun(loop))
    own = attempt_folder(second, 1) / "checkpoints"
    own.mkdir(parents=True)
    drop_checkpoints_of_others(second)
    assert not kept.exists()
    assert own.exists()


# --- One like it ------------------------------------------------------------------------------------------------------


def test_the_start_form_is_filled_in_like_a_run_and_with_what_its_end_advises(
    client: Client, alice: User, loop: Loop
) -> None:
    run = ended(begun(loop, learning_rate=3e-4, loss_type=["ipo"], beta=0.3), "failed", "not_finite")
    Loop.objects.update(settings={})
    client.force_login(alice)
    address = reverse("training:start", args=[loop.pk])
    form = client.get(address, {"from": run.number}).context["form"]
    assert (form["learning_rate"].value(), form["beta"].value(), form["loss_type"].value()) == (3e-4, 0.3, ["ipo"])
    changed = client.get(address, {"from": run.number, "changed": ""})
    assert changed.context["form"]["learning_rate"].value() == 1e-4
    assert f"run {run.number}</a>" in changed.content.decode()
    for nonsense in ("99", "x", "-1", "9" * 30):
        assert client.get(address, {"from": nonsense}).context["form"]["beta"].value() == 0.1


def test_the_page_of_a_failed_run_says_what_to_do(client: Client, alice: User, loop: Loop) -> None:
    run = ended(begun(loop, batch_size=8), "failed", "out_of_memory")
    client.force_login(alice)
    page = client.get(reverse("training:run", args=[loop.pk, run.number])).content.decode()
    assert "What to do next" in page
    assert "a batch size of 4 and a gradient accumulation of" in page
    assert f'?from={run.number}&amp;changed"' in page
    assert reverse("training:resume", args=[loop.pk, run.number]) in page


def test_running_out_of_memory_is_answered_by_ever_smaller_plans() -> None:
    plan = {"batch_size": 2, "gradient_accumulation": 4, "gradient_checkpointing": False, "max_length": 1024}
    seen = []
    for _ in range(4):
        changes = advice("out_of_memory", plan).changes
        seen.append(changes)
        plan |= changes
    assert seen == [
        {"batch_size": 1, "gradient_accumulation": 8},
        {"gradient_checkpointing": True},
        {"max_length": 512},
        {"max_length": 256},
    ]


ENDS = """
cancelled no_space poison internal bad_result no_device bad_model bad_adapter wrong_reference all_rows_skipped
too_few_rows too_few_kept bad_reward_model one_sided no_such_modules snapshot_changed bad_spec guards not_finite
out_of_memory scoring_poison
"""


@pytest.mark.parametrize("code", ENDS.split())
def test_every_end_has_advice(code: str) -> None:
    assert advice(code, {"learning_rate": 1e-4}).steps


# --- Scored again ----------------------------------------------------------------------------------------------------


def score_job_fails(run: Run) -> None:
    """The worker of the scoring job finds out that the disk is full, as ``services.jobs`` would tell it."""
    job = start_scoring(run=run)
    assert job is not None
    Job.objects.filter(pk=job.pk).update(state="failed")
    end_run(run, state="failed", code="scoring_no_space", message=Said("The disk is full."))


def test_a_policy_whose_scoring_failed_is_scored_again_without_training(
    client: Client, alice: User, loop: Loop, tmp_path: Path
) -> None:
    run = start_run(loop=loop, method="dpo", settings={}, started_by=alice, reason="")
    policy = publish_as_trained(run, tmp_path)
    score_job_fails(run)
    client.force_login(alice)
    address = reverse("training:score", args=[loop.pk, run.number])
    page = client.get(reverse("training:run", args=[loop.pk, run.number])).content.decode()
    assert address in page
    assert "Make room on the disk" in page
    assert "have it scored again" in page
    assert "Resume" not in page
    client.post(address)
    client.post(address)
    run.refresh_from_db()
    assert (run.state, run.code, run.message, run.ended_at) == ("scoring", "", "", None)
    assert gather(loop).run == ActiveRun(run.number, "scoring", scoring_job=True)
    assert sorted(run.jobs.values_list("kind", "state")) == [
        ("score", "failed"),
        ("score", "queued"),
        ("train", "done"),
    ]
    assert publish_as_scored(run, tmp_path, heldout_accuracy=0.8).guard_failures == []
    run.refresh_from_db()
    loop.refresh_from_db()
    assert (run.state, run.code, loop.sampler) == ("finished", "ok", policy)
    assert AuditEntry.objects.filter(verb="run.scored_again").count() == 1
    with pytest.raises(CannotStartError, match="Only a run whose scoring"):
        score_again(run=run, actor=alice)


def test_a_new_policy_may_babble_as_the_previous_one_did_on_the_same_prompts(
    loop: Loop, alice: User, tmp_path: Path
) -> None:
    """The base was never scored, and a run from it is not to blame for what it does already."""
    run = start_run(loop=loop, method="dpo", settings={}, started_by=alice, reason="")
    publish_as_trained(run, tmp_path)
    texts = [""] * 2 + ["we are sorry we are sorry we are sorry we are sorry"] * 4 + ["It left us today."] * 2
    rows = [{"id": n, "set": "previous", "text": text, "tokens": 4} for n, text in enumerate(texts)]
    rundir.write_rows(tmp_path / "samples.jsonl", [*rows, {"id": 0, "set": "policy", "text": "", "tokens": 1}])
    policy = publish_as_scored(run, tmp_path, samples_n=64, empty_share=0.25, repetition_share=0.5)
    assert policy.guard_failures == []
    assert policy.metrics["empty_share_previous"] == 0.25
    assert policy.metrics["repetition_share_previous"] == 0.5
    assert policy.metrics["mean_tokens_previous"] == 4


def test_a_run_without_a_policy_is_not_scored_and_none_is_beside_another_run(
    loop: Loop, alice: User, tmp_path: Path
) -> None:
    run = start_run(loop=loop, method="dpo", settings={}, started_by=alice, reason="")
    publish_as_trained(run, tmp_path)
    score_job_fails(run)
    other = start_run(loop=loop, method="dpo", settings={}, started_by=alice, reason="")
    run.refresh_from_db()
    with pytest.raises(AlreadyRunningError):
        score_again(run=run, actor=alice)
    run.refresh_from_db()
    assert run.state == "failed"
    other = ended(other, "failed", "internal")
    with pytest.raises(CannotStartError, match="no policy"):
        score_again(run=other, actor=alice)
    call_command("run", str(loop.pk), "score", str(run.number))
    run.refresh_from_db()
    assert run.state == "scoring"


# --- What it looks at --------------------------------------------------------------------------------------------


def test_a_run_looks_at_judgments_on_reserved_prompts_frozen_when_it_starts(
    loop: Loop, bob: User, tmp_path: Path
) -> None:
    reserved = [make_comparison(make_prompt(loop.project, split="reserved"), round=1) for _ in range(3)]
    for comparison in reserved[:2]:
        make_judgment(comparison, bob, "A")
    run = begun(loop)
    make_judgment(reserved[2], bob, "A")
    job = Job.objects.get(run=run)
    rows = list(score_rows(job))
    assert [row["kind"] for row in rows].count("pair") == 2
    write_train_dir(run, tmp_path / "1", resume_from=[], heldout=rows)
    assert list(rundir.iter_rows(tmp_path / "1" / "heldout.jsonl")) == rows
    assert run.spec["look_every"] == 10
    ended(run, "cancelled", "cancelled")
    unwatched = begun(loop, look_every=0, chosen_guard="off")
    assert Job.objects.get(run=unwatched).payload == {}


# --- The command ------------------------------------------------------------------------------------------------------


def say(*words: object) -> str:
    out = StringIO()
    with contextlib.redirect_stdout(out):
        call_command("run", *map(str, words))
    return out.getvalue()


def test_the_command_shows_stops_cancels_resumes_and_starts_again(loop: Loop) -> None:
    run = start_run(loop=loop, method="dpo", settings={"beta": 0.2}, started_by=None, reason="")
    with pytest.raises(CommandError, match="not in training"):
        say(loop.pk, "stop")
    assert claim(job_id=Job.objects.get().pk, owner="worker")
    mark_training(run)
    say(loop.pk, "stop", "--as", "lea")
    assert AuditEntry.objects.get(verb="run.stopped").actor.username == "lea"
    say(loop.pk, "cancel")
    ended(run, "cancelled", "cancelled")
    assert "Resume it" in say(loop.pk, "show")
    assert json.loads(say(loop.pk, "show", "1", "--json"))["state"] == "cancelled"
    assert "run 1  queued" in say(loop.pk, "resume")
    with pytest.raises(CommandError, match="under way"):
        say(loop.pk, "again")
    ended(run, "cancelled", "cancelled")
    assert "run 2  queued" in say(loop.pk, "again", 1, "--today", "--set", 'loss_type=["ipo"]')
    again = Run.objects.get(number=2)
    assert again.snapshot.copied_from is None
    assert (again.spec["beta"], again.spec["loss_type"], again.created_by) == (0.2, ["ipo"], loop.project.created_by)
    assert len(say(loop.pk, "list").splitlines()) == 2
    with pytest.raises(CommandError, match="NAME=VALUE"):
        say(loop.pk, "again", "--set", "secret=1")
    with pytest.raises(CommandError, match="no run 7"):
        say(loop.pk, "show", 7)
