"""Agreement of rankings: alpha against another library's, shares counted the long way, intervals by drawing sets."""

import math
from itertools import combinations

import krippendorff
import numpy as np
import pytest

from annotate.stats.agreement import Alpha
from annotate.stats.rank_agreement import Sets, agreement, same_by_person, two_by_two

SHAPES = [(2, 4), (3, 4), (4, 6), (2, 3)]


def ranked(rng: np.random.Generator, sets: int, people: int, answers: int, *, noise: float = 0.6) -> Sets:
    """Rankings of the true order 1, 2, 3, ... with noise, and with a tie here and there; people are 0 to 5."""
    truth = np.arange(1, answers + 1) + rng.normal(0, noise * answers, (sets, people, answers))
    ranks = truth.argsort(axis=2).argsort(axis=2) + 1
    ranks[(ranks == 2) & (rng.random(ranks.shape) < 0.3)] = 1
    who = np.array([rng.choice(6, people, replace=False) for _ in range(sets)])
    return Sets(np.arange(sets), np.full(sets, 1), who, ranks)


def table(groups: list[Sets]) -> np.ndarray:
    """People by answers, as the library wants it."""
    columns = []
    for found in groups:
        for people, ranks in zip(found.people, found.ranks, strict=True):
            column = np.full((6, ranks.shape[1]), math.nan)
            column[people] = ranks
            columns.append(column)
    return np.concatenate(columns, axis=1)


def theirs(groups: list[Sets]) -> float:
    return float(krippendorff.alpha(reliability_data=table(groups), level_of_measurement="ordinal"))


def said_same(left: np.ndarray, right: np.ndarray) -> int:
    pairs = combinations(range(len(left)), 2)
    return sum(np.sign(left[one] - left[other]) == np.sign(right[one] - right[other]) for one, other in pairs)


def test_alpha_equals_another_librarys_for_any_numbers_of_people_and_answers() -> None:
    rng = np.random.default_rng(1)
    for shapes in ([SHAPES[0]], [SHAPES[2]], SHAPES):
        groups = [ranked(rng, 20, *shape) for shape in shapes]
        _same, found = agreement(groups, resamples=50)
        assert found.value == pytest.approx(theirs(groups), abs=1e-9)
        assert found.units == sum(20 * answers for _, answers in shapes)
        assert found.labels == sum(20 * people * answers for people, answers in shapes)


def test_two_people_say_the_same_of_two_answers_as_often_as_one_counts() -> None:
    rng = np.random.default_rng(2)
    groups = [ranked(rng, 15, *shape) for shape in SHAPES]
    hits: dict[int, list[int]] = {person: [0, 0] for person in range(6)}
    in_all = [0, 0]
    for found in groups:
        for people, ranks in zip(found.people, found.ranks, strict=True):
            for one, other in combinations(range(len(people)), 2):
                counted = np.array([said_same(ranks[one], ranks[other]), found.pairs])
                for total in (hits[people[one]], hits[people[other]], in_all):
                    total[:] = total + counted
    same, _alpha = agreement(groups, resamples=50)
    assert [same.hits, same.n] == in_all
    assert {person: counts.sum(axis=0).tolist() for person, counts in same_by_person(groups).items()} == hits


def test_two_people_are_compared_on_what_both_ranked() -> None:
    groups = [ranked(np.random.default_rng(3), 30, *shape) for shape in SHAPES]
    found = two_by_two(groups)
    assert len(found) == 15
    for pair, both in found.items():
        columns = table(groups)[list(pair)]
        together = columns[:, ~np.isnan(columns).any(axis=0)]
        assert sum(sets.ranks.shape[0] * sets.ranks.shape[2] for sets in both) == together.shape[1]
        _same, ours = agreement(both, resamples=20)
        library = krippendorff.alpha(reliability_data=together, level_of_measurement="ordinal")
        assert ours.value == pytest.approx(library, abs=1e-9)


def ends(found: Alpha) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@pytest.mark.parametrize("sets", [60, 700])
def test_the_interval_is_that_of_whole_sets_drawn_again(sets: int) -> None:
    """Few sets are drawn one by one, many from the normal distribution that they come to."""
    rng = np.random.default_rng(4)
    found = ranked(rng, sets, 2, 4)
    low, high = ends(agreement([found], resamples=2000)[1])
    columns = table([found]).reshape(6, sets, 4)
    drawn = [
        krippendorff.alpha(
            reliability_data=columns[:, rng.integers(0, sets, sets)].reshape(6, -1), level_of_measurement="ordinal"
        )
        for _ in range(200)
    ]
    expected = np.percentile(drawn, [2.5, 97.5])
    # The library's samples are few: their ends are known to a tenth of the width or so.
    assert [low, high] == pytest.approx(expected, abs=0.15 * (expected[1] - expected[0]))


def test_a_set_of_answers_is_one_thing_however_many_answers_it_has() -> None:
    """People who turn whole sets round are known less well than as many answers, each for itself, would say."""
    turned = np.random.default_rng(5).random(60) < 0.3
    first = np.tile(np.arange(1, 5), (60, 1))
    second = np.where(turned[:, None], 5 - first, first)
    sets = Sets(np.arange(60), np.zeros(60, int), np.tile([1, 2], (60, 1)), np.stack([first, second], axis=1))
    low, high = ends(agreement([sets], resamples=500)[1])
    # Each answer as a set of its own with the same labels.
    alone = Sets(np.arange(240), np.zeros(240, int), np.tile([1, 2], (240, 1)),
                 sets.ranks.transpose(0, 2, 1).reshape(240, 2, 1))  # fmt: skip
    assert high - low > 1.4 * (
        ends(agreement([alone], resamples=500)[1])[1] - ends(agreement([alone], resamples=500)[1])[0]
    )


def test_there_is_no_interval_below_five_sets_nor_where_nobody_disagreed_and_no_alpha_without_ranks() -> None:
    four = ranked(np.random.default_rng(6), 4, 2, 4)
    assert agreement([four], resamples=50)[1].low is None  # 16 answers, but only four sets
    alike = Sets(four.ids, four.rounds, four.people, np.tile([1, 2, 3, 4], (4, 2, 1)))
    assert (agreement([alike], resamples=50)[1].value, agreement([alike], resamples=50)[1].low) == (1, None)
    tied = Sets(four.ids, four.rounds, four.people, np.ones((4, 2, 4), dtype=int))
    assert "Everyone gave the same" in str(agreement([tied], resamples=50)[1].undefined)
    nothing, undefined = agreement([four.only(np.zeros(4, dtype=bool))], resamples=50)
    assert (nothing.n, undefined.units, undefined.value) == (0, 0, None)
    assert same_by_person([]) == {}
