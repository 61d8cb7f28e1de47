"""A run like an earlier one: the same rows from the same policy, so that two settings can be compared."""

from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response, policy_author
from tests.engineless import publish_as_scored, publish_as_trained
from tests.web.test_runs import form_data
from training.models import Job, Loop, Policy, Run, Snapshot
from training.queries.runs import accounting
from training.services.loops import ensure_loop
from training.services.runs import CannotStartError, end_run, start_run
from training.services.snapshots import frozen_rows, run_rows


@pytest.fixture
def loop(project: Project, bob: User, lea: User) -> Loop:
    """Decisions of every kind: agreed, drawn, skipped, rated."""
    for number in range(12):
        comparison = make_comparison(make_prompt(project), slots=2, round=1)
        make_judgment(comparison, bob, "B" if number % 3 else "A")
        make_judgment(comparison, lea, ["skip", "B", "A"][number % 3])
    make_judgment(make_comparison(make_prompt(project), round=1), bob, "skip")
    make_rating(make_response(make_prompt(project)), bob)
    return ensure_loop(project=project, base_model="owner/name")


@pytest.fixture
def first(loop: Loop, lea: User) -> Run:
    """Run 1, which has ended; since then somebody judged on."""
    run = start_run(loop=loop, method="dpo", settings={"beta": 0.2, "min_rows": 4}, started_by=lea, reason="")
    Job.objects.filter(run=run).update(state="failed")
    end_run(run, state="failed", code="internal", message="It broke.")
    make_judgment(make_comparison(make_prompt(loop.project), round=1), lea, "A")
    return Run.objects.select_related("project", "snapshot__project", "parent", "round").get(pk=run.pk)


def fates(snapshot: Snapshot) -> list[list[tuple[object, ...]]]:
    items = snapshot.items.order_by("judgment_id", "rating_id")
    decided = snapshot.comparisons.order_by("comparison_id")
    return [
        list(items.values_list("judgment", "rating", "counted_in__comparison", "outcome", "reason")),
        list(decided.values_list("comparison", "label", "support", "adjudication", "outcome", "reason")),
    ]


def test_it_trains_on_the_same_rows_to_the_byte_and_accounts_for_the_same_decisions(loop: Loop, first: Run) -> None:
    loop.refresh_from_db()
    kept = loop.settings
    again = start_run(
        loop=loop, method="dpo", settings={"beta": 0.5, "min_rows": 4}, started_by=None, reason="", like=first
    )
    assert again.snapshot.copied_from == first.snapshot
    assert again.snapshot.sha256 == first.snapshot.sha256
    assert run_rows(again).rows == run_rows(first).rows
    assert fates(again.snapshot) == fates(first.snapshot)
    assert accounting(again) == accounting(first)
    assert accounting(again).abstained == 5
    assert again.jobs.get().payload == first.jobs.get().payload
    loop.refresh_from_db()
    assert loop.settings == kept
    today = start_run_after(again, loop)
    assert today.snapshot.sha256 != first.snapshot.sha256


def start_run_after(run: Run, loop: Loop) -> Run:
    Job.objects.filter(run=run).update(state="failed")
    end_run(run, state="failed", code="internal", message="It broke.")
    return start_run(loop=loop, method="dpo", settings={"min_rows": 4}, started_by=None, reason="")


def test_another_method_takes_the_same_decisions(loop: Loop, first: Run) -> None:
    settings = {"source": "judgments", "min_rows": 4}
    again = start_run(loop=loop, method="kto", settings=settings, started_by=None, reason="", like=first)
    assert frozen_rows(again.snapshot, "kto", "judgments").rows

    def decided(run: Run) -> set[object]:
        return set(run.snapshot.items.values_list("judgment", "rating"))

    assert decided(again) == decided(first)


def test_rows_that_were_changed_by_hand_start_nothing(loop: Loop, first: Run) -> None:
    Snapshot.objects.filter(pk=first.snapshot_id).update(sha256="0" * 64)
    first.snapshot.refresh_from_db()
    with pytest.raises(CannotStartError, match="changed since it was frozen"):
        start_run(loop=loop, method="dpo", settings={"min_rows": 4}, started_by=None, reason="", like=first)


def test_the_form_offers_the_same_rows_first_and_keeps_them_with_another_method(
    client: Client, lea: User, loop: Loop, first: Run
) -> None:
    client.force_login(lea)
    address = reverse("training:start", args=[loop.pk]) + f"?from={first.number}"
    page = client.get(address).content.decode()
    assert 'value="same" required id="id_rows_0" checked' in page
    assert "the decisions of run 1, from base" in page
    assert "?method=kto&amp;from=1" in page
    other = client.get(address + "&method=kto").content.decode()
    assert 'name="rows"' in other
    assert 'name="rows"' not in client.get(reverse("training:start", args=[loop.pk])).content.decode()
    answer = client.post(address, form_data(loop, beta="0.3", min_rows="4", rows="same"))
    again = Run.objects.get(number=2)
    assert (answer.status_code, again.snapshot.sha256) == (302, first.snapshot.sha256)
    shown = client.get(reverse("training:run", args=[loop.pk, 2])).content.decode()
    assert '<a href="?with=1">the decisions of run 1, to be compared</a>' in shown


def test_the_form_can_take_todays_judgments(client: Client, lea: User, loop: Loop, first: Run) -> None:
    client.force_login(lea)
    address = reverse("training:start", args=[loop.pk]) + f"?from={first.number}"
    client.post(address, form_data(loop, min_rows="4", rows="today"))
    again = Run.objects.get(number=2)
    assert again.snapshot.copied_from is None
    assert again.snapshot.sha256 != first.snapshot.sha256


def test_the_command_line_does_the_same(loop: Loop, first: Run) -> None:
    call_command("train", "--project", str(loop.pk), "--like", "1", "--set", "learning_rate=0.001")
    again = Run.objects.get(number=2)
    assert again.snapshot.copied_from == first.snapshot
    assert (again.spec["beta"], again.spec["learning_rate"]) == (0.2, 0.001)
    Job.objects.filter(run=again).update(state="failed")
    end_run(again, state="failed", code="internal", message="It broke.")
    call_command("run", str(loop.pk), "again", "1")
    assert Run.objects.get(number=3).snapshot.sha256 == first.snapshot.sha256


def test_its_policy_gives_the_next_answers_only_where_no_other_came_between(
    loop: Loop, first: Run, tmp_path: Path
) -> None:
    later = Policy.objects.create(
        project=loop.project, number=1, parent=first.parent, author=policy_author(loop.project, 1),
        base_model="owner/name", adapter_path="policies/1/1", manifest_sha256="f" * 64,
    )  # fmt: skip
    for sampler, expected in ((later, later), (first.parent, None)):
        Loop.objects.filter(pk=loop.pk).update(sampler=sampler)
        again = start_run(loop=loop, method="dpo", settings={"min_rows": 4}, started_by=None, reason="", like=first)
        publish_as_trained(again, tmp_path / str(again.number))
        policy = publish_as_scored(again, tmp_path)
        loop.refresh_from_db()
        again.refresh_from_db()
        assert loop.sampler == (expected or policy)
        assert ("still come from policy 1" in again.message) == (expected is not None)
