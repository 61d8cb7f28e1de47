"""PURE: do people who judged the same comparison agree, beyond chance?

A *unit* is one comparison; a *label* is one person's decision on it, told by the comparison's own responses and never
by the sides that were shown. Thin layers over evalica.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import evalica
import numpy as np
import pandas as pd

from annotate.said import Said
from annotate.stats.intervals import Share, wilson

_NO_OVERLAP = Said("No comparison was judged by two people yet. Raise the project's overlap.")
_ALL_ALIKE = Said("Everyone gave the same label everywhere, so chance would agree as well; alpha divides by zero.")

# One person's decision: (unit, annotator, label).
Label = tuple[int, str, str | float]


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


def alpha(labels: Iterable[Label], *, distance: str = "nominal", resamples: int = 1000, seed: int = 0) -> Alpha:
    """Krippendorff's alpha of ``labels`` for a ``nominal``, ``ordinal`` or ``interval`` distance.

    Ordinal labels are numbers. Source: Krippendorff (2018), chapter 12; interval by his bootstrap of 2006, as evalica
    has them.
    """
    by_unit: dict[int, dict[str, str | float]] = defaultdict(dict)
    for unit, annotator, label in labels:
        by_unit[unit][annotator] = label
    shared = {unit: row for unit, row in by_unit.items() if len(row) >= 2}
    count = sum(len(row) for row in shared.values())
    if not shared:
        return Alpha(None, None, None, 0, 0, _NO_OVERLAP)
    if len({label for row in shared.values() for label in row.values()}) == 1:
        return Alpha(None, None, None, len(shared), count, _ALL_ALIKE)
    frame = _frame(shared)
    if len(shared) < 2:
        return Alpha(evalica.alpha(frame, distance=distance).alpha, None, None, len(shared), count)
    result = evalica.alpha_bootstrap(frame, distance=distance, n_resamples=resamples, random_state=seed)
    return Alpha(result.alpha, float(result.low), float(result.high), len(shared), count)


def _frame(units: dict[int, dict[str, str | float]]) -> pd.DataFrame:
    """Annotators as rows, units as columns, labels as numbers: words by their place in the alphabet, which nominal
    distance does not look at. One block of floats, because pandas takes seconds for thousands of columns of words."""
    words = sorted({label for row in units.values() for label in row.values() if isinstance(label, str)})
    codes = {word: float(code) for code, word in enumerate(words)}
    people = {name: number for number, name in enumerate({name: None for row in units.values() for name in row})}
    table = np.full((len(people), len(units)), np.nan)
    for column, row in enumerate(units.values()):
        for name, label in row.items():
            table[people[name], column] = codes[label] if isinstance(label, str) else label
    return pd.DataFrame(table)


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


def pairwise(labels: Iterable[Label]) -> dict[tuple[str, str], Share]:
    """Raw agreement of every two annotators that share a unit, keyed by their names in order."""
    by_unit: dict[int, dict[str, str | float]] = defaultdict(dict)
    for unit, annotator, label in labels:
        by_unit[unit][annotator] = label
    same: dict[tuple[str, str], int] = defaultdict(int)
    both: dict[tuple[str, str], int] = defaultdict(int)
    for row in by_unit.values():
        for left, right in combinations(sorted(row), 2):
            both[left, right] += 1
            same[left, right] += row[left] == row[right]
    return {pair: wilson(same[pair], n) for pair, n in sorted(both.items())}
