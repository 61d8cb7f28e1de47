"""PURE: which side left, which pairs. No Django, no database, no clock; randomness is an argument."""

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

_T = TypeVar("_T")

FEWEST_TO_RANK = 3


def draw_swapped(rng: random.Random) -> bool:
    """Shall the comparison's first response stand on the right? A fair coin, thrown anew at each claim."""
    return rng.random() < 0.5


def sides(first: _T, second: _T, *, swapped: bool) -> tuple[_T, _T]:
    """What stands left (A) and right (B)."""
    return (second, first) if swapped else (first, second)


def draw_order(rng: random.Random) -> int:
    """A seed for ``shown_order``, drawn anew at each claim."""
    return rng.randrange(2**31)


def shown_order(responses: Iterable[int], seed: int) -> list[int]:
    """The responses of a lineup in the order to show them in: the same for the same seed, however they come."""
    # `random()` is the one method whose values Python promises to keep from version to version.
    draw = random.Random(seed)
    return sorted(sorted(responses), key=lambda _: draw.random())


def dense_ranks(ranks: Sequence[int]) -> list[int]:
    """The same order with no rank left out: 1, 4, 4 and 5 become 1, 2, 2 and 3."""
    places = {rank: place for place, rank in enumerate(sorted(set(ranks)), start=1)}
    return [places[rank] for rank in ranks]


def strict_pairs(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """(better, worse) as places in ``ranks``, for each two that are not tied: at most n(n-1)/2."""
    return [
        (first, second) if ranks[first] < ranks[second] else (second, first)
        for first, second in combinations(range(len(ranks)), 2)
        if ranks[first] != ranks[second]
    ]


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


def form_lineup(
    responses: Sequence[Answer], *, ranked: Collection[int], size: int, rng: random.Random
) -> list[int] | None:
    """``size`` of one prompt's responses that nobody was asked to rank yet, as ids; fewer when there are fewer.

    Never two equal texts. None when there are not even three: an order of two is a pair.
    """
    fresh: dict[str, int] = {}
    for entry in sorted(responses, key=lambda entry: entry.id):
        if entry.id not in ranked:
            fresh.setdefault(entry.text, entry.id)
    if len(fresh) < FEWEST_TO_RANK:
        return None
    return sorted(rng.sample(sorted(fresh.values()), min(size, len(fresh))))
