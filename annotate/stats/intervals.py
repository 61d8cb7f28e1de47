"""PURE: shares and means with the interval they deserve. Thin layers over scipy."""

from collections.abc import Iterable, Sequence
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
    return Share(hits, n, hits / n, *_wilson_bounds(hits / n, n, level))


def _wilson_bounds(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and at 1 the formula gives exactly 0 and 1, which rounding must not miss.
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def cautious_share(counts: Iterable[tuple[int, int]]) -> Share:
    """Hits of all that was counted in clusters, (hits, n) of each, with Wilson's interval for the effective number.

    That number is (sum of n)^2 / (sum of n^2): the clusters' number where all are alike, as if what is in one hung
    together as closely as it can (Kish 1965). A cluster's share varies no more than a coin with the same mean, so that
    the interval is never too narrow; of clusters of one it is Wilson's own. Unlike the bootstrap
    (``agreement.clustered_share``) it needs no five clusters, and is there at 0 and 1 as well.
    """
    found = list(counts)
    hits, n = sum(hit for hit, _ in found), sum(size for _, size in found)
    if n == 0:
        return wilson(0, 0)
    low, high = _wilson_bounds(hits / n, n * n / sum(size * size for _, size in found))
    return Share(hits, n, hits / n, low, high)


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
