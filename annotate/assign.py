"""PURE: which side left, which pairs. No Django, no database, no clock; randomness is an argument."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

_T = TypeVar("_T")


def draw_swapped(rng: random.Random) -> bool:
    """Shall the comparison's first response stand on the right? A fair coin, thrown anew at each claim."""
    return rng.random() < 0.5


def sides(first: _T, second: _T, *, swapped: bool) -> tuple[_T, _T]:
    """What stands left (A) and right (B)."""
    return (second, first) if swapped else (first, second)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that may be compared: ``text`` is anything that is equal for equal texts, such as their sha256."""

    id: int
    text: str


def form_pairs(
    responses: Sequence[Answer], *, compared: Collection[tuple[int, int]], wanted: int, rng: random.Random
) -> list[tuple[int, int]]:
    """Up to ``wanted`` new pairs of one prompt's responses, each as (lower id, higher id).

    Never two equal texts, never a pair of ``compared`` again. Each pair has at least one response that was in no
    comparison before, so that asking again without new responses makes nothing once all have had a turn. Responses with
    fewer comparisons come first: four responses and two pairs are two disjoint pairs.
    """
    uses = {entry.id: 0 for entry in responses}
    for pair in compared:
        for pk in pair:
            uses[pk] = uses.get(pk, 0) + 1
    taken = set(compared)
    options = [
        (first.id, second.id)
        for first, second in combinations(sorted(responses, key=lambda entry: entry.id), 2)
        if first.text != second.text
        and (first.id, second.id) not in taken
        and (uses[first.id] == 0 or uses[second.id] == 0)
    ]
    rng.shuffle(options)
    pairs: list[tuple[int, int]] = []
    while options and len(pairs) < wanted:
        # `min` takes the first of equals, and the options are shuffled.
        best = min(options, key=lambda pair: (uses[pair[0]] + uses[pair[1]], max(uses[pair[0]], uses[pair[1]])))
        options.remove(best)
        pairs.append(best)
        for pk in best:
            uses[pk] += 1
    return pairs
