"""Gold questions and rechecks of rankings come unmarked, and tell what they are there to tell."""

import random
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from scipy import stats

from annotate import assign
from annotate.models import Lineup, LineupAnswer, Project, Ranking, Slot, User
from annotate.queries import ranked
from annotate.queries.invariants import broken
from annotate.queries.unsettled import disputed_lineups, skipped_lineups
from annotate.services.checks import NotGoldError, make_gold_lineup, slip_in_check
from annotate.services.claims import claim_slot, release_slots
from annotate.services.limits import apply_limits
from annotate.services.rankings import record_ranking, shown_in
from annotate.stats.intervals import wilson
from tests.cast import join, make_lineup, make_prompt, make_ranking, make_user


@pytest.fixture
def asks(project: Project) -> Project:
    project.judging = Project.Judging.RANKING
    project.save()
    return project


@pytest.fixture
def eve(project: Project) -> User:
    person = make_user("eve")
    join(project, person)
    return person


def gold_of(project: Project, lea: User, *ranks: int | None) -> Lineup:
    return make_gold_lineup(lineup=make_lineup(make_prompt(project), slots=0), ranks=ranks or (1, 2, 3, 4), actor=lea)


def claim(project: Project, who: User, seed: int = 1) -> Slot:
    slot = claim_slot(project=project, annotator=who, kind="ranking", now=timezone.now(), rng=random.Random(seed))
    assert slot is not None
    return slot


# --- Gold -------------------------------------------------------------------------------------------------------------


def test_a_lead_marks_what_is_known_of_a_set_perhaps_one_order_alone(
    client: Client, asks: Project, lea: User, bob: User
) -> None:
    lineup = make_lineup(make_prompt(asks), "Ada", "Bea", "Cem", "Dan", slots=0)
    ada, bea, cem, dan = sorted(lineup.responses.values_list("pk", flat=True))
    client.force_login(lea)
    page, mark = (reverse(f"annotate:{name}", args=[asks.pk, lineup.pk]) for name in ("lineup", "make_gold_lineup"))
    for nothing in ({}, {"rank_1": "2"}, {"rank_1": "1", "rank_2": "1"}, {"rank_1": "7", "rank_2": "1"}):
        assert client.post(mark, nothing).status_code == 422
    sent = {"rank_1": "2", "rank_3": "1", "rank_4": "2", "explanation": "Cem is *kind*."}
    assert client.post(mark, sent).status_code == 302
    gold = lineup.checks.get()
    assert (gold.purpose, gold.explanation, gold.round) == ("gold", "Cem is *kind*.", lineup.round)
    assert sorted(gold.expected) == sorted([[cem, ada], [cem, dan]])  # ada and dan have equal ranks, bea has none
    assert sorted(gold.responses.values_list("pk", flat=True)) == [ada, bea, cem, dan]
    body = client.get(page).content.decode()
    assert "Response 3 is above response 1." in body
    assert "<em>kind</em>" in body
    assert mark not in body
    make_ranking(lineup, lea, [1, 2, 3, 4])
    history = reverse("annotate:history", args=[asks.pk])
    assert page in client.get(history).content.decode()
    make_ranking(lineup, bob, [1, 2, 3, 4])
    client.force_login(bob)
    assert page not in client.get(history).content.decode()
    client.force_login(lea)
    assert client.post(mark, sent).status_code == 422
    with pytest.raises(NotGoldError, match="already"):
        make_gold_lineup(lineup=gold, ranks=[1, 2, 3, 4], actor=lea)
    assert asks.audit_entries.filter(verb="gold.made", subject=f"lineup {lineup.pk}").exists()
    assert list(broken()) == []


def test_a_lead_says_two_by_two_what_no_list_of_ranks_can_and_is_told_of_a_circle(
    client: Client, asks: Project, lea: User, bob: User
) -> None:
    lineup = make_lineup(make_prompt(asks), slots=0)
    one, two, three, four = sorted(lineup.responses.values_list("pk", flat=True))
    client.force_login(lea)
    page, mark = (reverse(f"annotate:{name}", args=[asks.pk, lineup.pk]) for name in ("lineup", "make_gold_lineup"))
    assert client.get(page).content.decode().count(' name="better_') == 4
    apart = {"better_1": "1", "worse_1": "2", "better_4": "3", "worse_4": "4"}
    for wrong, told in (
        ({"better_2": "2"}, "Choose the other response too, or none."),
        ({"worse_2": "2"}, "Choose the other response too, or none."),
        ({"better_2": "2", "worse_2": "2"}, "A response is not above itself."),
        ({"better_2": "2", "worse_2": "1"}, "The orders go in a circle (1 › 2 › 1)"),
        (
            {"better_2": "2", "worse_2": "3", "rank_4": "1", "rank_1": "2"},
            "The orders go in a circle (1 › 2 › 3 › 4 › 1)",
        ),
        ({"better_2": "5", "worse_2": "1"}, "Select a valid choice"),
    ):
        refused = client.post(mark, apart | wrong)
        assert refused.status_code == 422
        assert told in refused.content.decode()
        assert '<details class="known-orders" open>' in refused.content.decode()
    assert not lineup.checks.exists()
    assert client.post(mark, apart).status_code == 302
    gold = lineup.checks.get()
    assert gold.expected == [[one, two], [three, four]]
    body = client.get(page).content.decode()
    assert body.count("is above response") == 2
    make_ranking(gold, bob, [2, 3, 1, 4])  # between the two pairs nothing is known
    (found,) = ranked.annotators(asks, ranked.orders(asks), [])
    assert (found.gold.hits, found.gold.n) == (2, 2)
    assert list(broken()) == []


