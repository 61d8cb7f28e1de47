"""Which side left, which pairs: pure functions with a seeded generator."""

import random
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from annotate.assign import Answer, draw_swapped, form_pairs, sides


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
