"""Questions about the quality of what people said: one pass over narrow columns, then pure statistics.

Every share carries its interval, and what cannot be known says so. Superseded and retracted judgments do not count.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from django.db.models import BooleanField, Case, F, IntegerField, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Cast, Length

from annotate.models import COUNTS, Choice, Comparison, Judgment, Project, User
from annotate.stats.agreement import Alpha, Label, alpha, pairwise, raw_agreement
from annotate.stats.intervals import Share, wilson
from annotate.stats.shortcuts import Preference, Shortcuts, longest_run, shortcuts, unlikely_run

# Markdown that a reader sees at a glance: a heading, a list, bold text, code.
_FORMATTED = r"(^|\n)\s{0,3}(#{1,6} |[-*+] |\d+[.)] |```)|\*\*\S|`\S"
# Agreement of this many comparisons is estimated to three digits; more cost seconds and change nothing. Shares of this
# many preferences, whose texts have to be looked at, are known to 1.4 percent.
_MOST_UNITS = 20_000
_MOST_PREFERENCES = 5_000
# Rounds whose agreement is worth a look: the newest.
_MOST_ROUNDS = 12
# Reason tags are read of the newest judgments that have any; a project has a handful of tags, and pairs of annotators
# grow as the square of people.
_MOST_TAGGED = 10_000
_MOST_TAGS = 20
_MOST_PAIRS = 60
# Bootstrap samples for alpha's intervals: their ends move by 3% of their width from seed to seed.
_RESAMPLES = 500

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
    """One counting judgment, narrow.

    A tuple in the order of the columns that are read: fifty thousand of them are made for one page.
    """

    annotator: int
    comparison: int
    purpose: str
    round: int | None
    choice: str
    strength: int | None
    swapped: int
    active_ms: int | None


def counting(project: Project) -> QuerySet[Judgment]:
    """The judgments that count: neither superseded nor retracted."""
    return Judgment.objects.filter(COUNTS, project=project)


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
        # As a number: Django would make a boolean of each by a call.
        Cast("swapped", IntegerField()),
        "active_ms",
    )
    return [Row._make(entry) for entry in columns.iterator(chunk_size=5000)]


# --- Agreement --------------------------------------------------------------------------------------------------------


class Opinion(NamedTuple):
    """A judgment of an ordinary comparison that somebody else judged too, told by the comparison's own responses.

    ``place`` is where it stands from "first is much better" (3) to "second is much better" (-3); None for both bad.
    """

    comparison: int
    annotator: int
    round: int | None
    label: str
    place: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree: raw, and beyond chance on the labels (nominal) and on the scale (ordinal)."""

    raw: Share
    nominal: Alpha
    ordinal: Alpha


