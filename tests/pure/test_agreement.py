"""Alpha equals two other libraries', its interval is honest, and where it means nothing it says why."""

import math
import random

import evalica
import krippendorff
import numpy as np
import pandas as pd
import pytest

from annotate.stats.agreement import Label, alpha, clustered_share, pairwise, raw_agreement


def random_labels(seed: int, *, units: int = 60, people: int = 5) -> list[Label]:
    rng = random.Random(seed)
    labels: list[Label] = []
    for unit in range(units):
        truth = rng.choice([-2, -1, 0, 1, 2])
        labels.extend(
            (unit, person, float(truth if rng.random() < 0.7 else rng.choice([-2, -1, 0, 1, 2])))
            for person in rng.sample(range(people), rng.randint(1, people))
        )
    return labels


def matrix(labels: list[Label]) -> np.ndarray:
    units, people = sorted({unit for unit, _, _ in labels}), sorted({person for _, person, _ in labels})
    table = np.full((len(people), len(units)), math.nan)
    for unit, person, label in labels:
        table[people.index(person), units.index(unit)] = label
    return table


@pytest.mark.parametrize("distance", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_equals_two_other_libraries(distance: str, seed: int) -> None:
    labels = random_labels(seed)
    theirs = krippendorff.alpha(reliability_data=matrix(labels), level_of_measurement=distance)
    found = alpha(labels, distance=distance, resamples=200)
    assert found.value == pytest.approx(theirs, abs=1e-9)
    assert found.value == pytest.approx(evalica.alpha(pd.DataFrame(matrix(labels)), distance=distance).alpha, abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_alpha_without_overlap_is_undefined_and_says_what_to_do() -> None:
    found = alpha([(1, 1, "first"), (2, 2, "second")])
    assert found.value is None
    assert "overlap" in found.undefined


def test_alpha_of_one_label_everywhere_is_undefined_and_not_one() -> None:
    found = alpha([(unit, person, "first") for unit in range(5) for person in (1, 2)])
    assert found.value is None
    assert found.units == 5
    assert "same label" in found.undefined


def test_a_few_units_have_no_interval() -> None:
    found = alpha([(unit, person, "first" if person == 1 else str(unit)) for unit in range(4) for person in (1, 2)])
    assert found.value is not None
    assert found.low is None


def test_where_nobody_disagreed_no_interval_is_claimed() -> None:
    found = alpha([(unit, person, str(unit % 3)) for unit in range(12) for person in (1, 2)])
    assert (found.value, found.low, found.high) == (1, None, None)


def test_units_with_one_label_say_nothing() -> None:
    labels = random_labels(2)
    alone: list[Label] = [(1000 + number, 1, 2.0) for number in range(50)]
    assert alpha([*labels, *alone], distance="ordinal") == alpha(labels, distance="ordinal")


@pytest.mark.parametrize("distance", ["nominal", "ordinal"])
def test_the_interval_is_that_of_drawing_the_units_again(distance: str) -> None:
    """The same bootstrap by hand, with another library's alpha of each drawn table."""
    labels = random_labels(5, units=80, people=3)
    table = matrix(labels)
    table = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    rng = np.random.default_rng(1)
    drawn = [
        krippendorff.alpha(
            reliability_data=table[:, rng.integers(table.shape[1], size=table.shape[1])], level_of_measurement=distance
        )
        for _ in range(600)
    ]
    found = alpha(labels, distance=distance, resamples=4000)
    assert found.low == pytest.approx(np.percentile(drawn, 2.5), abs=0.025)
    assert found.high == pytest.approx(np.percentile(drawn, 97.5), abs=0.025)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Tables of 60 units drawn from one of 20,000: about 95% of the intervals hold its alpha."""
    crowd = random_labels(9, units=20_000, people=3)
    truth = alpha(crowd).value
    assert truth is not None
    by_unit: dict[int, list[Label]] = {}
    for unit, person, label in crowd:
        by_unit.setdefault(unit, []).append((unit, person, label))
    units = [row for row in by_unit.values() if len(row) > 1]
    rng = random.Random(3)
    held = 0
    for _ in range(200):
        found = alpha([label for row in rng.sample(units, 60) for label in row], resamples=300)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 175 <= held <= 198


def test_an_unknown_distance_is_an_error() -> None:
    with pytest.raises(ValueError, match="nominal, ordinal or interval"):
        alpha(random_labels(1), distance="ratio")


def test_raw_agreement_counts_pairs_of_people() -> None:
    labels: list[Label] = [(1, 1, "x"), (1, 2, "x"), (1, 3, "y"), (2, 1, "x"), (2, 2, "x"), (3, 1, "y")]
    assert (raw_agreement(labels).hits, raw_agreement(labels).n) == (2, 4)
    found = pairwise(labels)
    assert {pair: (both.raw.hits, both.raw.n) for pair, both in found.items()} == {
        (1, 2): (2, 2),
        (1, 3): (0, 1),
        (2, 3): (0, 1),
    }
    assert found[1, 2].labels == [(1, 1, "x"), (1, 2, "x"), (2, 1, "x"), (2, 2, "x")]


def test_a_share_of_pairs_that_hang_together_has_an_interval_over_their_clusters() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(100):
        # In half of the lineups people agree on 9 of 10 pairs, in the other half on 5.
        counts = [(int(rng.binomial(10, 0.9 if agreed else 0.5)), 10) for agreed in rng.random(60) < 0.5]
        share = clustered_share(counts, resamples=400, seed=seed)
        assert share.low is not None
        assert share.high is not None
        covered += share.low <= 0.7 <= share.high
    assert covered >= 88
    assert clustered_share([]).value is None
    assert clustered_share([(3, 6)] * 4).low is None
    assert clustered_share([(6, 6)] * 9).low is None