def test_ranks_and_orders_of_two_are_known_together_with_all_that_follows(asks: Project, lea: User) -> None:
    lineup = make_lineup(make_prompt(asks), slots=0)
    one, two, three, four = sorted(lineup.responses.values_list("pk", flat=True))
    gold = make_gold_lineup(lineup=lineup, ranks=[1, 2, 2, None], orders=[(2, 4)], actor=lea)
    assert gold.expected == [[one, two], [one, three], [one, four], [two, four]]


def test_a_gold_set_comes_unmarked_beside_ordinary_work_once_and_to_nobody_who_ranked_it(
    asks: Project, lea: User, bob: User, eve: User
) -> None:
    known = make_lineup(make_prompt(asks), slots=2)
    make_ranking(known, eve, [1, 2, 3, 4])
    gold = make_gold_lineup(lineup=known, ranks=[1, 2, 3, 4], actor=lea)
    ordinary = [make_lineup(make_prompt(asks)) for _ in range(2)]
    asks.gold_percent = 50
    lucky = next(seed for seed in range(99) if _draws_a_check(seed))
    slot = claim(asks, bob, seed=lucky)
    assert (slot.lineup, slot.only_for_id) == (gold, bob.pk)
    assert Slot.objects.filter(state="leased").count() == 1  # what was taken before the check is everybody's again
    assert claim(asks, bob).pk == slot.pk
    for annotator in (bob, eve):
        drawn = [random.Random(seed) for seed in range(10)]
        assert not any(
            slip_in_check(project=asks, annotator=annotator, kind="ranking", now=timezone.now(), rng=rng)
            for rng in drawn
        )
    said = {"project": asks, "annotator": bob, "slot_id": slot.pk, "client_id": slot.submit_id, "now": timezone.now()}
    record_ranking(**said, value="skip", skip_reason="unclear")  # type: ignore[arg-type]
    assert not Slot.objects.filter(lineup=gold).exclude(pk=slot.pk).exists()  # nobody else is asked instead
    assert claim(asks, bob).lineup in [known, *ordinary]


def _draws_a_check(seed: int) -> bool:
    rng = random.Random(seed)
    assign.draw_swapped(rng), assign.draw_order(rng)
    return rng.random() < 0.5


def test_gold_is_scored_by_the_known_orders_with_an_interval_that_takes_a_set_for_one(
    asks: Project, lea: User, bob: User
) -> None:
    make_ranking(gold_of(asks, lea), bob, [1, 2, 3, 4])  # six of six
    make_ranking(gold_of(asks, lea), bob, [2, 1, 3, 3])  # four of six: a tie is not the known order
    make_ranking(gold_of(asks, lea, 1, None, None, 2), bob, [4, 2, 3, 1])  # none of one
    make_ranking(gold_of(asks, lea), bob, [])
    (found,) = ranked.annotators(asks, ranked.orders(asks), [])
    assert (found.gold.hits, found.gold.n) == (10, 13)
    effective = 13**2 / (36 + 36 + 1)
    assert found.gold.low == pytest.approx(_wilson(10 / 13, effective)[0])
    assert found.gold.high == pytest.approx(_wilson(10 / 13, effective)[1])


def _wilson(p: float, n: float, z: float = 1.959963984540054) -> tuple[float, float]:
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return (p + z * z / (2 * n) - half) / (1 + z * z / n), (p + z * z / (2 * n) + half) / (1 + z * z / n)


def test_who_gets_known_orders_wrong_is_paused_after_enough_sets(asks: Project, lea: User, bob: User) -> None:
    asks.gold_percent, asks.pause_below_gold_percent, asks.pause_after = 10, 70, 6
    asks.save()
    for _ in range(5):
        make_ranking(gold_of(asks, lea), bob, [2, 1, 4, 3])
    assert apply_limits(project=asks, annotator=bob, now=timezone.now()) is None  # five sets, whatever their orders
    make_ranking(gold_of(asks, lea), bob, [4, 3, 2, 1])
    assert wilson(20, 36).high == pytest.approx(0.70, abs=0.01)
    assert apply_limits(project=asks, annotator=bob, now=timezone.now()) is None  # six sets are not 36 coins
    for _ in range(3):
        make_ranking(gold_of(asks, lea), bob, [4, 3, 2, 1])
    paused = apply_limits(project=asks, annotator=bob, now=timezone.now())
    assert paused is not None
    assert "20 of 54 known orders right in 9 gold questions" in paused.paused_reason


