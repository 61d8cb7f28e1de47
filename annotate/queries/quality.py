"""Questions about the quality of what people said: one pass over narrow columns, then pure statistics.

Every share carries its interval, and what cannot be known says so. Superseded and retracted judgments do not count.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from django.db.models import BooleanField, Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Length

from annotate.models import Choice, Comparison, Judgment, Project, User
from annotate.stats.agreement import Alpha, Label, alpha, pairwise, raw_agreement
from annotate.stats.intervals import Share, wilson
from annotate.stats.shortcuts import Preference, Shortcuts, longest_run, shortcuts

# Markdown that a reader sees at a glance: a heading, a list, bold text, code.
_FORMATTED = r"(^|\n)\s{0,3}(#{1,6} |[-*+] |\d+[.)] |```)|\*\*\S|`\S"
# Agreement of this many comparisons is estimated to three digits; more cost seconds and change nothing. Shares of this
# many preferences, whose texts have to be looked at, are known to 1.4 percent.
_MOST_UNITS = 20_000
_MOST_PREFERENCES = 5_000
# Rounds whose agreement is worth a look: the newest.
_MOST_ROUNDS = 12
# Bootstrap samples for alpha's intervals: their ends move by 3% of their width from seed to seed, a round's by 5%.
_RESAMPLES = 500
_ROUND_RESAMPLES = 200

# Looked up once, not once a row: reading a member of an enum costs more than comparing it.
_SIDES = (Choice.A.value, Choice.B.value)
_LEFT, _TIE, _SKIP = Choice.A.value, Choice.TIE.value, Choice.SKIP.value
_ORDINARY = (Comparison.Purpose.COLLECT.value, Comparison.Purpose.DUEL.value)


def label_of(choice: str, *, swapped: bool) -> str:
    """A choice told by the comparison's own responses: ``first`` or ``second`` for A and B, the others as they are."""
    if choice not in _SIDES:
        return choice
    return "first" if (choice == _LEFT) != swapped else "second"


class Row(NamedTuple):
    """One counting judgment, narrow. ``label`` tells the decision by the comparison's responses, not by the sides.

    A tuple in the order of the columns that are read: fifty thousand of them are made for one page.
    """

    annotator: int
    comparison: int
    purpose: str
    round: int | None
    choice: str
    strength: int | None
    swapped: bool
    active_ms: int | None

    @property
    def label(self) -> str:
        return label_of(self.choice, swapped=self.swapped)

    @property
    def scale(self) -> float | None:
        """Where it stands from "first is much better" (3) to "second is much better" (-3); None for skip, both bad."""
        if self.choice == _TIE:
            return 0.0
        if self.choice not in _SIDES:
            return None
        return (self.strength or 1) * (1.0 if self.label == "first" else -1.0)


def counting(project: Project) -> QuerySet[Judgment]:
    """The judgments that count: neither superseded nor retracted."""
    return Judgment.objects.filter(project=project, superseded_at__isnull=True, retracted_at__isnull=True)


def rows(project: Project, *, annotator: User | None = None) -> list[Row]:
    """The counting judgments in order of id, optionally one person's."""
    judgments = counting(project)
    if annotator is not None:
        judgments = judgments.filter(annotator=annotator)
    columns = judgments.order_by("id").values_list(
        "annotator_id",
        "comparison_id",
        "comparison__purpose",
        "comparison__round",
        "choice",
        "strength",
        "swapped",
        "active_ms",
    )
    return [Row._make(entry) for entry in columns.iterator(chunk_size=5000)]


# --- Agreement --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree: raw, and beyond chance on the labels (nominal) and on the scale (ordinal)."""

    raw: Share
    nominal: Alpha
    ordinal: Alpha


def shared(entries: Sequence[Row]) -> list[Row]:
    """The judgments of ordinary comparisons that at least two people judged: the only ones agreement can be seen in.

    The functions below look at no others; a page that calls several gives them these, which are far fewer.
    """
    ordinary = [row for row in entries if row.purpose in _ORDINARY]
    # Nobody has two counting judgments of one comparison, so that judgments are people.
    people = Counter([row.comparison for row in ordinary])
    units = set([unit for unit, count in people.items() if count >= 2][-_MOST_UNITS:])
    return [row for row in ordinary if row.comparison in units]


def _labels(entries: Iterable[Row]) -> list[Label]:
    return [(row.comparison, str(row.annotator), row.label) for row in entries if row.choice != _SKIP]


def agreement(entries: Sequence[Row], *, resamples: int = _RESAMPLES) -> Agreement:
    """Agreement over these judgments. Skips say nothing; both bad counts as a label, and has no place on the scale."""
    common = shared(entries)
    labels = _labels(common)
    places = [(row.comparison, str(row.annotator), row.scale) for row in common]
    scale: list[Label] = [(unit, who, place) for unit, who, place in places if place is not None]
    return Agreement(
        raw=raw_agreement(labels),
        nominal=alpha(labels, resamples=resamples),
        ordinal=alpha(scale, distance="ordinal", resamples=resamples),
    )


def agreement_by_round(entries: Sequence[Row]) -> list[tuple[int, Agreement]]:
    """Agreement within each of the newest rounds, newest first."""
    by_round: dict[int, list[Row]] = defaultdict(list)
    for row in entries:
        if row.round is not None:
            by_round[row.round].append(row)
    newest = sorted(by_round, reverse=True)[:_MOST_ROUNDS]
    return [(number, agreement(by_round[number], resamples=_ROUND_RESAMPLES)) for number in newest]


