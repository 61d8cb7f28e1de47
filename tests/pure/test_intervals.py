"""Intervals are the textbook's, and nothing counted gives nothing claimed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from annotate.stats.intervals import cautious_share, mean, wilson


def by_hand(hits: int, n: int) -> tuple[float, float]:
    z, p = 1.959963984540054, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_is_the_textbooks_formula(n: int, share: float) -> None:
    hits = round(share * n)
    found = wilson(hits, n)
    low, high = by_hand(hits, n)
    assert found.low == pytest.approx(max(low, 0), abs=1e-9)
    assert found.high == pytest.approx(min(high, 1), abs=1e-9)


@pytest.mark.parametrize(("hits", "n", "level"), [(0, 9, 0.95), (9, 9, 0.95), (3, 10, 0.9), (4567, 9001, 0.95)])
def test_wilson_is_scipys(hits: int, n: int, level: float) -> None:
    theirs = stats.binomtest(hits, n).proportion_ci(confidence_level=level, method="wilson")
    found = wilson(hits, n, level=level)
    assert (found.low, found.high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))


def test_nothing_counted_claims_nothing() -> None:
    assert wilson(0, 0).value is None
    assert not wilson(0, 0).excludes(0.5)
    assert mean([]).value is None
    assert mean([2.0]).low is None


def test_a_clear_bias_excludes_one_half_and_a_small_one_does_not() -> None:
    assert wilson(90, 100).excludes(0.5)
    assert not wilson(52, 100).excludes(0.5)


def test_more_hits_than_tries_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 of 3"):
        wilson(5, 3)


def test_the_mean_has_students_interval() -> None:
    found = mean([1, 2, 3, 4, 5])
    assert (found.value, found.low, found.high) == (
        3.0,
        pytest.approx(1.0368, abs=1e-4),
        pytest.approx(4.9632, abs=1e-4),
    )
    assert mean([2, 2, 2]).low == 2


def test_of_clusters_of_one_it_is_wilsons_own() -> None:
    assert cautious_share([(1, 1), (0, 1), (1, 1)]) == wilson(2, 3)
    assert cautious_share([]) == wilson(0, 0)
    assert cautious_share([(0, 3)] * 9).low == 0


def test_clusters_count_as_many_as_they_are_where_they_are_alike() -> None:
    found = cautious_share([(1, 6), (6, 6), (3, 6), (2, 6)])  # 12 of 24, in four clusters
    theirs = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert (found.hits, found.n) == (12, 24)
    assert (found.low, found.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