@dataclass(frozen=True, slots=True)
class TagAgreement:
    """Of the comparisons for which somebody gave this reason: do people agree on the choice, and on the reason itself?

    ``both`` is the share of pairs of people, of whom at least one gave it, who both did.
    """

    tag: str
    choice: Agreement
    both: Share


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two annotators on what both judged. ``nominal`` is None where only the raw share was asked for."""

    left: int
    right: int
    raw: Share
    nominal: Alpha | None


def shared(entries: Iterable[Row]) -> list[Opinion]:
    """What was said of ordinary comparisons by at least two people: the only ones in which agreement can be seen.

    Skips say nothing. Both bad is a label, and has no place on the scale.
    """
    said = [row for row in entries if row.choice != _SKIP and row.purpose in _ORDINARY]
    # Nobody has two counting judgments of one comparison, so that judgments are people.
    people = Counter([row.comparison for row in said])
    units = set([unit for unit, count in people.items() if count >= 2][-_MOST_UNITS:])
    return [_opinion(row) for row in said if row.comparison in units]


def _opinion(row: Row) -> Opinion:
    if row.choice in _SIDES:
        first = (row.choice == _LEFT) != bool(row.swapped)
        strength = float(row.strength or 1)
        label, place = ("first", strength) if first else ("second", -strength)
        return Opinion(row.comparison, row.annotator, row.round, label, place)
    return Opinion(row.comparison, row.annotator, row.round, row.choice, 0.0 if row.choice == _TIE else None)


def _labels(opinions: Iterable[Opinion]) -> list[Label]:
    return [(entry.comparison, entry.annotator, entry.label) for entry in opinions]


def agreement(opinions: Sequence[Opinion], *, resamples: int = _RESAMPLES) -> Agreement:
    """Agreement over these opinions, which ``shared`` gives."""
    labels = _labels(opinions)
    scale: list[Label] = [
        (entry.comparison, entry.annotator, entry.place) for entry in opinions if entry.place is not None
    ]
    return Agreement(
        raw=raw_agreement(labels),
        nominal=alpha(labels, resamples=resamples),
        ordinal=alpha(scale, distance="ordinal", resamples=resamples),
    )


def agreement_by_round(opinions: Iterable[Opinion]) -> list[tuple[int, Agreement]]:
    """Agreement within each of the newest rounds, newest first."""
    by_round: dict[int, list[Opinion]] = defaultdict(list)
    for entry in opinions:
        if entry.round is not None:
            by_round[entry.round].append(entry)
    newest = sorted(by_round, reverse=True)[:_MOST_ROUNDS]
    return [(number, agreement(by_round[number])) for number in newest]


def agreement_by_tag(project: Project, opinions: Iterable[Opinion]) -> list[TagAgreement]:
    """Agreement where each reason tag was given, the most frequent first; by the newest judgments that have tags."""
    # As text: there are few different lists, and each is parsed once.
    tagged = counting(project).exclude(tags=[]).order_by("-id").annotate(as_text=Cast("tags", TextField()))
    parsed: dict[str, list[str]] = {}
    given: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for comparison, annotator, text in tagged.values_list("comparison_id", "annotator_id", "as_text")[:_MOST_TAGGED]:
        if text not in parsed:
            parsed[text] = json.loads(text)
        for tag in parsed[text]:
            given[tag][comparison].add(annotator)
    by_unit: dict[int, list[Opinion]] = defaultdict(list)
    for entry in opinions:
        by_unit[entry.comparison].append(entry)
    found = []
    for tag, units in given.items():
        about = [entry for unit in units for entry in by_unit.get(unit, ())]
        if about:
            found.append(TagAgreement(tag, agreement(about), _both(units, by_unit)))
    return sorted(found, key=lambda entry: (-entry.choice.nominal.units, entry.tag))[:_MOST_TAGS]


def _both(units: Mapping[int, set[int]], by_unit: Mapping[int, Sequence[Opinion]]) -> Share:
    both = either = 0
    for unit, givers in units.items():
        people = [entry.annotator in givers for entry in by_unit.get(unit, ())]
        yes, no = people.count(True), people.count(False)
        both += yes * (yes - 1) // 2
        either += yes * (yes - 1) // 2 + yes * no
    return wilson(both, either)


def agreement_of_pairs(opinions: Iterable[Opinion], *, most_alphas: int = _MOST_PAIRS) -> list[PairAgreement]:
    """Agreement of every two annotators who judged something in common, those with the most first.

    Alpha costs more than a share, so that it is worked out for the first ``most_alphas`` of them.
    """
    shares = sorted(pairwise(_labels(opinions)).items(), key=lambda entry: (-entry[1].raw.n, entry[0]))
    return [
        PairAgreement(left, right, pair.raw, alpha(pair.labels, resamples=_RESAMPLES) if place < most_alphas else None)
        for place, ((left, right), pair) in enumerate(shares)
    ]


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

    @property
    def straight_lined(self) -> bool:
        """Was one side chosen so often in a row that chance hardly explains it?"""
        choice, length = self.longest_run
        return choice in _SIDES and unlikely_run(length, self.judgments)


def gold_answers(judgments: QuerySet[Judgment], *, most: int | None = None) -> list[tuple[int, tuple[int, int]]]:
    """Of the gold questions among these judgments: who answered, and (right, known) of each; skips apart."""
    asked = judgments.filter(comparison__purpose=Comparison.Purpose.GOLD).exclude(choice=Choice.SKIP)
    columns = asked.values_list("annotator_id", "choice", "swapped", "comparison__expected")[:most]
    return [(who, (int(label_of(said, swapped=swapped) == expected), 1)) for who, said, swapped, expected in columns]


def gold_outcomes(project: Project, *, annotator: User | None = None) -> dict[int, tuple[int, int]]:
    """By annotator: gold questions answered right, and answered at all (skips apart)."""
    judged = counting(project)
    if annotator is not None:
        judged = judged.filter(annotator=annotator)
    found: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for who, (right, _known) in gold_answers(judged):
        found[who][0] += right
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
