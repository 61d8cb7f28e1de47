"""PURE: does something that should not matter decide? Position, length, formatting, as shares of what won."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from annotate.stats.intervals import Share, wilson


@dataclass(frozen=True, slots=True)
class Preference:
    """One judgment that preferred A or B, as far as shortcuts go: what won, and how winner and loser looked."""

    left_won: bool
    winner_chars: int
    loser_chars: int
    winner_formatted: bool
    loser_formatted: bool


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """Each a share of the preferences in which it could be seen; 0.5 is what nobody's bias would give.

    ``longer`` leaves out equal lengths, ``formatted`` leaves out pairs of which both or neither used Markdown.
    """

    left: Share
    longer: Share
    formatted: Share


def shortcuts(preferences: Iterable[Preference]) -> Shortcuts:
    """Counts the three shares with their Wilson intervals. A longer answer may win because it is better: an interval
    above one half is a reason to look, not proof of a bias. The left side has no such excuse."""
    left = [0, 0]
    longer = [0, 0]
    formatted = [0, 0]
    for entry in preferences:
        left[0] += entry.left_won
        left[1] += 1
        if entry.winner_chars != entry.loser_chars:
            longer[0] += entry.winner_chars > entry.loser_chars
            longer[1] += 1
        if entry.winner_formatted != entry.loser_formatted:
            formatted[0] += entry.winner_formatted
            formatted[1] += 1
    return Shortcuts(wilson(*left), wilson(*longer), wilson(*formatted))


@dataclass(frozen=True, slots=True)
class PlaceWins:
    """Of rankings of ``size`` answers that put one above all others: how often was that the one shown first, second...

    The order of places is random, so that each should hold ``chance``, whatever the answers are.
    """

    size: int
    wins: tuple[Share, ...]

    @property
    def chance(self) -> float:
        return 1 / self.size

    @property
    def first_is_off(self) -> bool:
        """Does the place shown first win more, or less, often than chance explains?"""
        return self.wins[0].excludes(self.chance)


def place_wins(orders: Iterable[tuple[Sequence[int], int]]) -> list[PlaceWins]:
    """By size, the smallest first, from (ranks in the order shown, how many rankings gave them); skips have no ranks.

    A tie for the best place says nothing of the places.
    """
    best: dict[int, Counter[int]] = defaultdict(Counter)
    for ranks, count in orders:
        if ranks.count(1) == 1:
            best[len(ranks)][ranks.index(1)] += count
    return [
        PlaceWins(size, tuple(wilson(best[size][place], best[size].total()) for place in range(size)))
        for size in sorted(best)
    ]


def longest_run(choices: Iterable[str]) -> tuple[str, int]:
    """The choice that was given most often in a row, and how often: straight-lining. ("", 0) when there are none."""
    best, best_length = "", 0
    previous, length = "", 0
    for choice in choices:
        length = length + 1 if choice == previous else 1
        previous = choice
        if length > best_length:
            best, best_length = choice, length
    return best, best_length


def unlikely_run(length: int, n: int) -> bool:
    """Is a run of one side, somewhere among ``n`` judgments, longer than one honest annotator in a hundred would have?

    Sides are random, so that whoever looks at the answers says A at most every other time, whichever is better; a run
    of ``length`` begins at one of at most n places. Ties and both bad can be right many times in a row: not for them.
    """
    return n * 0.5**length < 0.01
