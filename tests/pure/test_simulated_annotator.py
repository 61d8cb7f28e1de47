"""The simulated annotator's chances are Bradley-Terry's, and what it decides follows them."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.simulation.annotator import BAD_REWARD, Temperament, decide, probabilities

PLAIN = Temperament(temperature=0.1, tie=0.0, left_bias=0.0, flips=0.0)
rewards = st.floats(0, 1)
temperaments = st.builds(
    Temperament,
    temperature=st.floats(0, 10),
    tie=st.floats(0, 1),
    left_bias=st.floats(-1, 1),
    flips=st.floats(0, 0.5),
)


def drawn(temperament: Temperament, left: float, right: float, n: int = 4000) -> Counter[str]:
    rng = random.Random(7)
    return Counter(decide(temperament, left, right, rng) for _ in range(n))


def assert_share(count: int, n: int, expected: float) -> None:
    """`count` of `n` lies within 4 standard errors of the expected share."""
    assert abs(count / n - expected) <= 4 * math.sqrt(max(expected * (1 - expected), 1e-9) / n)


@given(left=rewards, right=rewards)
def test_without_ties_bias_and_flips_the_chances_are_bradley_terry(left: float, right: float) -> None:
    """P(A) = exp(left/T) / (exp(left/T) + exp(right/T)), the textbook form."""
    strength_left, strength_right = math.exp(left / 0.1), math.exp(right / 0.1)
    chances = probabilities(PLAIN, left, right)
    assert chances["A"] == pytest.approx(strength_left / (strength_left + strength_right), abs=1e-12)
    assert chances["B"] == pytest.approx(strength_right / (strength_left + strength_right), abs=1e-12)
    assert chances["tie"] + chances["both_bad"] == pytest.approx(0, abs=1e-12)


@given(temperament=temperaments, left=rewards, right=rewards)
def test_chances_are_a_distribution_whatever_the_temperament(
    temperament: Temperament, left: float, right: float
) -> None:
    chances = probabilities(temperament, left, right)
    assert all(0 <= chance <= 1 for chance in chances.values())
    # At temperature 0 and a felt difference of exactly 0 both sides are a half: still a distribution.
    assert sum(chances.values()) == pytest.approx(1, abs=1e-9)


@given(temperament=temperaments, left=rewards, right=rewards)
def test_swapping_the_sides_and_the_bias_swaps_the_chances(temperament: Temperament, left: float, right: float) -> None:
    mirrored = Temperament(temperament.temperature, temperament.tie, -temperament.left_bias, temperament.flips)
    here, there = probabilities(temperament, left, right), probabilities(mirrored, right, left)
    assert here["A"] == pytest.approx(there["B"], abs=1e-9)
    assert here["tie"] == pytest.approx(there["tie"], abs=1e-9)


def test_decisions_follow_the_chances() -> None:
    temperament = Temperament(temperature=0.2, tie=0.05, left_bias=0.03, flips=0.1)
    counts, chances = drawn(temperament, 0.6, 0.5), probabilities(temperament, 0.6, 0.5)
    for choice, chance in chances.items():
        assert_share(counts[choice], 4000, chance)


def test_a_tenth_of_sure_judgments_flips() -> None:
    sure = Temperament(temperature=0.01, tie=0.0, left_bias=0.0, flips=0.1)
    assert_share(drawn(sure, 0.9, 0.1)["B"], 4000, 0.1)


def test_flips_never_touch_ties() -> None:
    flipping = Temperament(temperature=0.1, tie=0.05, left_bias=0.0, flips=0.4)
    steady = Temperament(temperature=0.1, tie=0.05, left_bias=0.0, flips=0.0)
    assert probabilities(flipping, 0.5, 0.4)["tie"] == pytest.approx(probabilities(steady, 0.5, 0.4)["tie"])


def test_equal_answers_tie_as_often_as_the_threshold_says() -> None:
    """P(tie) of equal rewards is tanh(tie / 2T)."""
    temperament = Temperament(temperature=0.1, tie=0.1, left_bias=0.0, flips=0.1)
    assert probabilities(temperament, 0.5, 0.5)["tie"] == pytest.approx(math.tanh(0.5))
    assert_share(drawn(temperament, 0.5, 0.5)["tie"], 4000, math.tanh(0.5))


def test_a_left_bias_decides_between_equal_answers() -> None:
    leaning = Temperament(temperature=0.1, tie=0.0, left_bias=0.05, flips=0.0)
    expected = 1 / (1 + math.exp(-0.5))
    assert probabilities(leaning, 0.5, 0.5)["A"] == pytest.approx(expected)
    assert_share(drawn(leaning, 0.5, 0.5)["A"], 4000, expected)


def test_temperature_zero_always_prefers_the_better_answer() -> None:
    strict = Temperament(temperature=0.0, tie=0.02, left_bias=0.0, flips=0.0)
    assert drawn(strict, 0.60, 0.55, 50) == Counter(A=50)
    assert drawn(strict, 0.55, 0.60, 50) == Counter(B=50)
    assert drawn(strict, 0.56, 0.55, 50) == Counter(tie=50)


def test_a_tie_of_two_bad_answers_is_both_bad() -> None:
    strict = Temperament(temperature=0.0, tie=0.02, left_bias=0.0, flips=0.0)
    assert drawn(strict, BAD_REWARD - 0.01, BAD_REWARD - 0.01, 50) == Counter(both_bad=50)
    assert drawn(strict, BAD_REWARD, BAD_REWARD, 50) == Counter(tie=50)


def test_the_same_seed_decides_the_same() -> None:
    temperament = Temperament()
    first, second = random.Random(3), random.Random(3)
    pairs = [(random.Random(i).random(), random.Random(-i).random()) for i in range(1, 60)]
    assert [decide(temperament, *pair, first) for pair in pairs] == [
        decide(temperament, *pair, second) for pair in pairs
    ]


@pytest.mark.parametrize(
    "knobs",
    [{"temperature": -0.1}, {"tie": -1.0}, {"flips": 0.6}, {"flips": -0.1}, {"left_bias": float("nan")}],
)
def test_nonsense_knobs_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(knobs))):
        Temperament(**knobs)
