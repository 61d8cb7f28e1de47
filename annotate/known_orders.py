"""PURE: orders of each two answers that are known to be right, as (better, worse): perhaps not of all of them."""

from collections.abc import Iterable, Sequence


def steps(known: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Those known orders (better, worse) that no two others imply, in an order to read them in.

    ``known`` has what it implies, as gold questions have: of one above two above three that is (1, 2), (1, 3), (2, 3),
    and the steps are (1, 2) and (2, 3).
    """
    pairs = {(better, worse) for better, worse in known}
    middles = {better for better, _ in pairs}
    apart = [pair for pair in pairs if not any({(pair[0], mid), (mid, pair[1])} <= pairs for mid in middles)]
    return sorted(apart, key=lambda pair: (sum(worse == pair[0] for _, worse in pairs), pair))
