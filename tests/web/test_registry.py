"""From a policy to every decision that trained it, and from a comparison back to the policies."""

import csv
import io
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.models import Judgment, Project, Rating, User
from tests.cast import (
    make_comparison,
    make_judgment,
    make_lineup,
    make_prompt,
    make_ranking,
    make_rating,
    make_response,
    policy_author,
)
from training.models import Loop, Policy, Run, Snapshot, SnapshotItem
from training.queries import registry
from training.services.loops import ensure_loop


def make_policy(loop: Loop, number: int, parent: int, learned: list[Any], skipped: list[Any] | None = None) -> Policy:
    """A policy by a run of its own that learned from the decisions, written straight to the tables."""
    project = loop.project
    above = Policy.objects.get(project=project, number=parent)
    snapshot = Snapshot.objects.create(project=project, sha256=f"{number:064x}")
    for outcome, decisions in (("used", learned), ("skipped", skipped or [])):
        for decision in decisions:
            about = {type(decision).__name__.lower(): decision}
            reason = "" if outcome == "used" else "tie"
            SnapshotItem.objects.create(snapshot=snapshot, outcome=outcome, reason=reason, **about)
    run = Run.objects.create(
        project=project,
        round=project.rounds.get(),
        number=number,
        snapshot=snapshot,
        method="dpo",
        spec={"beta": 0.1, "learning_rate": 0.001, "loss_type": ["sigmoid"], "lora_r": 16},
        parent=above,
        state="finished",
        result={"versions": {"torch": "2.13.0"}},
    )
    return Policy.objects.create(
        project=project,
        number=number,
        parent=above,
        run=run,
        author=policy_author(project, number),
        base_model="owner/name",
        adapter_path=f"policies/{project.pk}/{number}",
        manifest={"files": {"adapter_model.safetensors": {"sha256": "ab" * 32, "bytes": 4096}}},
        manifest_sha256="f" * 64,
        metrics={"kl_per_response": 4.2, "kl_per_response_se": 0.31},
    )


@pytest.fixture
def loop(project: Project) -> Loop:
    return ensure_loop(project=project, base_model="owner/name")


@pytest.fixture
def judgments(project: Project, bob: User) -> list[Judgment]:
    return [make_judgment(make_comparison(make_prompt(project)), bob, choice) for choice in ("A", "B", "tie", "A")]


def rows_of(client: Client, project: Project, number: int) -> list[dict[str, str]]:
    answer = client.get(reverse("training:learned_csv", args=[project.pk, number]))
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[attr-defined]


def test_a_policy_names_every_decision_that_trained_it_and_its_ancestors(
    client: Client, lea: User, bob: User, loop: Loop, judgments: list[Judgment]
) -> None:
    rating = make_rating(make_response(make_prompt(loop.project)), bob, "down")
    ranking = make_ranking(make_lineup(make_prompt(loop.project)), bob, [1, 2, 3, 3])
    make_policy(loop, 1, 0, judgments[:2], skipped=[judgments[2]])
    make_policy(loop, 2, 1, [judgments[3], judgments[0], rating, ranking])
    make_policy(loop, 3, 0, [judgments[1]])
    client.force_login(lea)
    found = [(row["policy"], row["kind"], int(row["id"]), row["decision"]) for row in rows_of(client, loop.project, 2)]
    assert found == [
        ("2", "judgment", judgments[3].pk, "first"),
        ("2", "judgment", judgments[0].pk, "first"),
        ("2", "rating", rating.pk, "down"),
        ("2", "ranking", ranking.pk, "ranked"),
        ("1", "judgment", judgments[0].pk, "first"),
        ("1", "judgment", judgments[1].pk, "second"),
    ]
    page = client.get(reverse("training:learned", args=[loop.pk, 2])).content.decode()
    for judgment in (judgments[0], judgments[1], judgments[3]):
        assert reverse("annotate:comparison", args=[loop.pk, judgment.comparison_id]) in page
    assert reverse("annotate:comparison", args=[loop.pk, judgments[2].comparison_id]) not in page
    only = client.get(reverse("training:learned", args=[loop.pk, 2]) + "?kind=rating").content.decode()
    assert f"Rating {rating.pk}" in only
    assert "Judgment " not in only