def test_rankings_that_are_too_fast_pause_as_judgments_do(asks: Project, bob: User) -> None:
    asks.pause_above_fast_percent, asks.pause_after = 30, 10
    for _ in range(10):
        make_ranking(make_lineup(make_prompt(asks)), bob, [1, 2, 3, 4], active_ms=100)
    paused = apply_limits(project=asks, annotator=bob, now=timezone.now())
    assert paused is not None
    assert "10 of 10 judgments took under 2" in paused.paused_reason


def test_a_check_is_neither_agreement_nor_work_for_a_reviewer(asks: Project, lea: User, bob: User, eve: User) -> None:
    gold = gold_of(asks, lea)
    make_ranking(gold, bob, [1, 2, 3, 4])
    make_ranking(gold, eve, [4, 3, 2, 1])
    assert disputed_lineups(asks) == []
    skipped = gold_of(asks, lea)
    make_ranking(skipped, bob, [])
    assert list(skipped_lineups(asks)) == []
    assert ranked.shared(ranked.orders(asks)) == []


def test_a_page_that_shows_what_is_known_is_closed_to_annotators_and_the_measure_is_the_leads(
    client: Client, asks: Project, lea: User, bob: User
) -> None:
    make_ranking(gold_of(asks, lea), bob, [1, 2, 4, 3])
    own = reverse("annotate:annotator", args=[asks.pk, bob.pk])
    client.force_login(bob)
    assert "Known orders right" not in client.get(own).content.decode()
    client.force_login(lea)
    assert "Known orders right" in client.get(own).content.decode()
    assert "83%" in client.get(reverse("annotate:quality", args=[asks.pk])).content.decode()


# --- Rechecks ---------------------------------------------------------------------------------------------------------


def days_old(*rankings: Ranking) -> None:
    Ranking.objects.filter(pk__in=[ranking.pk for ranking in rankings]).update(
        created_at=timezone.now() - timedelta(days=3)
    )


def test_a_recheck_shows_the_same_answers_in_another_order_to_the_same_person_once(
    asks: Project, bob: User, eve: User
) -> None:
    asks.recheck_percent, asks.recheck_after_hours = 50, 48
    first = make_ranking(make_lineup(make_prompt(asks), "Ada", "Bea", "Cem"), bob, [1, 2, 3])
    make_ranking(make_lineup(make_prompt(asks)), bob, [])  # a skip says nothing
    days_old(*Ranking.objects.all())
    make_ranking(make_lineup(make_prompt(asks)), bob, [1, 2, 3, 4])  # too new
    for who in (eve, bob):
        for seed in range(20):
            slip_in_check(project=asks, annotator=who, kind="ranking", now=timezone.now(), rng=random.Random(seed))
    again = Lineup.objects.get(purpose="recheck")
    assert (again.original, again.same_as, Slot.objects.get(lineup=again).only_for) == (first, first.lineup, bob)
    for seed in range(20):  # of six orders of three answers, one is the first time's
        slot = claim(asks, bob, seed)
        assert slot.lineup == again
        assert shown_in(slot) != first.shown
        assert shown_in(Slot.objects.get(pk=slot.pk)) == shown_in(slot)
        assert sorted(shown_in(slot)) == first.shown
        release_slots(project=asks, annotator=bob)


def test_agreeing_with_oneself_is_told_by_the_answers_and_not_by_their_places(asks: Project, bob: User) -> None:
    for before, now in (([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 2, 3, 4], [2, 1, 3, 3]), ([1, 2, 3, 4], [])):
        original = make_ranking(make_lineup(make_prompt(asks)), bob, before)
        again = Lineup.objects.create(
            project=asks, prompt=original.lineup.prompt, split="train", purpose="recheck", same_as=original.lineup,
            original=original,
        )  # fmt: skip
        LineupAnswer.objects.bulk_create(LineupAnswer(lineup=again, response_id=pk) for pk in original.shown)
        second = make_ranking(again, bob, now)
        # As if they had been shown in the opposite order.
        Ranking.objects.filter(pk=second.pk).update(shown=second.shown[::-1], ranks=second.ranks[::-1])
    (found,) = ranked.annotators(asks, ranked.orders(asks), [])
    assert (found.self_consistency.hits, found.self_consistency.n) == (10, 12)
    theirs = stats.binomtest(5, 6).proportion_ci(method="wilson")  # the same share; the sets are two, though
    assert found.self_consistency.low is not None
    assert found.self_consistency.low < theirs.low
    assert (found.self_consistency.low, found.self_consistency.high) == pytest.approx(_wilson(10 / 12, 2))
    assert list(broken()) == []
