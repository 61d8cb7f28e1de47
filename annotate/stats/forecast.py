"""PURE: how many more days some work takes, if days go on as they lately went."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Nothing further away is said in days.
HORIZON = 365


@dataclass(frozen=True, slots=True)
class Span:
    """Calendar days, today not counted: the middle of the draws, and between which bounds eight in ten of them end.

    None is more than ``HORIZON`` days.
    """

    middle: int | None
    low: int | None
    high: int | None


def days_until(left: int, done: Sequence[int], *, draws: int = 1000, seed: int = 0) -> Span:
    """Draws future days from the past ones (``done``: items a day, days without work too) until ``left`` are done.

    Each draw first draws the past itself again, because a few days only roughly tell what days are like; without that
    the range held what happened in 63 of 100 simulations instead of 80. Spread from day to day, idle days included, is
    all that it knows: no weekdays, no growth, no new work. Raises
    ``ValueError`` where nothing was left or nothing was ever done.
    """
    if left <= 0 or not any(done):
        raise ValueError("a forecast needs work that is left, and days on which some was done")
    rng = np.random.default_rng(seed)
    past = rng.choice(np.asarray(done), size=(draws, len(done)))
    future = np.take_along_axis(past, rng.integers(len(done), size=(draws, HORIZON)), axis=1)
    needed = (future.cumsum(axis=1) < left).sum(axis=1) + 1
    low, middle, high = (int(day) for day in np.percentile(needed, [10, 50, 90], method="higher"))
    return Span(_within(middle), _within(low), _within(high))


def _within(days: int) -> int | None:
    return days if days <= HORIZON else None