def test_nobody_is_named_in_what_a_policy_learned_from(
    client: Client, lea: User, bob: User, loop: Loop, judgments: list[Judgment]
) -> None:
    make_policy(loop, 1, 0, judgments[:2])
    client.force_login(lea)
    assert {row["annotator"] for row in rows_of(client, loop.project, 1)} == {bob.pseudonym}
    page = client.get(reverse("training:learned", args=[loop.pk, 1])).content.decode()
    assert bob.pseudonym in page
    assert bob.username not in page


def test_what_was_taken_back_or_changed_since_says_so(
    client: Client, lea: User, loop: Loop, judgments: list[Judgment]
) -> None:
    make_policy(loop, 1, 0, judgments[:3])
    Judgment.objects.filter(pk=judgments[0].pk).update(retracted_at=timezone.now())
    Judgment.objects.filter(pk=judgments[1].pk).update(superseded_at=timezone.now())
    client.force_login(lea)
    assert [row["now"] for row in rows_of(client, loop.project, 1)] == ["retracted", "superseded", "current"]
    page = client.get(reverse("training:learned", args=[loop.pk, 1])).content.decode()
    assert "Retracted since" in page
    assert "Changed since" in page


def test_long_lists_come_in_pages_and_the_file_is_whole(
    client: Client, lea: User, bob: User, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [make_judgment(make_comparison(make_prompt(loop.project)), bob, "A") for _ in range(53)]
    policy = make_policy(loop, 1, 0, many)
    assert [row.id for row in registry.lessons([policy], chunk=7)] == [judgment.pk for judgment in many]
    client.force_login(lea)
    url = reverse("training:learned", args=[loop.pk, 1])
    assert client.get(url).content.decode().count("Judgment ") == 50
    assert client.get(url + "?page=2").content.decode().count("Judgment ") == 3
    assert len(rows_of(client, loop.project, 1)) == 53


def test_a_comparison_names_the_policies_trained_on_it_and_those_that_continue_them(
    client: Client, lea: User, loop: Loop, judgments: list[Judgment]
) -> None:
    make_policy(loop, 1, 0, judgments[:2])
    make_policy(loop, 2, 1, judgments[3:])
    make_policy(loop, 3, 0, [], skipped=judgments[:1])
    own, through = registry.trained_on(judgments[0].comparison)
    assert [(row.policy.number, row.decisions) for row in own] == [(1, [judgments[0].pk])]
    assert [policy.number for policy in through] == [2]
    client.force_login(lea)
    page = client.get(reverse("annotate:comparison", args=[loop.pk, judgments[0].comparison_id])).content.decode()
    assert "Policies trained on it" in page
    assert reverse("training:policy", args=[loop.pk, 2]) in page
    other = client.get(reverse("annotate:comparison", args=[loop.pk, judgments[2].comparison_id])).content.decode()
    assert "Policies trained on it" not in other


def test_a_rated_answer_has_a_page_that_names_them_too(client: Client, lea: User, bob: User, loop: Loop) -> None:
    rating = make_rating(make_response(make_prompt(loop.project)), bob, "down", tags=["tone"])
    make_policy(loop, 1, 0, [rating])
    make_policy(loop, 2, 1, [])
    own, through = registry.trained_on(rating.response)
    assert [(row.policy.number, row.decisions) for row in own] == [(1, [rating.pk])]
    assert [policy.number for policy in through] == [2]
    client.force_login(lea)
    address = reverse("annotate:response", args=[loop.pk, rating.response_id])
    assert address in client.get(reverse("training:learned", args=[loop.pk, 1])).content.decode()
    Rating.objects.filter(pk=rating.pk).update(retracted_at=timezone.now())
    page = client.get(address).content.decode()
    for said in ("Policies trained on it", reverse("training:policy", args=[loop.pk, 2]), "Retracted since", "tone"):
        assert said in page
    assert bob.pseudonym in page
    assert bob.username not in page


def test_a_lineup_names_them_too(client: Client, lea: User, bob: User, loop: Loop) -> None:
    ranking = make_ranking(make_lineup(make_prompt(loop.project)), bob, [1, 2, 3, 3])
    make_policy(loop, 1, 0, [ranking])
    own, through = registry.trained_on(ranking.lineup)
    assert [(row.policy.number, row.decisions) for row in own] == [(1, [ranking.pk])]
    assert through == []
    client.force_login(lea)
    address = reverse("annotate:lineup", args=[loop.pk, ranking.lineup_id])
    assert "Policies trained on it" in client.get(address).content.decode()
    assert address in client.get(reverse("training:learned", args=[loop.pk, 1])).content.decode()


def test_the_tree_sets_in_where_it_branches(loop: Loop) -> None:
    for number, parent in ((1, 0), (2, 1), (3, 2), (4, 1), (5, 0)):
        make_policy(loop, number, parent, [])
    rows = [(row.policy.number, row.depth, row.after) for row in registry.lineage(loop.project)]
    assert rows == [(0, 0, None), (1, 1, None), (2, 2, None), (3, 2, None), (4, 2, 1), (5, 1, 0)]
    first = Policy.objects.get(project=loop.project, number=1)
    assert [row.number for row in registry.descendants([first])] == [2, 3, 4]


def test_the_list_shows_settings_in_short_counts_and_why_a_policy_is_held_back(
    client: Client, lea: User, loop: Loop, judgments: list[Judgment]
) -> None:
    policy = make_policy(loop, 1, 0, judgments[:2], skipped=judgments[2:3])
    Policy.objects.filter(pk=policy.pk).update(guard_failures=["40% empty answers, at most 10% allowed"])
    client.force_login(lea)
    page = client.get(reverse("training:policies", args=[loop.pk])).content.decode()
    assert "beta 0.1 · learning_rate 0.001 · lora_r 16" in page
    assert "of 3" in page
    assert "40% empty answers" in page
    assert "± 0.31" in page


def test_settings_that_mean_nothing_in_a_method_are_not_shown(client: Client, lea: User, loop: Loop) -> None:
    policy = make_policy(loop, 1, 0, [])
    Run.objects.update(method="sft", spec={"beta": 0.1, "reference": "base", "learning_rate": 0.001, "loss_type": []})
    policy = registry.policies_of(loop.project).get(number=policy.number)
    assert registry.in_short(policy.run) == "learning_rate 0.001"
    client.force_login(lea)
    for page in (
        reverse("training:policy", args=[loop.pk, 1]),
        reverse("training:run", args=[loop.pk, 1]),
        reverse("training:compare", args=[loop.pk]) + "?left=0&right=1",
    ):
        answer = client.get(page).content.decode()
        assert "learning_rate" in answer
        assert '<dt class="mono">beta</dt>' not in answer
        assert '<th scope="row" class="mono">beta</th>' not in answer
    lines = StringIO()
    call_command("policies", str(loop.pk), "--json", stdout=lines)
    assert [row["settings"] for row in map(json.loads, lines.getvalue().splitlines())] == [{"learning_rate": 0.001}, {}]


def test_a_policy_shows_settings_versions_and_the_digest_of_every_file(
    client: Client, lea: User, loop: Loop, judgments: list[Judgment]
) -> None:
    make_policy(loop, 1, 0, judgments[:2])
    make_policy(loop, 2, 1, judgments[2:])
    client.force_login(lea)
    page = client.get(reverse("training:policy", args=[loop.pk, 2])).content.decode()
    for text in ("learning_rate", "2.13.0", "ab" * 32, "adapter_model.safetensors", "f" * 64):
        assert text in page
    assert "Policy 1" in page


def test_the_list_costs_as_many_queries_for_many_policies_as_for_two(
    client: Client, lea: User, loop: Loop, django_assert_num_queries: Any
) -> None:
    make_policy(loop, 1, 0, [])
    client.force_login(lea)
    url = reverse("training:policies", args=[loop.pk])
    client.get(url)
    with django_assert_num_queries(11) as few:
        client.get(url)
    for number in range(2, 13):
        make_policy(loop, number, number - 1, [])
    with django_assert_num_queries(len(few)):
        client.get(url)
