"""A project's loop: its settings page, its panel, and what a tick makes of the tables."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Comparison, Project, Slot, User
from annotate.services.content import NewResponse, add_responses, form_comparisons
from tests.cast import make_comparison, make_judgment, make_prompt
from training.models import Job, Loop, Policy, Round, Run, TickSlot
from training.panels import loop_panel
from training.queries.facts import gather, new_decisions
from training.services import doorbell
from training.services.advance import advance
from training.services.leases import claim
from training.services.loops import BaseModelFixedError, adopt_policy, change_loop, ensure_loop
from training.services.runs import cancel_run, start_run
from training.services.sampling import publish_samples, start_sampling
from training.services.scoring import start_scoring
from training.services.ticks import take_slot
from training.tasks import tick


@pytest.fixture
def base(tmp_path: Path) -> str:
    """A folder that looks like a model from afar; no engine ever opens it here."""
    (tmp_path / "config.json").write_text("{}")
    return str(tmp_path)


@pytest.fixture
def loop(project: Project, base: str) -> Loop:
    return ensure_loop(project=project, base_model=base, queue_target=4)


def judge(project: Project, bob: User, number: int) -> None:
    for _ in range(number):
        make_judgment(make_comparison(make_prompt(project), round=1), bob, "A")


def fill_queue(loop: Loop, number: int, round_number: int = 1) -> None:
    Project.objects.filter(pk=loop.pk).update(judging="pairs")
    loop.project.refresh_from_db()
    for _ in range(number):
        make_comparison(make_prompt(loop.project), round=round_number)


# --- Setting up -------------------------------------------------------------------------------------------------------


def test_a_new_loop_has_a_base_policy_and_a_first_round(loop: Loop, project: Project) -> None:
    base = Policy.objects.get()
    assert (base.number, base.author.name, base.adapter_path) == (0, "base", "")
    assert loop.sampler == loop.champion == base
    assert Round.objects.get().policy == base
    assert ensure_loop(project=project, base_model="/elsewhere").base_model == loop.base_model
    assert Policy.objects.count() == 1


def test_a_lead_sets_the_loop_up_in_the_browser(client: Client, alice: User, project: Project) -> None:
    client.force_login(alice)
    address = reverse("training:loop", args=[project.pk])
    page = client.get(address)
    assert "Set up the loop" in page.content.decode()
    data = {field.html_name: field.value() or "" for field in page.context["form"]}
    answer = client.post(address, data | {"train_after": "50"})
    assert answer.status_code == 302
    made = Loop.objects.get()
    assert (made.base_model, made.train_after) == (str(settings.STARTER_DIR), 50)
    assert Policy.objects.get().number == 0


def test_the_base_model_is_fixed_once_answers_were_sampled(client: Client, alice: User, loop: Loop) -> None:
    client.force_login(alice)
    address = reverse("training:loop", args=[loop.pk])
    page = client.get(address)
    assert page.context["form"].fields["base_model"].disabled
    loop.base_model = "/another"
    with pytest.raises(BaseModelFixedError):
        change_loop(loop=loop, changed=["base_model"], actor=alice)


def test_before_that_the_base_policy_follows_the_setting(alice: User, base: str) -> None:
    fresh = Project.objects.create(name="Fresh", created_by=alice)
    loop = ensure_loop(project=fresh, base_model=base)
    loop.base_model = "owner/name"
    change_loop(loop=loop, changed=["base_model"], actor=alice)
    assert Policy.objects.get(project=fresh).base_model == "owner/name"


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", "2.5"), ("responses_per_prompt", "1"), ("train_after", "2"), ("train_every_hours", "0")],
)
def test_settings_out_of_range_are_a_422(client: Client, alice: User, loop: Loop, field: str, value: str) -> None:
    client.force_login(alice)
    address = reverse("training:loop", args=[loop.pk])
    data = {bound.html_name: bound.value() or "" for bound in client.get(address).context["form"]}
    answer = client.post(address, data | {field: value})
    assert answer.status_code == 422
    assert field in answer.context["form"].errors


def test_pausing_stops_what_starts_by_itself(client: Client, alice: User, loop: Loop) -> None:
    client.force_login(alice)
    address = reverse("training:pause", args=[loop.pk])
    client.post(address, {"paused": "1"})
    assert advance(project_id=loop.pk).reason == "paused: nothing starts by itself"
    assert not Job.objects.exists()
    client.post(address, {"paused": "0"})
    assert advance(project_id=loop.pk).reason.startswith("sampling")


# --- The panel --------------------------------------------------------------------------------------------------------


def test_leads_see_what_waits_and_why_and_annotators_see_nothing(
    client: Client, lea: User, bob: User, loop: Loop
) -> None:
    Loop.objects.update(train_after=50)
    fill_queue(loop, 8)
    judge(loop.project, bob, 37)
    client.force_login(lea)
    page = client.get(reverse("annotate:project", args=[loop.pk])).content.decode()
    assert "Waiting: 37 of 50 new judgments" in page
    assert "Start training" in page
    client.force_login(bob)
    page = client.get(reverse("annotate:project", args=[loop.pk])).content.decode()
    assert "Start training" not in page
    assert "olicies" not in page


def test_a_project_without_a_loop_is_told_what_to_do(rf: object, lea: User, project: Project) -> None:
    membership = project.memberships.get(user=lea)
    panel = loop_panel(rf.get("/"), membership)  # type: ignore[attr-defined]
    assert "Choose the base model" in panel


def test_the_moving_part_answers_204_until_something_changed(client: Client, lea: User, bob: User, loop: Loop) -> None:
    client.force_login(lea)
    address = reverse("training:now", args=[loop.pk])
    seen = client.get(address).context["overview"].seen
    assert client.get(address, {"seen": seen}).status_code == 204
    judge(loop.project, bob, 1)
    assert client.get(address, {"seen": seen}).status_code == 200


@pytest.mark.parametrize("name", ["loop", "now", "policies", "policy", "sample", "pause"])
def test_annotators_and_strangers_are_kept_out(client: Client, bob: User, charlie: User, loop: Loop, name: str) -> None:
    address = reverse(f"training:{name}", args=[loop.pk, 0] if name == "policy" else [loop.pk])
    ask = client.post if name in ("sample", "pause") else client.get
    client.force_login(bob)
    assert ask(address).status_code == 403
    client.force_login(charlie)
    assert ask(address).status_code == 404


# --- Sampling ---------------------------------------------------------------------------------------------------------


def test_a_low_queue_is_sampled_with_train_and_a_share_of_reserved_prompts(loop: Loop) -> None:
    for number in range(40):
        make_prompt(loop.project, split="reserved" if number % 5 == 0 else "train")
    Loop.objects.update(queue_target=20)
    Comparison.objects.update(round=0)
    assert advance(project_id=loop.pk).reason == "sampling: 0 of 20 open items"
    job = Job.objects.get()
    splits = list(loop.project.prompts.filter(pk__in=job.payload["prompt_ids"]).values_list("split", flat=True))
    assert len(splits) == 20  # 2 pairs of each prompt, and twice the target of 20
    assert 2 <= splits.count("reserved") <= 4
    assert job.payload["spec"]["model"]["model"] == loop.base_model
    advance(project_id=loop.pk)
    assert Job.objects.count() == 1


def test_prompts_that_the_round_used_least_come_first_and_all_of_them_come_again(loop: Loop) -> None:
    author = Policy.objects.get().author
    prompts = [make_prompt(loop.project) for _ in range(6)]
    loop.project.prompts.exclude(pk__in=[prompt.pk for prompt in prompts]).update(split="reserved")
    for prompt in prompts[:3]:
        add_responses(author=author, round=1, responses=[NewResponse(prompt.pk, "Hello.")])
    job = start_sampling(loop=loop, prompts=3)
    assert job is not None
    train = [pk for pk in job.payload["prompt_ids"] if pk in {prompt.pk for prompt in prompts}]
    assert set(train) <= {prompt.pk for prompt in prompts[3:]}
    Job.objects.update(state="done")
    again = start_sampling(loop=loop, prompts=100)
    assert again is not None
    assert {prompt.pk for prompt in prompts} <= set(again.payload["prompt_ids"])
    assert again.payload["spec"]["seed"] != job.payload["spec"]["seed"]


def sampled(loop: Loop, tmp_path: Path, *, answers: int = 4) -> Job:
    """A sampling job that a worker has brought to its end, with different answers to every prompt."""
    job = start_sampling(loop=loop)
    assert job is not None
    lease = claim(job_id=job.pk, owner="worker 1")
    assert lease is not None
    lines = []
    for pk in job.payload["prompt_ids"]:
        for index in range(answers):
            text = f"Answer {index} to {pk} of {job.payload['round']}"
            row = f'{{"id": {pk}, "index": {index}, "text": "{text}", "tokens": 5, "finish_reason": "stop", "seed": 1}}'
            lines.append(row)
    (tmp_path / "responses.jsonl").write_text("\n".join(lines) + "\n")
    publish_samples(lease=lease, job=job, folder=tmp_path, result={"skipped": []})
    job.refresh_from_db()
    return job


def test_sampled_answers_become_open_pairs_and_thumbs(loop: Loop, tmp_path: Path) -> None:
    job = sampled(loop, tmp_path)
    assert job.state == "done"
    assert job.payload["made"] > 0
    prompt_id = job.payload["prompt_ids"][0]
    assert Comparison.objects.filter(prompt=prompt_id, round=1, first__author__number=0).count() >= 2
    assert Slot.objects.filter(response__prompt=prompt_id, kind="thumb", state="open").count() == 4


def test_the_next_rounds_answers_take_the_place_of_the_old_open_ones_only_once_they_are_there(
    loop: Loop, bob: User, tmp_path: Path
) -> None:
    fill_queue(loop, 8)
    held = Slot.objects.filter(comparison__round=1).first()
    assert held is not None
    Slot.objects.filter(pk=held.pk).update(
        state="leased", annotator=bob, lease_until=timezone.now() + timedelta(minutes=5)
    )
    base = Policy.objects.get()
    author = type(base.author).objects.create(project=loop.project, kind="policy", number=1, name="policy 1")
    policy = Policy.objects.create(
        project=loop.project, number=1, parent=base, author=author, base_model="m", manifest_sha256="0" * 64
    )
    adopt_policy(policy=policy)
    loop.refresh_from_db()
    assert loop.sampler == policy
    assert list(Round.objects.filter(closed_at__isnull=True).values_list("number", flat=True)) == [2]
    facts = gather(loop)
    assert facts.open_items == 0
    assert Slot.objects.filter(comparison__round=1, state="open").count() == 10
    sampled(loop, tmp_path)
    assert not Slot.objects.filter(comparison__round=1, state="open").exists()
    held.refresh_from_db()
    assert held.state == "leased"
    assert gather(loop).open_items > 0


def test_a_sampling_that_failed_is_shown_and_can_be_tried_again(client: Client, lea: User, loop: Loop) -> None:
    Comparison.objects.update(round=0)
    job = start_sampling(loop=loop)
    assert job is not None
    Job.objects.update(state="failed", ended_at=timezone.now(), error="The model folder is damaged.")
    assert advance(project_id=loop.pk).reason.startswith("waiting: sampling failed, trying again at")
    client.force_login(lea)
    assert "The model folder is damaged." in client.get(reverse("training:now", args=[loop.pk])).content.decode()
    client.post(reverse("training:sample", args=[loop.pk]))
    assert Job.objects.filter(state="queued").count() == 1


def test_a_missing_model_folder_is_an_obstacle_with_a_name(loop: Loop) -> None:
    Loop.objects.update(base_model="/nowhere/model")
    assert advance(project_id=loop.pk).reason == "waiting: there is no model in /nowhere/model"


# --- Rounds by themselves ---------------------------------------------------------------------------------------------


def test_enough_judgments_start_one_run_and_two_ticks_start_no_second(loop: Loop, bob: User) -> None:
    Loop.objects.update(train_after=10)
    fill_queue(loop, 8)
    judge(loop.project, bob, 12)
    assert advance(project_id=loop.pk).reason == "training run 1: waiting for a worker"
    advance(project_id=loop.pk)
    run = Run.objects.get()
    assert (run.reason, run.created_by) == ("12 new judgments", None)
    loop.refresh_from_db()
    assert (loop.decision, loop.reason) == ("wait", "training run 1: waiting for a worker")


def test_a_run_that_failed_does_not_start_over_by_itself(loop: Loop, bob: User, alice: User) -> None:
    Loop.objects.update(train_after=10)
    fill_queue(loop, 8)
    judge(loop.project, bob, 12)
    advance(project_id=loop.pk)
    cancel_run(run=Run.objects.get(), actor=alice)
    assert new_decisions(loop.project, method="dpo") == 0
    assert advance(project_id=loop.pk).reason == "waiting: 0 of 10 new judgments"
    judge(loop.project, bob, 10)
    advance(project_id=loop.pk)
    second = Run.objects.order_by("number").last()
    assert second is not None
    assert second.snapshot.items.count() == 22


def test_a_round_that_cannot_start_says_why(loop: Loop, bob: User) -> None:
    Loop.objects.update(train_after=4)
    fill_queue(loop, 8)
    judge(loop.project, bob, 5)
    assert advance(project_id=loop.pk).reason.startswith("waiting: Too few rows to train on: 5 of at least")


def test_scoring_uses_reserved_prompts_and_judgments_only(loop: Loop, bob: User) -> None:
    judge(loop.project, bob, 12)
    held_out = make_judgment(make_comparison(make_prompt(loop.project, split="reserved"), round=1), bob, "B")
    run = start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="test")
    author = type(Policy.objects.get().author).objects.create(
        project=loop.project, kind="policy", number=1, name="policy 1"
    )
    Policy.objects.create(
        project=loop.project,
        number=1,
        run=run,
        parent=run.parent,
        author=author,
        base_model="m",
        adapter_path="policies/1/1",
        manifest_sha256="0" * 64,
    )
    job = start_scoring(run=run)
    assert job is not None
    assert start_scoring(run=run) is None
    comparison = held_out.comparison
    pair = {"chosen": comparison.second_id, "rejected": comparison.first_id}
    assert job.payload["pairs"] == [{"id": f"c{comparison.pk}", "prompt": comparison.prompt_id} | pair]
    splits = set(loop.project.prompts.filter(pk__in=job.payload["prompt_ids"]).values_list("split", flat=True))
    assert splits == {"reserved"}


# --- Ticks and bells --------------------------------------------------------------------------------------------------


def test_of_two_ticks_in_one_slot_one_does_the_work(db: None) -> None:
    assert take_slot(name="tick", slot=7)
    assert not take_slot(name="tick", slot=7)
    assert take_slot(name="tick", slot=8)
    assert TickSlot.objects.count() == 2


def test_a_tick_advances_every_loop(loop: Loop) -> None:
    Comparison.objects.update(round=0)
    tick()
    assert Job.objects.get().kind == "sample"
    loop.refresh_from_db()
    assert loop.decided_at is not None


def test_the_reconciler_rings_for_what_nobody_heard_and_for_leases_that_ran_out(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[object] = []
    monkeypatch.setattr(doorbell, "ring", lambda job_id: rung.append(job_id) or True)
    job = Job.objects.create(project=loop.project, kind=Job.Kind.SAMPLE)
    assert doorbell.ring_due() == 1
    assert doorbell.ring_due() == 0
    Job.objects.update(rung_at=timezone.now() - timedelta(seconds=20))
    assert doorbell.ring_due() == 1
    assert claim(job_id=job.pk, owner="worker 1")
    Job.objects.update(rung_at=timezone.now() - timedelta(hours=1))
    assert doorbell.ring_due() == 0
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert doorbell.ring_due() == 1
    assert rung == [job.pk] * 3


def test_the_reconciler_rings_again_for_what_it_rang_for_itself(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring", lambda job_id: True)
    monkeypatch.setattr(doorbell, "FIRST_REPEAT", timedelta(0))
    monkeypatch.setattr(doorbell, "LAST_REPEAT", timedelta(0))
    Job.objects.create(project=loop.project, kind=Job.Kind.SAMPLE)
    assert [doorbell.ring_due() for _ in range(3)] == [1, 1, 1]


def test_a_job_that_waits_for_hours_is_rung_ever_more_rarely(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring", lambda job_id: True)
    Job.objects.create(project=loop.project, kind=Job.Kind.SAMPLE)
    now = timezone.now()
    Job.objects.update(created_at=now - timedelta(hours=3), rung_at=now - timedelta(minutes=4))
    assert doorbell.ring_due() == 0
    Job.objects.update(rung_at=now - timedelta(minutes=6))
    assert doorbell.ring_due() == 1


def test_pairs_are_formed_the_same_way_from_the_same_dice(loop: Loop) -> None:
    prompt = make_prompt(loop.project)
    author = Policy.objects.get().author
    add_responses(author=author, round=1, responses=[NewResponse(prompt.pk, f"Answer {n}") for n in range(4)])
    dice = random.Random(3)
    assert form_comparisons(project=loop.project, round=1, prompt_ids=[prompt.pk], per_prompt=2, rng=dice) == 2
