"""PURE: do people who judged the same comparison agree, beyond chance?

A *unit* is one comparison; a *label* is one person's decision on it, told by the comparison's own responses and never
by the sides that were shown. Alpha is our own few lines of numpy, because the libraries that have it take a table of
people by units, and seconds for thousands of units; the tests compare it with two of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import log

import numpy as np
import numpy.typing as npt

from annotate.said import Said
from annotate.stats.intervals import Share, wilson

NO_OVERLAP = Said("No comparison was judged by two people yet. Raise the project's overlap.")
ALL_ALIKE = Said("Everyone gave the same label everywhere, so chance would agree as well; alpha divides by zero.")

Floats = npt.NDArray[np.float64]

# With fewer units than this a bootstrap repeats the few it has, and its interval would pretend to know.
FEWEST_UNITS = 5

# Who agrees so little beyond chance (kappa: 0 is chance, 1 is always) might as well guess.
HARDLY = 0.2

# One person's decision: (unit, annotator, label).
Label = tuple[int, int, str | float]


@dataclass(frozen=True, slots=True)
class Alpha:
    """Krippendorff's alpha with its bootstrap 95% interval, or why it is undefined.

    1 is perfect agreement, 0 what chance would give, below 0 worse than chance. ``units`` counts the comparisons with
    at least two labels: the only ones that say anything.
    """

    value: float | None
    low: float | None
    high: float | None
    units: int
    labels: int
    undefined: Said | None = None


def alpha(
    labels: Iterable[Label],
    *,
    distance: str = "nominal",
    resamples: int = 1000,
    seed: int = 0,
) -> Alpha:
    """Krippendorff's alpha of ``labels`` for a ``nominal``, ``ordinal`` or ``interval`` distance.

    Ordinal labels are numbers. The interval is the percentile bootstrap over units: comparisons are drawn again, with
    all that was said of each. Units with the same labels are the same to alpha, so that a sample is a few counts, and
    a thousand samples cost milliseconds however many units there are. Source: Krippendorff (2018), chapter 12.
    """
    by_unit: dict[int, dict[int, str | float]] = defaultdict(dict)
    for unit, annotator, label in labels:
        by_unit[unit][annotator] = label
    shared = {unit: list(row.values()) for unit, row in by_unit.items() if len(row) >= 2}
    count = sum(map(len, shared.values()))
    if not shared:
        return Alpha(None, None, None, 0, 0, NO_OVERLAP)
    said = {label for row in shared.values() for label in row}
    values = sorted(said, key=lambda label: (isinstance(label, str), label))
    if len(values) == 1:
        return Alpha(None, None, None, len(shared), count, ALL_ALIKE)
    place = {value: number for number, value in enumerate(values)}
    pattern_of = {unit: tuple(sorted([place[label] for label in row])) for unit, row in shared.items()}
    alike = Counter(pattern_of.values())
    patterns = np.array([np.bincount(key, minlength=len(values)) for key in alike], dtype=float)
    units = np.array(list(alike.values()), dtype=float)
    scale = np.array([value if isinstance(value, float) else number for value, number in place.items()])
    value = _alphas(units[None], patterns, scale, distance)[0]
    # Where nobody ever disagreed, units drawn again never do either: "1 to 1" would pretend to know.
    if len(shared) < FEWEST_UNITS or value == 1:
        return Alpha(float(value), None, None, len(shared), count)
    rng = np.random.default_rng(seed)
    drawn = _draw(rng, units.astype(np.int64), resamples)
    # A sample in which everybody says the same has no alpha, and is left out.
    low, high = np.nanpercentile(_alphas(drawn, patterns, scale, distance), [2.5, 97.5])
    return Alpha(float(value), float(low), float(high), len(shared), count)


def _draw(rng: np.random.Generator, times: npt.NDArray[np.int64], resamples: int) -> Floats:
    """How many clusters of each kind, of which there are ``times``, are in each sample."""
    return rng.multinomial(times.sum(), times / times.sum(), size=resamples).astype(float)


def _alphas(units: Floats, patterns: Floats, scale: Floats, distance: str) -> Floats:
    """Alpha of each row of ``units``, which says how many units have each pattern; NaN where it is undefined.

    ``patterns[p, c]``: how many people gave label c to a unit of pattern p; ``scale[c]``: the label as a number.
    """
    size = patterns.sum(axis=1)
    # What a unit adds to the coincidence matrix: its pairs of labels, both ways round, each person with the others.
    pairs = patterns[:, :, None] * patterns[:, None, :] - patterns[:, :, None] * np.eye(patterns.shape[1])
    together = (units @ (pairs / (size - 1)[:, None, None]).reshape(len(patterns), -1)).reshape(-1, *pairs.shape[1:])
    return alphas_of(together, scale, distance)


def alphas_of(together: Floats, scale: Floats, distance: str) -> Floats:
    """Alpha of each coincidence matrix [samples, labels, labels]; NaN where it is undefined."""
    each = together.sum(axis=2)
    apart = _distances(each, scale, distance)
    observed = (together * apart).sum(axis=(1, 2))
    expected = np.einsum("sc,sd,scd->s", each, each, apart) / (each.sum(axis=1) - 1)
    undefined = np.full(len(together), np.nan)
    ratio: Floats = np.divide(observed, expected, out=undefined, where=expected > 0)
    return 1 - ratio


def _distances(each: Floats, scale: Floats, distance: str) -> Floats:
    """Squared distances of every two labels, for each sample; ``each[s, c]`` is how often sample s has label c."""
    if distance == "nominal":
        return np.broadcast_to(1 - np.eye(len(scale)), (len(each), len(scale), len(scale)))
    if distance == "ordinal":
        # As far as the number of labels between them, and half of those at both ends: a difference of mid-ranks.
        place = np.cumsum(each, axis=1) - each / 2
    elif distance == "interval":
        place = np.broadcast_to(scale, each.shape)
    else:
        raise ValueError(f"{distance!r} is no distance; give nominal, ordinal or interval")
    return (place[:, :, None] - place[:, None, :]) ** 2


def raw_agreement(labels: Iterable[Label]) -> Share:
    """Share of pairs of people, over all units, who gave the same label. Flattering when one label is frequent.

    The interval treats the pairs of people as independent, which is right for two labels a unit and narrow beyond.
    """
    by_unit: dict[int, list[str | float]] = defaultdict(list)
    for unit, _, label in labels:
        by_unit[unit].append(label)
    same = pairs = 0
    for row in by_unit.values():
        for left, right in combinations(row, 2):
            pairs += 1
            same += left == right
    return wilson(same, pairs)


def clustered_share(counts: npt.ArrayLike, *, resamples: int = 1000, seed: int = 0) -> Share:
    """Hits of all that was counted, when what is counted comes in clusters: ``counts`` has (hits, n) of each.

    The pairs of one ranking hang together, so that Wilson's interval over them would be far too narrow: this one is the
    percentile bootstrap over clusters. None below five clusters, and where all or none were hits.
    """
    clusters = np.asarray(counts, dtype=float).reshape(-1, 2)
    hits, count = (int(total) for total in clusters.sum(axis=0))
    if count == 0:
        return Share(0, 0, None, None, None)
    if len(clusters) < FEWEST_UNITS or hits in (0, count):
        return Share(hits, count, hits / count, None, None)
    kinds, times = np.unique(clusters, axis=0, return_counts=True)
    drawn = _draw(np.random.default_rng(seed), times, resamples) @ kinds
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return Share(hits, count, hits / count, float(low), float(high))


@dataclass(frozen=True, slots=True)
class PairLabels:
    """Two annotators: their raw agreement, and what both said of the units that they share."""

    raw: Share
    labels: list[Label]


def pairwise(labels: Iterable[Label]) -> dict[tuple[int, int], PairLabels]:
    """Every two annotators that share a unit, keyed by both in order."""
    by_unit: dict[int, dict[int, str | float]] = defaultdict(dict)
    for unit, annotator, label in labels:
        by_unit[unit][annotator] = label
    common: dict[tuple[int, int], list[Label]] = defaultdict(list)
    same: Counter[tuple[int, int]] = Counter()
    for unit, row in by_unit.items():
        for left, right in combinations(sorted(row), 2):
            common[left, right] += ((unit, left, row[left]), (unit, right, row[right]))
            same[left, right] += row[left] == row[right]
    return {pair: PairLabels(wilson(same[pair], len(both) // 2), both) for pair, both in sorted(common.items())}


def beyond_chance(labels: Iterable[Label], *, mirror: Mapping[str | float, str], weight: float = 1.0) -> bool | None:
    """Do people agree more than they would by chance, as they must for anything to be learnt from their agreement?

    True when any two of them do, or all together (5% for all these tests at once: Chernoff's bound on the binomial
    tail, times the number of tests). False when they are shown not to: kappa of all together is below ``HARDLY`` with
    95% confidence (Wilson). None when there is too little to tell.

    By chance two people give what they usually give, whatever the unit is. ``mirror`` names labels that stand for each
    other when a unit is told the other way round, which one it is told being an accident. ``weight`` below 1 counts
    each two labels as less than one observation, because they hang together with others.
    """
    shared = pairwise(labels)
    habits: dict[int, Counter[str | float]] = defaultdict(Counter)
    for pair in shared.values():
        for _, who, label in pair.labels:
            habits[who].update((label, mirror.get(label, label)))
    seen = [
        (weight * pair.raw.hits, weight * pair.raw.n, _alike_by_chance(habits[left], habits[right]))
        for (left, right), pair in shared.items()
    ]
    hits, n = sum(row[0] for row in seen), sum(row[1] for row in seen)
    together = wilson(round(hits), round(n))
    if together.high is None:
        return None
    chance = sum(count * expected for _, count, expected in seen) / n
    if max(_surprise(*row) for row in [*seen, (hits, n, chance)]) > log((len(seen) + 1) / 0.05):
        return True
    return False if together.high - chance < HARDLY * (1 - chance) else None


def _alike_by_chance(left: Counter[str | float], right: Counter[str | float]) -> float:
    return sum(count * right[label] for label, count in left.items()) / (left.total() * right.total())


def _surprise(hits: float, n: float, chance: float) -> float:
    """-log of Chernoff's bound on the probability of so many hits, or more: n times the Kullback-Leibler divergence."""
    share = hits / n
    if share <= chance or not 0 < chance < 1:
        return 0.0
    misses = (1 - share) * log((1 - share) / (1 - chance)) if share < 1 else 0.0
    return n * (share * log(share / chance) + misses)
