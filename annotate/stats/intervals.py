"""PURE: shares and means with the interval they deserve. Thin layers over scipy."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``n``, its value in 0..1 and its 95% Wilson interval; value and bounds are None when n is 0."""

    hits: int
    n: int
    value: float | None
    low: float | None
    high: float | None

    def excludes(self, share: float) -> bool:
        """Does the interval leave this share out? Never when nothing was counted."""
        return self.low is not None and self.high is not None and not self.low <= share <= self.high


def wilson(hits: int, n: int, *, level: float = 0.95) -> Share:
    """The Wilson score interval of a share: sound also near 0 and 1 and for small n, unlike the normal one.

    Raises ValueError unless 0 <= hits <= n. Source: Wilson (1927). The formula is written out, because scipy's
    ``binomtest`` works out a test besides, and a page with all pairs of forty annotators asks for hundreds of them.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"A share needs 0 <= hits <= n, not {hits} of {n}.")
    if n == 0:
        return Share(0, 0, None, None, None)
    share, z = hits / n, NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and at n the formula gives exactly 0 and 1, which rounding must not miss.
    low, high = (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)
    return Share(hits, n, share, low, high)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95% Student-t interval; the bounds are None below two values, the mean below one."""

    n: int
    value: float | None
    low: float | None
    high: float | None


def mean(values: Sequence[float], *, level: float = 0.95) -> Mean:
    """The mean of independent values with Student's interval (scipy)."""
    from scipy import stats  # noqa: PLC0415  (a third of a second, and no page of the site needs it at its start)

    if not values:
        return Mean(0, None, None, None)
    centre = fmean(values)
    if len(values) == 1:
        return Mean(1, centre, None, None)
    error = float(stats.sem(values))
    if error == 0:
        return Mean(len(values), centre, centre, centre)
    low, high = stats.t.interval(level, len(values) - 1, loc=centre, scale=error)
    return Mean(len(values), centre, float(low), float(high))
