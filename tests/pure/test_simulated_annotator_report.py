"""The simulation's report: intervals that hold what they promise, and a verdict that is not given away."""

import random

import pytest
from scipy import stats

from training.simulation.report import HEADER, Interval, Measured, interval, line, paired_gain, verdict


def measured(number: int, reward: Interval, gain: Interval, kl: float | None = None) -> Measured:
    return Measured(number, number, 100 * number, 300, reward, gain, kl, 20.5, 61.0)


def test_the_interval_is_students_t() -> None:
    values = [0.1, 0.4, 0.35, 0.8, 0.5]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(values)
    assert found.mean == pytest.approx(0.43)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(1000):
        found = interval([rng.betavariate(2, 3) for _ in range(40)])
        hits += found.low <= 0.4 <= found.high
    assert 0.92 <= hits / 1000 <= 0.98


def test_pairing_by_prompt_removes_what_prompts_differ_in() -> None:
    rng = random.Random(2)
    before = [rng.random() for _ in range(200)]
    after = [value + 0.05 + rng.gauss(0, 0.01) for value in before]
    gain = paired_gain(after, before)
    assert 0.045 < gain.low < gain.mean < gain.high < 0.055
    with pytest.raises(ValueError, match="zip"):
        paired_gain(after, before[:-1])


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two"):
        interval([0.5])


def test_a_rise_is_clear_only_beyond_both_intervals() -> None:
    base = measured(0, Interval(0.50, 0.48, 0.52), Interval(0, 0, 0))
    clear = measured(3, Interval(0.60, 0.58, 0.62), Interval(0.10, 0.08, 0.12), kl=3.21)
    touching = measured(3, Interval(0.53, 0.51, 0.55), Interval(0.03, 0.01, 0.05))
    fallen = measured(3, Interval(0.40, 0.38, 0.42), Interval(-0.10, -0.12, -0.08))
    risen, sentence = verdict([base, clear])
    assert risen
    assert "RISEN" in sentence
    assert "KL 3.21" in sentence
    for last in (touching, fallen):
        risen, sentence = verdict([base, last])
        assert not risen
        assert "NOT clearly risen" in sentence


def test_the_last_round_counts_not_the_best() -> None:
    base = measured(0, Interval(0.50, 0.48, 0.52), Interval(0, 0, 0))
    best = measured(1, Interval(0.70, 0.68, 0.72), Interval(0.2, 0.18, 0.22))
    assert not verdict([base, best, measured(2, Interval(0.5, 0.48, 0.52), Interval(0, -0.02, 0.02))])[0]


def test_a_row_names_policy_reward_gain_and_kl() -> None:
    row = line(measured(2, Interval(0.6, 0.58, 0.62), Interval(0.1, 0.08, 0.12), kl=1.5))
    for part in ("0.600 [0.580, 0.620]", "+0.100 [+0.080, +0.120]", "1.50", "20.5", "61s"):
        assert part in row
    assert HEADER.index("KL") == row.index("1.50") + 2
