"""What chance gives to honest people is not held against them."""

import random

import pytest
from scipy import stats

from annotate.stats.shortcuts import longest_run, place_wins, unlikely_run


def test_the_longest_run_is_found() -> None:
    assert longest_run("ABBBA") == ("B", 3)
    assert longest_run([]) == ("", 0)


def test_more_judgments_make_longer_runs_likely() -> None:
    assert unlikely_run(12, 12)
    assert not unlikely_run(9, 9)
    assert not unlikely_run(14, 400)
    assert unlikely_run(17, 400)


def test_fewer_than_one_in_a_hundred_honest_annotators_is_marked() -> None:
    rng = random.Random(0)
    marked = sum(unlikely_run(longest_run(rng.choices("AB", k=200))[1], 200) for _ in range(2000))
    assert marked / 2000 < 0.01


def test_a_place_wins_as_often_as_it_is_best_alone() -> None:
    orders = [((1, 2, 3), 6), ((2, 1, 2), 2), ((3, 2, 1), 1), ((1, 1, 2), 50), ((), 9), ((2, 1, 3, 4), 1)]
    three, four = place_wins(orders)
    assert (three.size, [share.hits for share in three.wins], three.wins[0].n) == (3, [6, 2, 1], 9)
    theirs = stats.binomtest(6, 9).proportion_ci(method="wilson")
    assert (three.wins[0].low, three.wins[0].high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
    assert three.first_is_off == (theirs.low > 1 / 3)
    assert (four.size, four.chance, four.first_is_off) == (4, 0.25, False)
    assert place_wins([((1, 2, 3, 4), 40), ((2, 1, 3, 4), 20)])[0].first_is_off
