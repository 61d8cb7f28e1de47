"""Policies on their pages: what they are, where they came from, and what was measured."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Author, Project, User
from annotate.services.review import retract, reverse_retraction
from tests.cast import make_comparison, make_judgment, make_prompt, policy_author
from tests.history import METRICS
from training.models import Loop, Policy, Run, Snapshot, SnapshotItem
from training.queries.retracted import Retracted, retracted_since
from training.services.loops import ensure_loop
from training.services.runs import start_run


@pytest.fixture
def loop(project: Project, bob: User) -> Loop:
    """A loop with a base and a scored policy 1, which is sampled from."""
    loop = ensure_loop(project=project, base_model="owner/name")
    for _ in range(20):
        make_judgment(make_comparison(make_prompt(project), round=1), bob, "A")
    run = start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="20 new judgments")
    author = Author.objects.create(project=project, kind="policy", number=1, name="policy 1")
    policy = Policy.objects.create(
        project=project,
        number=1,
        run=run,
        parent=run.parent,
        author=author,
        base_model="owner/name",
        adapter_path="policies/1/1",
        manifest_sha256="f" * 64,
        metrics=METRICS,
        scored_at=timezone.now(),
    )
    Loop.objects.filter(pk=loop.pk).update(sampler=policy)
    return loop


def test_the_list_says_which_policy_gives_the_next_answers(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    page = client.get(reverse("training:policies", args=[loop.pk])).content.decode()
    assert page.index("Policy 1") < page.index("Sampler") < page.index("Base</a>") < page.index("Champion")
    assert '71% <span class="muted small">58–81, n 52</span>' in page


def test_a_policy_names_its_parent_run_snapshot_and_manifest(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    run = Policy.objects.get(number=1).run
    assert run is not None
    for text in ("f" * 64, run.snapshot.sha256, "Run 1", "owner/name"):
        assert text in page


def test_held_out_accuracy_comes_with_its_interval_and_number(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    assert "95% interval 58% to 81% (Wilson), 37 of 52 judgments" in page
    assert "4.20" in page
    assert "0.31" in page


def test_an_accuracy_that_cannot_be_had_is_explained(client: Client, lea: User, loop: Loop) -> None:
    Policy.objects.filter(number=1).update(metrics=METRICS | {"heldout_accuracy": None, "heldout_n": 0})
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    assert "judge some reserved prompts" in page


def test_a_policy_that_the_guards_hold_back_says_why(client: Client, lea: User, loop: Loop) -> None:
    Policy.objects.filter(number=1).update(guard_failures=["40% empty answers, at most 10% allowed"])
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    assert "40% empty answers" in page
    assert "Held back" in page


def test_a_policy_that_is_not_there_is_a_404(client: Client, lea: User, loop: Loop) -> None:
    client.force_login(lea)
    assert client.get(reverse("training:policy", args=[loop.pk, 9])).status_code == 404


def test_a_policy_is_marked_while_judgments_that_it_learned_from_are_retracted(
    client: Client, lea: User, bob: User, loop: Loop
) -> None:
    policy = Policy.objects.get(project=loop.project, number=1)
    assert policy.run is not None
    learned = list(policy.run.snapshot.items.order_by("id"))
    policy.run.snapshot.items.filter(pk__in=[item.pk for item in learned[:14]]).update(outcome="used")
    policy.run.snapshot.items.filter(outcome="pending").update(outcome="skipped", reason="tie")
    client.force_login(lea)
    pages = [reverse("training:policies", args=[loop.pk]), reverse("training:policy", args=[loop.pk, 1])]
    assert not any("retracted" in client.get(url).content.decode() for url in pages)
    made = retract(project=loop.project, actor=lea, annotator=bob, reason="clicked through")
    listed, shown = (client.get(url).content.decode() for url in pages)
    assert "14 judgments retracted" in listed
    assert listed.count("judgments retracted") == 1  # the base learned from nobody
    assert "Trained on 14 judgments that were retracted since." in shown
    reverse_retraction(retraction=made, actor=lea)
    assert not any("retracted" in client.get(url).content.decode() for url in pages)


def test_a_child_is_marked_through_the_policy_whose_weights_it_continues(
    client: Client, lea: User, bob: User, loop: Loop
) -> None:
    """Policy 3 comes from 2 and 2 from 1; the judgments of 1 and one of 3 are retracted. 4 comes from the base."""
    project = loop.project
    base, first = Policy.objects.get(project=project, number=0), Policy.objects.get(project=project, number=1)
    made = {1: first}
    for number, parent in ((2, first), (3, None), (4, base)):
        judgments = [make_judgment(make_comparison(make_prompt(project)), lea) for _ in range(2)]
        snapshot = Snapshot.objects.create(project=project, sha256="0" * 64)
        for judgment in judgments:
            SnapshotItem.objects.create(snapshot=snapshot, judgment=judgment, outcome="used")
        Run.objects.update(state="finished")
        above = parent or made[2]
        run = Run.objects.create(
            project=project,
            round=first.run.round,
            number=number,
            snapshot=snapshot,
            method="dpo",
            spec={},
            parent=above,
        )
        made[number] = Policy.objects.create(
            project=project,
            number=number,
            parent=above,
            run=run,
            author=policy_author(project, number),
            base_model="owner/name",
            adapter_path=str(number),
            manifest_sha256="f" * 64,
        )
    assert first.run is not None
    first.run.snapshot.items.update(outcome="used")
    retract(project=project, actor=lea, annotator=bob, reason="clicked through")
    taken = made[3].run.snapshot.items.first().judgment
    one = retract(
        project=project,
        actor=lea,
        annotator=lea,
        since=taken.created_at,
        until=taken.created_at + timedelta(microseconds=1),
        reason="slip",
    )
    marks = retracted_since(made.values())
    assert marks == {
        first.pk: Retracted(20, []),
        made[2].pk: Retracted(0, [(1, 20)]),
        made[3].pk: Retracted(1, [(1, 20)]),
    }
    client.force_login(lea)
    listed = client.get(reverse("training:policies", args=[project.pk])).content.decode()
    assert listed.count("20 retracted through policy 1") == 2
    shown = client.get(reverse("training:policy", args=[project.pk, 3])).content.decode()
    assert "Trained on 1 judgment that was retracted since." in shown
    assert "whose weights it continues, it learned from 20 judgments that were retracted since" in shown
    assert reverse("training:policy", args=[project.pk, 1]) in shown
    assert reverse_retraction(retraction=one, actor=lea)
    assert retracted_since([made[3]]) == {made[3].pk: Retracted(0, [(1, 20)])}
    verbs = list(project.audit_entries.order_by("id").values_list("verb", flat=True))
    assert [verb for verb in verbs if "retract" in verb] == [
        "judgments.retracted",
        "judgments.retracted",
        "retraction.reversed",
    ]


def test_the_marks_cost_two_queries_however_many_policies(loop: Loop, django_assert_num_queries: object) -> None:
    policies = list(Policy.objects.filter(project=loop.project))
    with django_assert_num_queries(2):  # type: ignore[operator]
        retracted_since(policies)
