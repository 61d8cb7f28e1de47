"""The forecast's range holds what then happens about as often as it says, and nothing is said of what nobody knows."""

import random

import pytest

from annotate.stats.forecast import HORIZON, Span, days_until


def test_even_days_leave_no_doubt() -> None:
    assert days_until(300, [100] * 7) == Span(3, 3, 3)
    assert days_until(301, [100] * 7) == Span(4, 4, 4)
    assert days_until(1, [100] * 7) == Span(1, 1, 1)


def test_idle_days_count_and_uneven_days_widen_the_range() -> None:
    even, uneven = days_until(1000, [100] * 10), days_until(1000, [0, 300, 0, 100, 0, 200, 0, 250, 150, 0])
    assert even == Span(10, 10, 10)
    assert uneven.low is not None
    assert uneven.high is not None
    assert uneven.low < 10 < uneven.high


def test_eight_in_ten_futures_lie_within_the_range() -> None:
    """Days of a team that rests now and then: fourteen are seen, then the rest happens."""
    rng = random.Random(5)

    def day() -> int:
        return 0 if rng.random() < 0.3 else rng.randrange(40, 200)

    held = 0
    for trial in range(300):
        span = days_until(1500, [day() for _ in range(14)], seed=trial)
        left, took = 1500, 0
        while left > 0:
            left, took = left - day(), took + 1
        assert span.low is not None
        assert span.high is not None
        held += span.low <= took <= span.high
    assert 0.7 <= held / 300 <= 0.88


def test_what_takes_more_than_a_year_is_not_said_in_days() -> None:
    span = days_until(HORIZON * 10 + 1, [10] * 5)
    assert span == Span(None, None, None)


@pytest.mark.parametrize(("left", "done"), [(0, [1]), (5, [0, 0]), (5, [])])
def test_nothing_left_or_nothing_done_is_no_forecast(left: int, done: list[int]) -> None:
    with pytest.raises(ValueError, match="a forecast needs"):
        days_until(left, done)
