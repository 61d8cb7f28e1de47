"""PURE: orders of each two answers that are known to be right, as (better, worse): perhaps not of all of them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter


class CircleError(ValueError):
    """The orders go in a circle: ``circle`` has each before the one that it is above, and ends where it began."""

    def __init__(self, circle: Sequence[int]) -> None:
        super().__init__(f"in a circle: {circle}")
        self.circle = list(circle)


def implied(known: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """The known orders (better, worse) and all that follow from them, in order. Raises ``CircleError``."""
    above: dict[int, set[int]] = defaultdict(set)
    for better, worse in known:
        above[worse].add(better)
    try:
        best_first = list(TopologicalSorter(above).static_order())
    except CycleError as error:
        *circle, _again = error.args[1]
        start = circle.index(min(circle))
        raise CircleError([*circle[start:], *circle[:start], circle[start]]) from error
    for place in best_first:
        above[place] |= {higher for better in above[place] for higher in above[better]}
    return sorted((better, worse) for worse, betters in above.items() for better in betters)


def most_steps(size: int) -> int:
    """No orders of so many answers have more steps: no three of them form a triangle (Mantel's theorem)."""
    return size * size // 4


def steps(known: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Those known orders (better, worse) that no two others imply, in an order to read them in.

    ``known`` has all that is ``implied``, as gold questions have: of one above two above three that is (1, 2), (1, 3),
    (2, 3), and the steps are (1, 2) and (2, 3).
    """
    pairs = {(better, worse) for better, worse in known}
    middles = {better for better, _ in pairs}
    apart = [pair for pair in pairs if not any({(pair[0], mid), (mid, pair[1])} <= pairs for mid in middles)]
    return sorted(apart, key=lambda pair: (sum(worse == pair[0] for _, worse in pairs), pair))
