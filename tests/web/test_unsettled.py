"""What waits for a reviewer besides comparisons: lineups ranked too differently, and what nobody could answer."""

import random

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.forms.projects import SettingsForm
from annotate.models import Closure, Lineup, OrderVerdict, Project, Ranking, Rating, Response, Role, Slot, User
from annotate.queries.unsettled import disputed_lineups, skipped_lineups, skipped_thumbs
from annotate.services.claims import claim_slot
from annotate.services.judging import Saved, record_rating
from annotate.services.rankings import record_ranking
from annotate.services.review import report_prompt, resolve_reports
from tests.cast import join, make_lineup, make_prompt, make_ranking, make_response, make_user


@pytest.fixture
def eve(project: Project) -> User:
    person = make_user("eve")
    join(project, person, Role.ANNOTATOR)
    return person


@pytest.fixture
def asks(project: Project) -> Project:
    project.judging, project.skips_before_review = Project.Judging.RANKING, 1
    project.save()
    return project


def url(name: str, project: Project, *args: object) -> str:
    return reverse(f"annotate:{name}", args=[project.pk, *args])


def page(client: Client, project: Project) -> str:
    return client.get(url("review", project)).content.decode()


def skip(project: Project, who: User, kind: str) -> Ranking | Rating:
    slot = claim_slot(project=project, annotator=who, kind=kind, now=timezone.now(), rng=random.Random(1))
    assert slot is not None
    said = {"project": project, "annotator": who, "slot_id": slot.pk, "client_id": slot.submit_id}
    record = record_ranking if kind == "ranking" else record_rating
    saved = record(**said, value="skip", skip_reason="expertise", now=timezone.now())  # type: ignore[operator]
    assert isinstance(saved, Saved)
    return saved.decision


# --- Orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "waits"),
    [
        ([1, 2, 3, 4], [1, 2, 4, 3], False),
        ([1, 2, 3, 4], [4, 3, 2, 1], True),
        ([1, 2, 3, 4], [3, 4, 1, 2], True),
        ([1, 2, 3, 4], [4, 1, 2, 3], True),  # three pairs alike, three turned
        ([1, 1, 1, 1], [1, 2, 3, 4], False),
        ([1, 2, 3, 4], [], False),
    ],
)
def test_orders_that_are_opposite_wait_for_a_reviewer(
    asks: Project, bob: User, eve: User, left: list[int], right: list[int], waits: bool
) -> None:
    lineup = make_lineup(make_prompt(asks), slots=2)
    make_ranking(lineup, bob, left)
    make_ranking(lineup, eve, right)
    assert disputed_lineups(asks) == ([lineup.pk] if waits else [])


@pytest.mark.parametrize(("limit", "waits"), [(-0.2, False), (0.34, True), (0.33, False)])
def test_a_lead_says_how_different_orders_must_be(
    client: Client, asks: Project, lea: User, bob: User, eve: User, limit: float, waits: bool
) -> None:
    lineup = make_lineup(make_prompt(asks), slots=3)
    make_ranking(lineup, bob, [1, 2, 3, 4])
    make_ranking(lineup, eve, [2, 1, 4, 3])  # two pairs of six turned round: a tau of a third
    make_ranking(lineup, lea, [1, 1, 1, 1])  # tells nothing apart
    client.force_login(lea)
    kept = {field.html_name: field.value() for field in SettingsForm(instance=asks) if field.value() is not None}
    settings = kept | {"dispute_tau": limit, "reason_tags": ""}
    assert client.post(url("settings", asks), {**settings, "dispute_tau": 1}).status_code == 422
    assert client.post(url("settings", asks), settings).status_code == 302
    asks.refresh_from_db()
    assert disputed_lineups(asks) == ([lineup.pk] if waits else [])
    assert "the two people who differ most is 0.33" in client.get(url("lineup", asks, lineup.pk)).content.decode()


