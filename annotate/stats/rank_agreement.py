"""PURE: do people who ranked the same answers put them in the same order, beyond chance?

The sister of ``agreement``, over arrays: fifty thousand rankings are a fraction of a second. The tests compare it with
another library's alpha.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from annotate.stats.agreement import ALL_ALIKE, FEWEST_UNITS, NO_OVERLAP, Alpha, Floats, alphas_of, clustered_share
from annotate.stats.intervals import Share

Integers = npt.NDArray[np.int64]

# Above so many sets a sample of them is drawn from the normal distribution that such sums come to.
_MANY = 500


@dataclass(frozen=True, slots=True)
class Sets:
    """n sets of m answers, each ranked by p people.

    ``ids`` [n] and ``rounds`` [n] (-1: of none) are the sets', ``people`` [n, p] who ranked, ``ranks`` [n, p, m] the
    ranks that they gave, 1 the best, in order of the answers' ids.
    """

    ids: Integers
    rounds: Integers
    people: Integers
    ranks: Integers

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Sets":
        """Those of the sets."""
        return Sets(self.ids[chosen], self.rounds[chosen], self.people[chosen], self.ranks[chosen])

    @property
    def pairs(self) -> int:
        """How many pairs of answers a set has."""
        return comb(self.ranks.shape[2], 2)


def alike(sets: Sets) -> Integers:
    """[n, p, p]: of each set and every two people, of how many pairs of its answers both say the same."""
    first, second = np.triu_indices(sets.ranks.shape[2], 1)
    said = np.sign(sets.ranks[:, :, first] - sets.ranks[:, :, second])
    return np.asarray((said[:, :, None] == said[:, None]).sum(axis=3))


def agreement(groups: Sequence[Sets], *, resamples: int, seed: int = 0) -> tuple[Share, Alpha]:
    """Of two answers and two people, how often both said the same; and Krippendorff's alpha of the ranks.

    For alpha each answer of a set is a unit, with ordinal labels. Both 95% intervals are percentile bootstraps over
    whole sets, because what is in one hangs together: there is none below five sets.
    """
    groups = [sets for sets in groups if len(sets.ids)]
    return clustered_share(_same(groups), resamples=resamples), _alpha(groups, resamples=resamples, seed=seed)


def same_share(groups: Sequence[Sets], *, resamples: int) -> Share:
    """The first half of ``agreement``."""
    return clustered_share(_same(groups), resamples=resamples)


def _same(groups: Sequence[Sets]) -> Integers:
    """[sets, 2]: of each set, how often two people said the same of two answers, and how often they could."""
    counts = [np.zeros((0, 2), dtype=np.int64)]
    for sets in groups:
        people = sets.people.shape[1]
        # Every two people are there twice, and everybody with themselves once.
        hits = (alike(sets).sum(axis=(1, 2)) - people * sets.pairs) // 2
        counts.append(np.stack([hits, np.full_like(hits, comb(people, 2) * sets.pairs)], axis=1))
    return np.concatenate(counts)


def same_by_person(groups: Sequence[Sets]) -> dict[int, Integers]:
    """By person, [sets, 2] of each set of theirs: how often somebody else said the same of two answers, and could."""
    who, counts = [np.zeros(0, dtype=np.int64)], [np.zeros((0, 2), dtype=np.int64)]
    for sets in groups:
        hits = (alike(sets).sum(axis=2) - sets.pairs).ravel()
        who.append(sets.people.ravel())
        counts.append(np.stack([hits, np.full_like(hits, (sets.people.shape[1] - 1) * sets.pairs)], axis=1))
    everybody, counted = np.concatenate(who), np.concatenate(counts)
    return {int(person): counted[everybody == person] for person in np.unique(everybody)}


def two_by_two(groups: Sequence[Sets]) -> dict[tuple[int, int], list[Sets]]:
    """By every two people: the sets that both ranked, with their two rankings."""
    found: dict[tuple[int, int], list[Sets]] = {}
    for sets in groups:
        for columns in combinations(range(sets.people.shape[1]), 2):
            both = np.sort(sets.people[:, columns], axis=1)
            pair = Sets(sets.ids, sets.rounds, both, sets.ranks[:, columns])
            for left, right in np.unique(both, axis=0):
                of_them = pair.only((both == (left, right)).all(axis=1))
                found.setdefault((int(left), int(right)), []).append(of_them)
    return found


def _alpha(groups: Sequence[Sets], *, resamples: int, seed: int) -> Alpha:
    units = sum(sets.ranks.shape[0] * sets.ranks.shape[2] for sets in groups)
    labels = sum(sets.ranks.size for sets in groups)
    if not groups:
        return Alpha(None, None, None, 0, 0, NO_OVERLAP)
    size = max(int(sets.ranks.max()) for sets in groups)
    if size == 1:
        return Alpha(None, None, None, units, labels, ALL_ALIKE)
    rows = np.concatenate([_coincidences(sets.ranks, size) for sets in groups])
    scale = np.arange(size, dtype=float)
    value = float(alphas_of(rows.sum(axis=0).reshape(1, size, size), scale, "ordinal")[0])
    if len(rows) < FEWEST_UNITS or value == 1:
        return Alpha(value, None, None, units, labels)
    drawn = _drawn(np.random.default_rng(seed), rows, resamples).reshape(-1, size, size)
    low, high = np.nanpercentile(alphas_of(drawn, scale, "ordinal"), [2.5, 97.5])
    return Alpha(value, float(low), float(high), units, labels)


def _coincidences(ranks: Integers, size: int) -> Floats:
    """[n, size * size]: what each set adds to the coincidence matrix, the sum over its answers."""
    people = ranks.shape[1]
    # [n, m, size]: how many people gave each answer each rank.
    given = (ranks[..., None] == np.arange(1, size + 1)).sum(axis=1).astype(float)
    together = np.einsum("nmi,nmj->nij", given, given) - given.sum(axis=1)[:, :, None] * np.eye(size)
    return np.asarray(together / (people - 1)).reshape(len(ranks), -1)


def _drawn(rng: np.random.Generator, rows: Floats, resamples: int) -> Floats:
    """Sums of as many rows as there are, drawn again at random: one for each sample."""
    count = len(rows)
    if count > _MANY:
        each = rows - rows.mean(axis=0)
        return rng.multivariate_normal(
            rows.sum(axis=0), each.T @ each, size=resamples, check_valid="ignore", method="eigh"
        )
    picked = rng.integers(0, count, size=(resamples, count)) + count * np.arange(resamples)[:, None]
    times = np.bincount(picked.ravel(), minlength=resamples * count).reshape(resamples, count)
    return np.asarray(times @ rows)