def agreement_of_pairs(entries: Sequence[Row]) -> dict[tuple[int, int], Share]:
    """Raw agreement of every two annotators who judged something in common, by their ids."""
    return {(int(left), int(right)): share for (left, right), share in pairwise(_labels(shared(entries))).items()}


# --- Annotators -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnnotatorQuality:
    """One person's measures. Each share's ``n`` says on how much it rests."""

    annotator: int
    judgments: int
    # Of preferences, those for the left answer; of gold questions, those answered right; of rechecks, those answered
    # the same as before; of all judgments, those quicker than the project's limit, ties, and skips.
    left: Share
    gold: Share
    self_consistency: Share
    fast: Share
    ties: Share
    skips: Share
    median_seconds: float | None
    longest_run: tuple[str, int]


def gold_outcomes(project: Project, *, annotator: User | None = None) -> dict[int, tuple[int, int]]:
    """By annotator: gold questions answered right, and answered at all (skips apart)."""
    judged = counting(project).filter(comparison__purpose=Comparison.Purpose.GOLD).exclude(choice=Choice.SKIP)
    if annotator is not None:
        judged = judged.filter(annotator=annotator)
    found: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for who, choice, swapped, expected in judged.values_list(
        "annotator_id", "choice", "swapped", "comparison__expected"
    ):
        found[who][0] += label_of(choice, swapped=swapped) == expected
        found[who][1] += 1
    return {who: (right, asked) for who, (right, asked) in found.items()}


def recheck_outcomes(project: Project, *, annotator: User | None = None) -> dict[int, tuple[int, int]]:
    """By annotator: rechecks answered as the first time, and answered at all."""
    again = counting(project).filter(comparison__purpose=Comparison.Purpose.RECHECK).exclude(choice=Choice.SKIP)
    if annotator is not None:
        again = again.filter(annotator=annotator)
    found: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for who, choice, preferred, first_choice, first_preferred in again.values_list(
        "annotator_id", "choice", "preferred_id", "comparison__original__choice", "comparison__original__preferred_id"
    ):
        same = preferred == first_preferred if preferred is not None else choice == first_choice
        found[who][0] += same
        found[who][1] += 1
    return {who: (same, asked) for who, (same, asked) in found.items()}


def annotators(project: Project, entries: Sequence[Row]) -> list[AnnotatorQuality]:
    """Everyone who judged, most judgments first."""
    by_person: dict[int, list[Row]] = defaultdict(list)
    for row in entries:
        by_person[row.annotator].append(row)
    gold, rechecks = gold_outcomes(project), recheck_outcomes(project)
    return sorted(
        (
            _quality(who, mine, gold.get(who, (0, 0)), rechecks.get(who, (0, 0)), fast=project.fast_seconds)
            for who, mine in by_person.items()
        ),
        key=lambda entry: (-entry.judgments, entry.annotator),
    )


def _quality(
    annotator: int, mine: Sequence[Row], gold: tuple[int, int], rechecks: tuple[int, int], *, fast: float
) -> AnnotatorQuality:
    choices = [row.choice for row in mine]
    counts = Counter(choices)
    timed = [row.active_ms for row in mine if row.active_ms is not None and row.choice != _SKIP]
    return AnnotatorQuality(
        annotator=annotator,
        judgments=len(mine),
        left=wilson(counts[Choice.A], counts[Choice.A] + counts[Choice.B]),
        gold=wilson(*gold),
        self_consistency=wilson(*rechecks),
        fast=wilson(sum([ms < 1000 * fast for ms in timed]), len(timed)),
        ties=wilson(counts[Choice.TIE], len(mine)),
        skips=wilson(counts[Choice.SKIP], len(mine)),
        median_seconds=median(timed) / 1000 if timed else None,
        longest_run=longest_run(choices),
    )


# --- Shortcuts --------------------------------------------------------------------------------------------------------


def shortcut_shares(project: Project, *, annotator: User | None = None) -> Shortcuts:
    """Does the left, the longer, the formatted answer win? Over the newest ordinary judgments that preferred one."""
    judged = counting(project).filter(comparison__purpose=Comparison.Purpose.COLLECT, preferred__isnull=False)
    if annotator is not None:
        judged = judged.filter(annotator=annotator)
    columns = (
        judged.annotate(
            first_chars=Length("comparison__first__text"),
            second_chars=Length("comparison__second__text"),
            first_formatted=_looks_formatted("comparison__first__text"),
            second_formatted=_looks_formatted("comparison__second__text"),
            first_won=Case(
                When(preferred=F("comparison__first"), then=Value(True)),
                default=Value(False),
                output_field=BooleanField(),
            ),
        )
        .order_by("-id")
        .values_list("choice", "first_won", "first_chars", "second_chars", "first_formatted", "second_formatted")
    )[:_MOST_PREFERENCES]
    return shortcuts(
        Preference(choice == Choice.A, *((fc, sc, ff, sf) if won else (sc, fc, sf, ff)))
        for choice, won, fc, sc, ff, sf in columns.iterator(chunk_size=5000)
    )


def _looks_formatted(column: str) -> Case:
    return Case(
        When(Q(**{f"{column}__regex": _FORMATTED}), then=Value(True)), default=Value(False), output_field=BooleanField()
    )
