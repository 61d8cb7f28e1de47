"""Which side left, which pairs: pure functions with a seeded generator."""

import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.assign import (
    Answer,
    dense_ranks,
    draw_order,
    draw_swapped,
    form_lineup,
    form_pairs,
    shown_order,
    sides,
    strict_pairs,
)


def test_each_side_is_as_likely_as_the_other() -> None:
    rng = random.Random(7)
    swapped = sum(draw_swapped(rng) for _ in range(10_000))
    assert abs(swapped - 5_000) < 200  # four standard deviations


def test_swapped_puts_the_first_response_on_the_right() -> None:
    assert sides("first", "second", swapped=False) == ("first", "second")
    assert sides("first", "second", swapped=True) == ("second", "first")


def test_four_responses_and_two_pairs_are_two_disjoint_pairs() -> None:
    answers = [Answer(pk, f"text {pk}") for pk in (11, 12, 13, 14)]
    for seed in range(50):
        pairs = form_pairs(answers, compared=[], wanted=2, rng=random.Random(seed))
        assert len({pk for pair in pairs for pk in pair}) == 4


def test_every_pair_of_responses_can_come_up() -> None:
    answers = [Answer(pk, f"text {pk}") for pk in range(4)]
    seen = {pair for seed in range(200) for pair in form_pairs(answers, compared=[], wanted=2, rng=random.Random(seed))}
    assert seen == set(combinations(range(4), 2))


def test_asking_again_without_new_responses_makes_nothing() -> None:
    answers = [Answer(pk, f"text {pk}") for pk in range(4)]
    made = form_pairs(answers, compared=[], wanted=2, rng=random.Random(1))
    assert form_pairs(answers, compared=made, wanted=2, rng=random.Random(2)) == []


def test_new_responses_are_compared_with_each_other_before_old_ones_come_again() -> None:
    old = [Answer(pk, f"text {pk}") for pk in (1, 2)]
    new = [Answer(pk, f"text {pk}") for pk in (3, 4)]
    assert form_pairs(old + new, compared=[(1, 2)], wanted=1, rng=random.Random(3)) == [(3, 4)]


@given(
    texts=st.lists(st.sampled_from("abcd"), max_size=8),
    wanted=st.integers(0, 40),
    seed=st.integers(0, 1000),
)
def test_pairs_are_distinct_ordered_and_never_of_equal_texts(texts: list[str], wanted: int, seed: int) -> None:
    answers = [Answer(pk, text) for pk, text in enumerate(texts)]
    pairs = form_pairs(answers, compared=[], wanted=wanted, rng=random.Random(seed))
    assert len(pairs) == len(set(pairs)) <= wanted
    assert all(first < second and texts[first] != texts[second] for first, second in pairs)
    possible = sum(a != b for a, b in combinations(texts, 2))
    assert len(pairs) == min(wanted, possible)


# --- Rankings ---


def test_the_order_of_a_lineup_is_its_seeds_whatever_order_it_comes_in() -> None:
    assert shown_order([4, 9, 2, 7], 11) == shown_order([2, 4, 7, 9], 11)
    assert sorted(shown_order([4, 9, 2, 7], 11)) == [2, 4, 7, 9]
    # What a leased page shows must not change when Python does.
    assert shown_order([1, 2, 3, 4, 5, 6], 1) == [1, 4, 6, 5, 3, 2]


def test_every_order_of_a_lineup_is_as_likely() -> None:
    rng = random.Random(5)
    seen = Counter(tuple(shown_order([1, 2, 3], draw_order(rng))) for _ in range(6000))
    assert len(seen) == 6
    assert all(850 < count < 1150 for count in seen.values())


def test_ranks_lose_their_gaps_and_keep_their_ties() -> None:
    assert dense_ranks([4, 1, 4, 6]) == [2, 1, 2, 3]
    assert dense_ranks([]) == []


@pytest.mark.parametrize(
    ("ranks", "pairs"),
    [
        ([1, 2, 3], [(0, 1), (0, 2), (1, 2)]),
        ([2, 1, 2], [(1, 0), (1, 2)]),
        ([1, 1, 1], []),
        ([], []),
    ],
)
def test_each_two_of_different_rank_are_a_pair_the_better_one_first(
    ranks: list[int], pairs: list[tuple[int, int]]
) -> None:
    assert strict_pairs(ranks) == pairs


def test_six_answers_in_a_strict_order_are_fifteen_pairs() -> None:
    assert len(strict_pairs([3, 1, 6, 2, 5, 4])) == 15


def test_a_lineup_has_different_texts_that_nobody_was_asked_about() -> None:
    answers = [Answer(1, "a"), Answer(2, "b"), Answer(3, "a"), Answer(4, "c"), Answer(5, "d"), Answer(6, "e")]
    rng = random.Random(1)
    assert form_lineup(answers, ranked=[], size=6, rng=rng) == [1, 2, 4, 5, 6]
    assert form_lineup(answers, ranked=[6], size=6, rng=rng) == [1, 2, 4, 5]
    assert len(form_lineup(answers, ranked=[], size=3, rng=rng) or []) == 3
    assert form_lineup(answers, ranked=[1, 2, 3], size=4, rng=rng) == [4, 5, 6]
    assert form_lineup(answers, ranked=[1, 2, 3, 4], size=4, rng=rng) is None
