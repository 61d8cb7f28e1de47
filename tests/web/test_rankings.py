"""Rankings: formed once, shown blind in an order that stays, saved once, and what they become."""

import random
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from annotate.models import Author, Lineup, Project, PromptReport, Ranking, Response, Slot, User
from annotate.queries.invariants import broken
from annotate.queries.judging import lineup_to_rank, open_slots
from annotate.queries.records import ranking_records
from annotate.services.claims import claim_slot, release_slots
from annotate.services.content import NewResponse, add_responses, policy_author
from annotate.services.judging import Conflict, Gone, Saved
from annotate.services.rankings import form_lineups, record_ranking
from annotate.services.review import retract, reverse_retraction
from tests.cast import make_lineup, make_prompt, make_ranking, make_response

HTMX = {"HX-Request": "true"}


@pytest.fixture
def asks(project: Project) -> Project:
    """The project, asking for rankings of four."""
    project.judging = Project.Judging.RANKING
    project.save()
    return project


@pytest.fixture
def lineup(asks: Project) -> Lineup:
    return make_lineup(make_prompt(asks, "Which one would you send?"), "Ada", "Bea", "Cem", "Dan", round=1)


@pytest.fixture
def bobs(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


def page(project: Project, name: str = "rank") -> str:
    return f"/projects/{project.pk}/{name}/"


def hidden(body: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(slot|client_id)" value="([^"]*)"', body))


def shown(body: str) -> list[str]:
    """The answers' texts in the order of the page."""
    return re.findall(r'data-hook="[a-f]"><p dir="auto">(.*?)</p>', body)


def ranks(*values: int) -> dict[str, str]:
    return {f"rank_{number}": str(value) for number, value in enumerate(values, start=1)}


def claim(project: Project, who: User, seed: int = 1, **when: Any) -> Slot:
    rng = random.Random(seed)
    slot = claim_slot(project=project, annotator=who, kind="ranking", now=timezone.now(), rng=rng, **when)
    assert slot is not None
    return slot


def submit(project: Project, who: User, slot: Slot, *order: int, **other: Any) -> Any:
    sent = {"slot_id": slot.pk, "client_id": slot.submit_id, "now": timezone.now(), "value": "ranked", **other}
    return record_ranking(project=project, annotator=who, ranks=order, **sent)


# --- Forming ----------------------------------------------------------------------------------------------------------


def sampled(project: Project, *texts: str) -> Any:
    prompt = make_prompt(project)
    author = policy_author(project=project, number=1, name="policy 1")
    add_responses(author=author, round=5, responses=[NewResponse(prompt.pk, text) for text in texts])
    return prompt


def form(project: Project, *prompts: Any, seed: int = 1) -> int:
    ids = [prompt.pk for prompt in prompts]
    return form_lineups(project=project, round=5, prompt_ids=ids, rng=random.Random(seed))


def test_lineups_are_formed_once_of_as_many_answers_as_the_project_asks(asks: Project) -> None:
    many, few = sampled(asks, "a", "b", "c", "d", "e"), sampled(asks, "a", "b")
    assert form(asks, many, few) == 1
    made = Lineup.objects.get()
    assert (made.prompt, made.split, made.round, made.responses.count()) == (many, "train", 5, 4)
    assert Slot.objects.get(kind="ranking").lineup == made
    assert form(asks, many, few) == 0  # one fresh answer is no lineup
    assert list(broken()) == []


def test_overlap_makes_as_many_slots_and_other_projects_none(asks: Project) -> None:
    asks.overlap = 3
    asks.save()
    form(asks, sampled(asks, "a", "b", "c"))
    assert Slot.objects.filter(kind="ranking").count() == 3
    asks.judging = Project.Judging.PAIRS
    assert form(asks, sampled(asks, "a", "b", "c")) == 0


@pytest.mark.parametrize("size", [2, 7])
def test_a_ranking_shows_three_to_six(asks: Project, size: int) -> None:
    asks.ranking_size = size
    with pytest.raises(ValidationError):
        asks.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        asks.save()


# --- Claiming ---------------------------------------------------------------------------------------------------------


def test_the_order_is_drawn_at_the_claim_and_stays_for_the_lease(lineup: Lineup, bob: User, lea: User) -> None:
    slot = claim(lineup.project, bob)
    order = [place.text for place in lineup_to_rank(slot).places]
    assert [place.text for place in lineup_to_rank(claim(lineup.project, bob, seed=9)).places] == order
    orders = set()
    for seed in range(20):
        release_slots(project=lineup.project, annotator=bob)
        orders.add(tuple(place.text for place in lineup_to_rank(claim(lineup.project, bob, seed=seed)).places))
    assert len(orders) > 5


def test_nobody_is_asked_twice_or_about_what_they_wrote(lineup: Lineup, bob: User, lea: User) -> None:
    project = lineup.project
    Slot.objects.create(project=project, kind="ranking", lineup=lineup)
    submit(project, bob, claim(project, bob), 1, 2, 3, 4)
    assert claim_slot(project=project, annotator=bob, kind="ranking", now=timezone.now(), rng=random.Random(1)) is None
    assert open_slots(project, "ranking", round_number=1) == 0  # of one, the member who was asked can take none
    person = Author.objects.create(project=project, kind="person", user=lea, name="lea")
    Response.objects.filter(pk=lineup.responses.all()[0].pk).update(author=person)
    assert claim_slot(project=project, annotator=lea, kind="ranking", now=timezone.now(), rng=random.Random(1)) is None


# --- Saving -----------------------------------------------------------------------------------------------------------


def test_a_ranking_is_saved_once_with_what_was_shown(lineup: Lineup, bob: User) -> None:
    slot = claim(lineup.project, bob)
    first, again = submit(lineup.project, bob, slot, 5, 1, 5, 2), submit(lineup.project, bob, slot, 5, 1, 5, 2)
    assert isinstance(first, Saved)
    assert (again.decision, again.repeated) == (first.decision, True)
    assert isinstance(submit(lineup.project, bob, slot, 1, 2, 3, 4), Conflict)
    ranking = Ranking.objects.get()
    assert (ranking.ranks, ranking.pairs) == ([3, 1, 3, 2], 5)
    assert [response.text for _, _, response in ranking.places] == [place.text for place in lineup_to_rank(slot).places]
    assert list(broken()) == []


def test_an_older_lease_saves_nothing(lineup: Lineup, bob: User, lea: User) -> None:
    slot = claim(lineup.project, bob)
    later = timezone.now() + timedelta(hours=2)
    taken = claim_slot(project=lineup.project, annotator=lea, kind="ranking", now=later, rng=random.Random(3))
    assert taken is not None
    assert isinstance(submit(lineup.project, bob, slot, 1, 2, 3, 4), Gone)
    assert isinstance(submit(lineup.project, bob, slot, 1, 2, 3, 4, client_id=uuid.uuid4()), Gone)
    assert not Ranking.objects.exists()


@pytest.mark.parametrize("order", [(), (1, 2, 3), (1, 2, 3, 0), (1, 2, 3, 4, 5)])
def test_the_service_wants_a_rank_for_each_answer(lineup: Lineup, bob: User, order: tuple[int, ...]) -> None:
    slot = claim(lineup.project, bob)
    with pytest.raises(ValueError, match="one rank"):
        submit(lineup.project, bob, slot, *order)


def test_a_skip_is_asked_of_somebody_else(lineup: Lineup, bob: User, lea: User) -> None:
    submit(lineup.project, bob, claim(lineup.project, bob), value="skip", skip_reason="expertise")
    assert claim(lineup.project, lea).lineup == lineup
    assert list(broken()) == []


def test_a_retraction_takes_rankings_out_and_puts_them_back(lineup: Lineup, bob: User, lea: User) -> None:
    make_ranking(lineup, bob, [1, 2, 3, 4])
    made = retract(project=lineup.project, actor=lea, annotator=bob, reason="Clicked through.")
    assert made.rankings == 1
    assert list(ranking_records(lineup.project)) == []
    reverse_retraction(retraction=made, actor=lea)
    [record] = ranking_records(lineup.project)
    assert len(record.pairs) == 6


# --- The page ---------------------------------------------------------------------------------------------------------


def test_without_scripts_the_form_ranks_and_leads_to_the_next(bobs: Client, lineup: Lineup) -> None:
    body = bobs.get(page(lineup.project)).content.decode()
    assert sorted(shown(body)) == ["Ada", "Bea", "Cem", "Dan"]
    assert body.count('type="radio"') == 16
    answer = bobs.post(page(lineup.project), {**hidden(body), **ranks(2, 1, 2, 3), "value": "ranked"})
    assert (answer.status_code, answer["Location"]) == (303, page(lineup.project))
    ranking = Ranking.objects.get()
    assert [(rank, response.text) for _, rank, response in ranking.places] == list(
        zip([2, 1, 2, 3], shown(body), strict=True)
    )


def test_nothing_on_the_page_tells_who_wrote_the_answers(bobs: Client, lineup: Lineup) -> None:
    body = bobs.get(page(lineup.project), headers=HTMX).content.decode().lower()
    for word in ("base", "policy", "author", "temperature", "round", "reserved"):
        assert not re.search(rf"\b{word}\b", body), word


def test_a_missing_rank_is_named_and_the_others_are_kept(bobs: Client, lineup: Lineup) -> None:
    sent = hidden(bobs.get(page(lineup.project)).content.decode())
    some = {"rank_1": "2", "rank_3": "1", "rank_4": "9"}
    answer = bobs.post(page(lineup.project), {**sent, **some, "value": "ranked"}, headers=HTMX)
    body = answer.content.decode()
    assert answer.status_code == 422
    assert "Missing: B, D." in body
    assert "autofocus" not in body  # the words beside it are not what is missing
    assert len(re.findall(r'name="rank_1" value="2"[^>]* checked', body)) == 1
    assert body.count(" checked") == 2
    assert not Ranking.objects.exists()


def test_undo_shows_the_same_order_with_the_old_ranks(bobs: Client, lineup: Lineup) -> None:
    before = bobs.get(page(lineup.project)).content.decode()
    bobs.post(page(lineup.project), {**hidden(before), **ranks(1, 2, 3, 4), "value": "ranked"})
    pressed = {"kind": "ranking", "undone_id": str(Ranking.objects.get().client_id)}
    for _ in range(2):
        again = bobs.post(page(lineup.project, "undo"), pressed, headers=HTMX).content.decode()
    assert shown(again) == shown(before)
    assert "You had said: <strong>Ranked</strong>" in again
    assert again.count(" checked") == 4
    bobs.post(page(lineup.project), {**hidden(again), **ranks(1, 1, 1, 1), "value": "ranked"})
    assert [(each.pairs, each.superseded_at is None) for each in Ranking.objects.order_by("id")] == [
        (6, False),
        (0, True),
    ]
    assert list(broken()) == []


def test_the_history_lists_it_and_lets_it_be_changed(bobs: Client, lineup: Lineup) -> None:
    body = bobs.get(page(lineup.project)).content.decode()
    bobs.post(page(lineup.project), {**hidden(body), **ranks(1, 2, 3, 4), "value": "ranked"})
    listed = bobs.get(page(lineup.project, "history")).content.decode()
    assert "<dt>A: 1</dt>" in listed
    change = f"{page(lineup.project, 'history')}ranking/{Ranking.objects.get().pk}/"
    shown_again = bobs.get(change).content.decode()
    assert shown(shown_again) == shown(body)
    sent = {**hidden(shown_again), **ranks(4, 3, 2, 1), "value": "ranked"}
    assert bobs.post(change, sent).status_code == bobs.post(change, sent).status_code == 302
    [record] = ranking_records(lineup.project)
    assert record.ranks == [4, 3, 2, 1]
    assert list(broken()) == []


def test_a_report_skips_it(bobs: Client, lineup: Lineup) -> None:
    sent = hidden(bobs.get(page(lineup.project)).content.decode())
    pressed = {"reported_slot": sent["slot"], "reported_id": sent["client_id"], "kind": "ranking", "reason": "broken"}
    assert bobs.post(page(lineup.project, "report"), pressed).status_code == 303
    assert (Ranking.objects.get().skip_reason, PromptReport.objects.get().prompt) == ("broken", lineup.prompt)


def test_what_a_project_does_not_ask_leads_to_what_it_does(bobs: Client, asks: Project) -> None:
    for name in ("judge", "thumbs"):
        assert bobs.get(page(asks, name))["Location"] == page(asks)
    asks.judging = Project.Judging.THUMBS
    asks.save()
    assert bobs.get(page(asks))["Location"] == page(asks, "thumbs")


def test_it_counts_as_work_done(bobs: Client, lineup: Lineup, bob: User) -> None:
    make_lineup(lineup.prompt, "x", "y", "z")
    overview = bobs.get(page(lineup.project).removesuffix("rank/")).content.decode()
    assert re.search(r'stat-value">2</span><span class="stat-label">rankings wait', overview)
    make_ranking(lineup, bob, [1, 2, 3, 4])
    home = bobs.get("/").content.decode()
    assert re.search(r'stat-value">1</span><span class="stat-label">done by you today', home)
    assert page(lineup.project) in home


def test_ids_of_other_projects_are_not_there(lineup: Lineup, bob: User) -> None:
    own = make_ranking(lineup, bob, [1, 1, 2, 3])
    assert [record.id for record in ranking_records(lineup.project, ranking_ids=[own.pk, own.pk + 1])] == [own.pk]
    assert list(ranking_records(lineup.project, splits=["reserved"])) == []
    make_ranking(make_lineup(lineup.prompt, "q", "r", "s"), bob, [])
    assert len(list(ranking_records(lineup.project, include_skips=False))) == 1
    response = make_response(lineup.prompt, "late")
    assert response.pk not in {answer.id for record in ranking_records(lineup.project) for answer in record.answers}
