"""Two policies side by side: what was measured, what they answer, and a message that becomes a prompt."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Project, Prompt, User
from annotate.prompt_files import split_for
from tests.cast import make_prompt
from tests.history import METRICS
from tests.web.test_registry import make_policy
from training.engine import rundir
from training.engine.trial import ANSWERS
from training.models import Job, Loop, Policy, Run, Trial, TrialRow
from training.queries.trials import PATIENCE, progress_of, settings_of
from training.services.leases import claim
from training.services.loops import ensure_loop
from training.services.trials import MOST_WAITING, publish_trial, write_trial_dir

SAMPLING = {"temperature": "0.7", "top_p": "0.9", "max_new_tokens": "40"}
ASKED = SAMPLING | {"left": "0", "right": "1"}


@pytest.fixture
def loop(project: Project) -> Loop:
    """A loop with a base and policy 1."""
    loop = ensure_loop(project=project, base_model="owner/name", temperature=0.8)
    make_policy(loop, 1, 0, [])
    return loop


def ask(client: Client, loop: Loop, **values: str) -> Any:
    return client.post(reverse("training:playground", args=[loop.pk]), ASKED | values)


def answer(trial: Trial, folder: Path, *, skipped: list[dict[str, Any]] | None = None) -> None:
    """What a worker does: claims the job, and publishes what the engine would have written."""
    lease = claim(job_id=trial.job_id, owner="worker")
    assert lease is not None
    job = Job.objects.select_related("trial").get(pk=trial.job_id)
    write_trial_dir(job, folder)
    gone = {item["id"] for item in skipped or []}
    side = {"tokens": 5, "finish_reason": "stop"}
    rows = [
        {"id": row["id"], "left": side | {"text": f"L{row['id']}\0"}, "right": side | {"text": f"R{row['id']}"}}
        for row in rundir.iter_rows(folder / rundir.ROWS)
        if row["id"] not in gone
    ]
    rundir.write_rows(folder / ANSWERS, rows)
    publish_trial(lease=lease, job=job, folder=folder, result={"skipped": skipped or []})


# --- Compared by what is known ----------------------------------------------------------------------------------------


def test_metrics_stand_side_by_side_with_their_intervals(client: Client, lea: User, loop: Loop) -> None:
    make_policy(loop, 2, 1, [])
    Policy.objects.filter(number=1).update(metrics=METRICS)
    Policy.objects.filter(number=2).update(metrics=METRICS | {"heldout_accuracy": 0.8, "kl_per_response": 6.5})
    client.force_login(lea)
    page = client.get(reverse("training:compare", args=[loop.pk]) + "?left=1&right=2").content.decode()
    assert '71% <span class="muted small">58–81, n 52</span>' in page
    assert '80% <span class="muted small">58–81, n 52</span>' in page
    assert '4.20 <span class="muted small">± 0.31</span>' in page
    assert "6.50" in page


def test_only_settings_that_differ_are_in_sight(loop: Loop) -> None:
    make_policy(loop, 2, 1, [])
    Run.objects.filter(number=2).update(spec={"beta": 0.3, "learning_rate": 0.001, "weight_decay": None})
    left, right = (Policy.objects.select_related("run").get(number=number).run for number in (1, 2))
    differ, same = settings_of(left, right)
    assert {(row.name, row.left, row.right) for row in differ} == {
        ("beta", 0.1, 0.3),
        ("loss_type", "sigmoid", "–"),
        ("lora_r", 16, "–"),
    }
    # What one leaves open and the other does not have looks the same on the page.
    assert {row.name for row in same} == {"method", "reference", "learning_rate", "weight_decay"}


def test_a_comparison_begins_with_the_newest_policy_and_its_parent(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    page = client.get(reverse("training:compare", args=[loop.pk])).content.decode()
    assert '<option value="1" selected>Policy 1</option>' in page
    assert '<option value="0" selected>Base</option>' in page
    strange = client.get(reverse("training:compare", args=[loop.pk]) + "?left=99&right=x")
    assert strange.status_code == 200


# --- On prompts of the project ----------------------------------------------------------------------------------------


def test_both_are_asked_reserved_prompts_drawn_by_the_seed(client: Client, lea: User, loop: Loop) -> None:
    for _ in range(9):
        make_prompt(loop.project, split="reserved")
    client.force_login(lea)
    url = reverse("training:compare", args=[loop.pk])
    asked = []
    for seed in ("7", "7", ""):
        answer = client.post(url, ASKED | {"split": "reserved", "count": "4", "seed": seed})
        trial = Trial.objects.latest("pk")
        assert answer["Location"] == reverse("training:trial", args=[loop.pk, trial.pk])
        asked.append([row.prompt_id for row in trial.rows.all()])
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == 4
    assert set(Prompt.objects.filter(pk__in=asked[0]).values_list("split", flat=True)) == {"reserved"}
    first = Trial.objects.earliest("pk")
    assert first.sampling == {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 40, "seed": 7}
    assert isinstance(trial.sampling["seed"], int)
    spec = first.job.payload["spec"]
    assert (spec["seed"], spec["left"]["adapter"], spec["right"]["adapter"] != "") == (7, "", True)


def test_prompts_are_chosen_by_number_or_by_what_they_contain(client: Client, lea: User, loop: Loop) -> None:
    ids = [make_prompt(loop.project, f"Wo ist Paket {name}?").pk for name in ("Grün", "Blau", "Rot")]
    client.force_login(lea)
    url = reverse("training:compare", args=[loop.pk])
    client.post(url, ASKED | {"split": "", "count": "8", "containing": "paket grün"})
    assert [row.prompt_id for row in Trial.objects.latest("pk").rows.all()] == ids[:1]
    client.post(url, ASKED | {"split": "reserved", "count": "8", "numbers": f"{ids[2]}, {ids[0]}-{ids[1]}, 999999"})
    assert [row.prompt_id for row in Trial.objects.latest("pk").rows.all()] == [ids[2], ids[0], ids[1]]
    for wrong in ("3-1", "x", "1-100", "1-9999999999999999999"):
        assert client.post(url, ASKED | {"split": "", "count": "8", "numbers": wrong}).status_code == 422, wrong
    nothing = client.post(url, ASKED | {"split": "", "count": "8", "containing": "nobody says this"})
    assert nothing.status_code == 422
    assert "No prompt fits" in nothing.content.decode()


def test_settings_that_the_engine_refuses_come_back_beside_their_field(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    refused = ask(client, loop, message="Hello", temperature="9")
    assert refused.status_code == 422
    assert "Must be a number from 0 to 2" in refused.content.decode()
    assert not Trial.objects.exists()


# --- A worker answers -------------------------------------------------------------------------------------------------


def test_both_answers_are_kept_and_shown(client: Client, lea: User, loop: Loop, tmp_path: Path) -> None:
    client.force_login(lea)
    client.post(reverse("training:compare", args=[loop.pk]), ASKED | {"split": "", "count": "4", "seed": "1"})
    trial = Trial.objects.get()
    answer(trial, tmp_path / "run", skipped=[{"id": 2, "reason": "prompt too long"}])
    rows = list(trial.rows.all())
    assert [row.right.get("text") for row in rows] == ["R0", "R1", None, "R3"]
    assert rows[0].left["text"] == "L0\ufffd"  # PostgreSQL stores no NUL
    page = client.get(reverse("training:trial", args=[loop.pk, trial.pk])).content.decode()
    assert "R3" in page
    assert "Not answered: prompt too long." in page
    assert "hx-get" not in page.split('class="trial')[1][:200]  # it has ended, and asks no more


def test_the_page_looks_again_until_there_are_answers(client: Client, lea: User, loop: Loop, tmp_path: Path) -> None:
    client.force_login(lea)
    ask(client, loop, message="Hello")
    trial = Trial.objects.get()
    live = reverse("training:trial_live", args=[loop.pk, trial.pk])
    waiting = client.get(live).content.decode()
    assert "Waiting for a worker." in waiting
    seen = waiting.split("?seen=")[1].split('"')[0]
    assert client.get(live, {"seen": seen}).status_code == 204
    answer(trial, tmp_path / "run")
    done = client.get(live, {"seen": seen})
    assert done.status_code == 200
    assert "R0" in done.content.decode()


def test_whoever_waits_is_told_for_what(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    ask(client, loop, message="Hello")
    job = Trial.objects.get().job
    now = timezone.now()
    assert str(progress_of(job, now=now).said) == "Waiting for a worker."
    late = progress_of(job, now=now + PATIENCE * 2)
    assert late.alarm
    assert "No worker answers." in late.said
    other = Job.objects.create(
        project=loop.project, kind="train", state="running", lease_until=now + timedelta(minutes=9)
    )
    assert "busy with another job" in progress_of(job, now=now + PATIENCE * 2).said
    Job.objects.filter(pk=other.pk).update(lease_until=now - timedelta(minutes=9))
    assert progress_of(job, now=now + PATIENCE * 2).alarm
    job.state, job.lease_until = "running", now + timedelta(minutes=1)
    assert progress_of(job, now=now).said == "A worker is at it."
    assert progress_of(job, now=now + timedelta(minutes=2)).alarm
    job.state, job.error = "failed", "The device ran out of memory."
    ended = progress_of(job, now=now)
    assert (ended.active, ended.failed, ended.said) == (False, True, "The device ran out of memory.")


def test_several_may_wait_but_not_any_number(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    for _ in range(MOST_WAITING):
        assert ask(client, loop, message="Hello").status_code == 302
    refused = ask(client, loop, message="Hello")
    assert refused.status_code == 422
    assert "wait for a worker already" in refused.content.decode()


# --- The playground ---------------------------------------------------------------------------------------------------


def test_what_a_lead_types_is_asked_of_both_as_it_is(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    ask(client, loop, message="  Where is\r\nmy parcel? ", system="Be kind.", seed="5")
    row = TrialRow.objects.get()
    assert row.messages == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "  Where is\nmy parcel? "},
    ]
    assert row.prompt is None
    assert row.trial.sampling["seed"] == 5
    assert ask(client, loop, message="   ").status_code == 422
    assert ask(client, loop, message="a" * 50_001).status_code == 422
    assert ask(client, loop, message="Hi", left="77").status_code == 422


def test_a_conversation_goes_on_from_either_answer(client: Client, lea: User, loop: Loop, tmp_path: Path) -> None:
    client.force_login(lea)
    ask(client, loop, message="Hello", temperature="0.3")
    answer(Trial.objects.get(), tmp_path / "run")
    row = TrialRow.objects.get()
    again = reverse("training:playground", args=[loop.pk]) + f"?after={row.pk}&side=right"
    page = client.get(again).content.decode()
    assert "R0" in page
    assert 'value="0.3"' in page
    client.post(again, ASKED | {"message": "And now?"})
    assert TrialRow.objects.latest("pk").messages == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "R0"},
        {"role": "user", "content": "And now?"},
    ]
    base = reverse("training:playground", args=[loop.pk])
    for strange in (f"?after={row.pk}&side=up", "?after=99&side=left", "?after=x&side=left"):
        assert client.get(base + strange).status_code == 404


def test_one_press_makes_it_a_prompt_split_by_the_usual_hash_and_never_twice(
    client: Client, lea: User, loop: Loop
) -> None:
    client.force_login(lea)
    splits = set()
    for number in range(12):
        Job.objects.update(state="done")
        ask(client, loop, message=f"Where is parcel {number}?")
        row = TrialRow.objects.latest("pk")
        client.post(reverse("training:keep_prompt", args=[loop.pk, row.pk]))
        row.refresh_from_db()
        assert row.prompt is not None
        assert row.prompt.messages == row.messages
        assert row.prompt.split == split_for(row.messages, reserved_percent=loop.project.reserved_percent)
        splits.add(row.prompt.split)
    assert splits == {"train", "reserved"}
    before = loop.project.prompts.count()
    page = client.post(reverse("training:keep_prompt", args=[loop.pk, row.pk]), follow=True).content.decode()
    assert f"It was there already: prompt {row.prompt.pk}." in page
    Job.objects.update(state="done")
    ask(client, loop, message="Where is parcel 11?")
    client.post(reverse("training:keep_prompt", args=[loop.pk, TrialRow.objects.latest("pk").pk]))
    assert loop.project.prompts.count() == before
    assert TrialRow.objects.latest("pk").prompt == row.prompt
    assert loop.project.audit_entries.filter(verb="prompts.imported", subject="playground").exists()


def test_markup_in_an_answer_is_shown_and_not_run(client: Client, lea: User, loop: Loop, tmp_path: Path) -> None:
    client.force_login(lea)
    ask(client, loop, message="Hello")
    trial = Trial.objects.get()
    evil = {"text": "<script>alert(1)</script>", "tokens": 1, "finish_reason": "stop"}
    trial.rows.update(left=evil, right=evil)
    Job.objects.filter(pk=trial.job_id).update(state="done")
    page = client.get(reverse("training:trial", args=[loop.pk, trial.pk])).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_a_project_without_policies_has_nothing_to_compare(client: Client, lea: User, project: Project) -> None:
    client.force_login(lea)
    assert "no two policies" in client.get(reverse("training:compare", args=[project.pk])).content.decode()
    assert client.get(reverse("training:playground", args=[project.pk])).status_code == 200
    assert json.dumps(list(project.trials.values())) == "[]"
