"""Alpha equals another library's, and where it means nothing it says why."""

import math
import random

import krippendorff
import numpy as np
import pytest

from annotate.stats.agreement import Label, alpha, pairwise, raw_agreement


def random_labels(seed: int, *, units: int = 60, people: int = 5) -> list[Label]:
    rng = random.Random(seed)
    labels: list[Label] = []
    for unit in range(units):
        truth = rng.choice([-2, -1, 0, 1, 2])
        labels.extend(
            (unit, f"p{person}", float(truth if rng.random() < 0.7 else rng.choice([-2, -1, 0, 1, 2])))
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
def test_alpha_equals_another_librarys(distance: str, seed: int) -> None:
    labels = random_labels(seed)
    theirs = krippendorff.alpha(reliability_data=matrix(labels), level_of_measurement=distance)
    found = alpha(labels, distance=distance, resamples=200)
    assert found.value == pytest.approx(theirs, abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_alpha_without_overlap_is_undefined_and_says_what_to_do() -> None:
    found = alpha([(1, "bob", "first"), (2, "eve", "second")])
    assert found.value is None
    assert "overlap" in found.undefined


def test_alpha_of_one_label_everywhere_is_undefined_and_not_one() -> None:
    found = alpha([(unit, person, "first") for unit in range(5) for person in ("bob", "eve")])
    assert found.value is None
    assert found.units == 5
    assert "same label" in found.undefined


def test_raw_agreement_counts_pairs_of_people() -> None:
    labels: list[Label] = [(1, "a", "x"), (1, "b", "x"), (1, "c", "y"), (2, "a", "x"), (2, "b", "x"), (3, "a", "y")]
    assert (raw_agreement(labels).hits, raw_agreement(labels).n) == (2, 4)
    assert {pair: (share.hits, share.n) for pair, share in pairwise(labels).items()} == {
        ("a", "b"): (2, 2),
        ("a", "c"): (0, 1),
        ("b", "c"): (0, 1),
    }
