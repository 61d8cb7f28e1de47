"""What several orders of one set of answers come to, and which pairs of it become rows."""

import random
from itertools import combinations

import pytest
import scipy.stats

from annotate.orders import (
    OrderDecision,
    OrderRuling,
    OrderVote,
    choose_pairs,
    decide_order,
    label_between,
    learn_from_orders,
    lowest_tau,
    tau_b,
)


def order(*ranks: int) -> dict[int, int]:
    """Ranks of the responses 1, 2, 3, ..."""
    return dict(enumerate(ranks, start=1))


def better(ranks: dict[int, int]) -> list[tuple[int, int]]:
    return [(one, other) for one in ranks for other in ranks if ranks[one] < ranks[other]]


def decided(*orders: dict[int, int], rule: str = "majority", ruling: OrderRuling | None = None) -> OrderDecision:
    votes = [OrderVote(10 + number, number, ranks) for number, ranks in enumerate(orders)]
    return decide_order([1, 2, 3], votes, ruling, rule=rule)


def test_each_pair_is_decided_by_the_majority() -> None:
    found = decided(order(1, 2, 3), order(1, 3, 2), order(1, 2, 3))
    assert found.better == [(1, 2), (1, 3), (2, 3)]
    assert [round(pair.support or 0, 2) for pair in found.pairs] == [1, 1, 0.67]
    assert (found.votes, found.abstained, found.label) == ((10, 11, 12), (), "ranked")


def test_a_drawn_pair_is_undecided_and_the_others_stand() -> None:
    found = decided(order(1, 2, 3), order(1, 3, 2))
    assert [pair.label for pair in found.pairs] == ["first", "first", "undecided"]
    assert found.better == [(1, 2), (1, 3)]


def test_three_orders_in_a_circle_are_no_order_and_still_three_decisions() -> None:
    found = decided(order(1, 2, 3), order(3, 1, 2), order(2, 3, 1))
    assert found.better == [(1, 2), (3, 1), (2, 3)]
    assert choose_pairs(found.better, "best_worst") == [(1, 2)]
    assert choose_pairs(found.better, "adjacent") == []  # nobody is above anybody


@pytest.mark.parametrize(
    ("orders", "label"),
    [
        ([{}], "skip"),
        ([order(1, 1, 1)], "tie"),
        ([order(1, 2, 3), order(3, 2, 1)], "undecided"),
        ([order(1, 2, 3), {}], "ranked"),
    ],
)
def test_a_set_without_rows_says_why(orders: list[dict[int, int]], label: str) -> None:
    assert decided(*orders).label == label


def test_a_verdict_decides_under_the_rules_that_know_one() -> None:
    ruling = OrderRuling(7, order(3, 2, 1))
    assert decided(order(1, 2, 3), ruling=ruling).better == [(1, 2), (1, 3), (2, 3)]
    ruled = decided(order(1, 2, 3), rule="adjudicated", ruling=ruling)
    assert (ruled.better, ruled.verdict) == ([(2, 1), (3, 1), (3, 2)], 7)
    out = decided(order(1, 2, 3), ruling=OrderRuling(7, {}))
    assert (out.better, out.label, out.verdict) == ([], "excluded", 7)


def test_who_ranks_against_everybody_weighs_less_under_dawid_skene() -> None:
    good, turned = order(1, 2, 3), order(3, 2, 1)
    said = [(lineup, who, good if who < 3 else turned) for lineup in range(30) for who in range(4)]
    reliability = learn_from_orders(said)
    assert reliability is not None
    votes = [OrderVote(1, 0, good), OrderVote(2, 3, turned)]
    assert decide_order([1, 2, 3], votes, None, rule="majority").label == "undecided"
    found = decide_order([1, 2, 3], votes, None, rule="dawid_skene", reliability=reliability)
    assert found.better == [(1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("which", "ranks", "chosen"),
    [
        ("all", order(1, 2, 3, 4), list(combinations([1, 2, 3, 4], 2))),
        ("best_worst", order(2, 1, 4, 3), [(2, 3)]),
        ("best_worst", order(1, 1, 2, 2), [(1, 3)]),
        ("best_worst", order(1, 1, 1), []),
        ("adjacent", order(2, 1, 4, 3), [(1, 4), (2, 1), (4, 3)]),
        ("adjacent", order(1, 1, 2, 3), [(1, 3), (3, 4)]),
        ("adjacent", order(1, 2, 3, 4, 5, 6), [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]),
    ],
)
def test_which_pairs_become_rows(which: str, ranks: dict[int, int], chosen: list[tuple[int, int]]) -> None:
    assert sorted(choose_pairs(better(ranks), which)) == chosen
    assert label_between(ranks, 1, 2) in ("first", "second", "tie")


def test_another_word_chooses_nothing() -> None:
    with pytest.raises(ValueError, match="best_worst"):
        choose_pairs([(1, 2)], "some")


@pytest.mark.parametrize("seed", range(20))
def test_tau_b_is_that_of_another_library(seed: int) -> None:
    rng = random.Random(seed)
    left, right = ([rng.randint(1, 4) for _ in range(6)] for _ in range(2))
    theirs = scipy.stats.kendalltau(left, right, variant="b").statistic
    assert tau_b(order(*left), order(*right)) == pytest.approx(theirs, abs=1e-12)


def test_tau_b_is_of_orders_that_tell_something_apart() -> None:
    assert tau_b(order(1, 2, 2), order(1, 2, 2)) == 1  # exactly: whoever says the same is never below a limit
    assert tau_b(order(1, 1, 1), order(1, 2, 3)) is None
    assert lowest_tau([order(1, 2, 3), order(1, 1, 1)]) is None
    assert lowest_tau([order(1, 2, 3), order(1, 3, 2), order(1, 2, 3)]) == pytest.approx(1 / 3)