def test_a_reviewer_gives_an_order_and_takes_it_back(
    client: Client, asks: Project, lea: User, bob: User, eve: User
) -> None:
    lineup = make_lineup(make_prompt(asks, "Which one?"), "Ada", "Bea", "Cem", slots=2)
    make_ranking(lineup, bob, [1, 2, 3], rationale="kinder")
    make_ranking(lineup, eve, [3, 2, 1])
    client.force_login(lea)
    body = page(client, asks)
    assert "1 set ranked too differently" in body
    assert "kinder" in body
    assert "eve" not in body  # pseudonyms only
    ranks = {"rank_1": "2", "rank_2": "1", "rank_3": "2", "note": "Ada is rude."}
    refused = client.post(url("adjudicate_lineup", asks, lineup.pk), ranks | {"rank_2": ""})
    assert refused.status_code == 422
    assert "Give every response a rank" in refused.content.decode()
    assert client.post(url("adjudicate_lineup", asks, lineup.pk), ranks).status_code == 302
    assert disputed_lineups(asks) == []
    assert OrderVerdict.objects.get().ranks == [2, 1, 2]
    assert "Ada is rude." in client.get(url("lineup", asks, lineup.pk)).content.decode()
    client.post(url("adjudicate_lineup", asks, lineup.pk), {"exclude": "on"})
    assert list(OrderVerdict.objects.filter(superseded_at=None).values_list("ranks", flat=True)) == [[]]
    client.post(url("withdraw_order_verdict", asks, lineup.pk))
    assert disputed_lineups(asks) == [lineup.pk]
    verbs = asks.audit_entries.values_list("verb", flat=True)
    assert {"lineup.adjudicated", "verdict.withdrawn"} <= set(verbs)


# --- Skips ------------------------------------------------------------------------------------------------------------


def test_a_lineup_that_everybody_skipped_is_asked_again_or_decided(
    client: Client, asks: Project, lea: User, bob: User, eve: User
) -> None:
    lineup: Lineup = make_lineup(make_prompt(asks))
    skip(asks, bob, "ranking")
    assert list(skipped_lineups(asks)) == [lineup]
    client.force_login(lea)
    assert "1 set skipped by everybody asked" in page(client, asks)
    assert client.post(url("ask_again", asks, "ranking", lineup.pk)).status_code == 302
    assert list(skipped_lineups(asks)) == []
    assert client.post(url("ask_again", asks, "ranking", lineup.pk)).status_code == 302
    assert Slot.objects.filter(lineup=lineup, state="open").count() == 1
    skip(asks, eve, "ranking")
    assert list(skipped_lineups(asks)) == [lineup]
    client.post(url("adjudicate_lineup", asks, lineup.pk), {"exclude": "on"})
    assert list(skipped_lineups(asks)) == []


def test_a_thumb_that_everybody_skipped_is_closed_or_asked_again(
    client: Client, project: Project, lea: User, bob: User, eve: User
) -> None:
    project.judging, project.skips_before_review = Project.Judging.THUMBS, 1
    project.save()
    answers: list[Response] = [make_response(make_prompt(project), round=1) for _ in range(2)]
    for answer in answers:
        Slot.objects.create(project=project, kind="thumb", response=answer)
        skip(project, bob, "thumb")
    client.force_login(lea)
    body = page(client, project)
    assert "2 thumbs skipped by everybody asked" in body
    assert bob.pseudonym in body
    assert client.post(url("close_thumb", project, answers[0].pk)).status_code == 302
    assert client.post(url("close_thumb", project, answers[0].pk)).status_code == 302
    assert Closure.objects.get().response == answers[0]
    assert list(skipped_thumbs(project)) == [answers[1]]
    client.post(url("ask_again", project, "thumb", answers[1].pk))
    assert not skipped_thumbs(project).exists()
    assert claim_slot(project=project, annotator=eve, kind="thumb", now=timezone.now(), rng=random.Random(1))


def test_nobody_is_asked_again_when_nobody_is_left_or_the_prompt_stands_reported(
    client: Client, asks: Project, lea: User, alice: User, bob: User
) -> None:
    lineup = make_lineup(make_prompt(asks))
    skip(asks, bob, "ranking")
    client.force_login(lea)
    report_prompt(project=asks, prompt=lineup.prompt, reporter=bob, reason="private")
    assert list(skipped_lineups(asks)) == []
    told = client.post(url("ask_again", asks, "ranking", lineup.pk), follow=True).content.decode()
    assert "stands reported" in told
    resolve_reports(project=asks, prompt=lineup.prompt, resolution="kept", reviewer=lea)
    asks.memberships.exclude(user=bob).exclude(user=lea).delete()
    client.post(url("ask_again", asks, "ranking", lineup.pk))
    skip(asks, lea, "ranking")
    told = client.post(url("ask_again", asks, "ranking", lineup.pk), follow=True).content.decode()
    assert "Every member was asked already" in told
