"""Questions about the quality of rankings: do people order the same answers alike, and does the place decide?

The sister of ``quality``, which has the questions about judgments. Superseded and retracted rankings do not count.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import median
from typing import NamedTuple

import numpy as np
from django.db.models import Count, QuerySet, TextField
from django.db.models.functions import Cast

from annotate.models import COUNTS, Comparison, Project, Ranked, Ranking, User
from annotate.orders import label_between, orders_right
from annotate.stats import rank_agreement
from annotate.stats.agreement import Alpha, clustered_share
from annotate.stats.intervals import Share, cautious_share, wilson
from annotate.stats.rank_agreement import Integers, Sets

_MOST_ROUNDS = 12
_MOST_PAIRS = 60
_RESAMPLES = 500

# The ranks of a skip; and looked up once, not once a row.
_SKIPPED = "[]"
_ORDINARY = Comparison.Purpose.COLLECT.value
_NOTHING = np.zeros((0, 2), dtype=np.int64)


class Order(NamedTuple):
    """One counting ranking, narrow, in the order of the columns that are read.

    ``shown`` and ``ranks`` are JSON as it lies in the database: fifty thousand are read for one page, and few of them
    looked into. A skip has no ranks.
    """

    annotator: int
    lineup: int
    purpose: str
    round: int | None
    shown: str
    ranks: str
    active_ms: int | None


def counting(project: Project) -> QuerySet[Ranking]:
    """The rankings that count: neither superseded nor retracted."""
    return Ranking.objects.filter(COUNTS, project=project)


def orders(project: Project, *, annotator: User | None = None) -> list[Order]:
    """The counting rankings in order of id, skips among them, optionally one person's."""
    rankings = counting(project)
    return _read(rankings if annotator is None else rankings.filter(annotator=annotator))


def _read(rankings: QuerySet[Ranking]) -> list[Order]:
    columns = rankings.annotate(
        shown_text=Cast("shown", TextField()), ranks_text=Cast("ranks", TextField())
    ).values_list(
        "annotator_id", "lineup_id", "lineup__purpose", "lineup__round", "shown_text", "ranks_text", "active_ms"
    )
    return [Order._make(entry) for entry in columns.order_by("id").iterator(chunk_size=5000)]


@lru_cache(maxsize=10_000)
def ranks_in(text: str) -> tuple[int, ...]:
    """The ranks in the order shown; of six answers there are 4,683 orders, so that few are parsed."""
    return tuple(json.loads(text))


def _by_response(shown: Iterable[int], ranks: Iterable[int]) -> tuple[int, ...]:
    return tuple(rank for _response, rank in sorted(zip(shown, ranks, strict=True)))


# --- Agreement --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RankingAgreement:
    """How far people agree who ranked the same answers.

    ``same``: of every two answers and every two people, how often both said the same of them (one is better, or a tie).
    ``ordinal``: alpha of the ranks, an answer of a lineup being a unit. Both intervals draw whole lineups.
    """

    same: Share
    ordinal: Alpha
    lineups: int


@dataclass(frozen=True, slots=True)
class RankerPair:
    """Two annotators on what both ranked."""

    left: int
    right: int
    found: RankingAgreement


def shared(entries: Iterable[Order]) -> list[Sets]:
    """What was said of those lineups that at least two people ranked, by numbers of people and of answers.

    Skips and checks say nothing.
    """
    said = [entry for entry in entries if entry.ranks != _SKIPPED and entry.purpose == _ORDINARY]
    people = Counter([entry.lineup for entry in said])
    several = sorted([entry for entry in said if people[entry.lineup] >= 2], key=lambda entry: entry.lineup)
    by_shape: dict[tuple[int, int], list[Order]] = defaultdict(list)
    for entry in several:
        by_shape[people[entry.lineup], len(ranks_in(entry.ranks))].append(entry)
    return [_sets(found, people=count, answers=size) for (count, size), found in sorted(by_shape.items())]


def _sets(entries: Sequence[Order], *, people: int, answers: int) -> Sets:
    """Those rankings as arrays. They come lineup by lineup, each with all its rankings."""
    # One text is parsed in a fifth of the time of fifty thousand.
    shown = np.array(json.loads(f"[{','.join([entry.shown for entry in entries])}]"))
    ranks = np.array([ranks_in(entry.ranks) for entry in entries])
    firsts = entries[::people]
    return Sets(
        ids=np.array([entry.lineup for entry in firsts]),
        rounds=np.array([-1 if entry.round is None else entry.round for entry in firsts]),
        people=np.array([entry.annotator for entry in entries]).reshape(-1, people),
        ranks=np.take_along_axis(ranks, shown.argsort(axis=1), axis=1).reshape(-1, people, answers),
    )


def agreement(groups: Sequence[Sets]) -> RankingAgreement:
    """Agreement within these lineups, which ``shared`` gives."""
    same, ordinal = rank_agreement.agreement(groups, resamples=_RESAMPLES)
    return RankingAgreement(same, ordinal, sum(len(sets.ids) for sets in groups))


@lru_cache(maxsize=50_000)
def _same(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, int]:
    """Of two answers each: how often two orders say the same of them, and how often they could."""
    one, other = dict(enumerate(left)), dict(enumerate(right))
    pairs = list(combinations(range(len(left)), 2))
    return sum(label_between(one, *pair) == label_between(other, *pair) for pair in pairs), len(pairs)


def _by_round(groups: Sequence[Sets]) -> dict[int, list[Sets]]:
    """Those of each round, newest first; -1 is none."""
    numbers = sorted({int(number) for sets in groups for number in np.unique(sets.rounds)}, reverse=True)
    return {number: [sets.only(sets.rounds == number) for sets in groups] for number in numbers}


def agreement_by_round(groups: Sequence[Sets]) -> list[tuple[int, RankingAgreement]]:
    """Agreement within each of the newest rounds, newest first."""
    rounds = [(number, found) for number, found in _by_round(groups).items() if number >= 0]
    return [(number, agreement(found)) for number, found in rounds[:_MOST_ROUNDS]]


def same_by_round(project: Project) -> dict[int | None, Share]:
    """By round: of two answers and two people, how often both said the same of them."""
    # Only what several people ranked is read: the rest says nothing here, and is most of it.
    ordinary = counting(project).filter(lineup__purpose=Comparison.Purpose.COLLECT, value=Ranked.RANKED)
    several = ordinary.order_by().values("lineup").annotate(people=Count("pk")).filter(people__gte=2)
    by_round = _by_round(shared(_read(ordinary.filter(lineup__in=several.values("lineup")))))
    return {
        None if number < 0 else number: rank_agreement.same_share(found, resamples=_RESAMPLES)
        for number, found in by_round.items()
    }


def agreement_of_pairs(groups: Sequence[Sets]) -> list[RankerPair]:
    """Agreement of two annotators who ranked something in common, those with the most first."""
    common = rank_agreement.two_by_two(groups)
    most = sorted(common.items(), key=lambda entry: (-sum(len(sets.ids) for sets in entry[1]), entry[0]))
    return [RankerPair(left, right, agreement(both)) for (left, right), both in most[:_MOST_PAIRS]]


# --- Annotators -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RankerQuality:
    """One person's rankings. Each share's ``n`` says on how much it rests.

    ``first_shown``: how often the answer shown first is put above the one shown last, ties apart. The order is random,
    so it should hold one half. ``same``: of two answers, how often somebody else said the same of them. ``gold``: how
    many of the orders that are known were given so. ``self_consistency``: of two answers that were asked again, how
    often the person said the same of them.
    """

    annotator: int
    rankings: int
    same: Share
    gold: Share
    self_consistency: Share
    first_shown: Share
    fast: Share
    skips: Share
    median_seconds: float | None


def gold_answers(rankings: QuerySet[Ranking], *, most: int | None = None) -> list[tuple[int, tuple[int, int]]]:
    """Of the gold questions among these rankings: who answered, and (right, known) orders of each; skips apart."""
    asked = rankings.filter(lineup__purpose=Comparison.Purpose.GOLD, value=Ranked.RANKED)
    columns = asked.values_list("annotator_id", "shown", "ranks", "lineup__expected")[:most]
    return [
        (who, orders_right(dict(zip(shown, ranks, strict=True)), expected)) for who, shown, ranks, expected in columns
    ]


def recheck_outcomes(project: Project) -> dict[int, list[tuple[int, int]]]:
    """By annotator, of each set that they ranked again: (same, all) of its pairs; skips apart."""
    again = counting(project).filter(lineup__purpose=Comparison.Purpose.RECHECK, value=Ranked.RANKED)
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for who, *columns in again.values_list(
        "annotator_id", "shown", "ranks", "lineup__original__shown", "lineup__original__ranks"
    ):
        found[who].append(_same(_by_response(*columns[:2]), _by_response(*columns[2:])))
    return found


def annotators(project: Project, entries: Sequence[Order], groups: Sequence[Sets]) -> list[RankerQuality]:
    """Everyone who ranked, most rankings first. ``groups`` are the ``shared`` ones of everybody's."""
    by_person: dict[int, list[Order]] = defaultdict(list)
    for entry in entries:
        by_person[entry.annotator].append(entry)
    same = rank_agreement.same_by_person(groups)
    gold: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for who, counts in gold_answers(counting(project)):
        gold[who].append(counts)
    again = recheck_outcomes(project)
    found = [
        _quality(who, mine, same.get(who, _NOTHING), gold[who], again.get(who, []), fast=project.fast_seconds)
        for who, mine in by_person.items()
    ]
    return sorted(found, key=lambda entry: (-entry.rankings, entry.annotator))


def _quality(
    annotator: int,
    mine: Sequence[Order],
    same: Integers,
    gold: Sequence[tuple[int, int]],
    again: Sequence[tuple[int, int]],
    *,
    fast: float,
) -> RankerQuality:
    ranked = [entry for entry in mine if entry.ranks != _SKIPPED]
    ranks = [ranks_in(entry.ranks) for entry in ranked]
    ends = [(first, last) for first, *_, last in ranks if first != last]
    timed = [entry.active_ms for entry in ranked if entry.active_ms is not None]
    return RankerQuality(
        annotator=annotator,
        rankings=len(mine),
        same=clustered_share(same, resamples=_RESAMPLES),
        gold=cautious_share(gold),
        self_consistency=cautious_share(again),
        first_shown=wilson(sum([first < last for first, last in ends]), len(ends)),
        fast=wilson(sum([ms < 1000 * fast for ms in timed]), len(timed)),
        skips=wilson(len(mine) - len(ranked), len(mine)),
        median_seconds=median(timed) / 1000 if timed else None,
    )


# --- Places -----------------------------------------------------------------------------------------------------------


def orders_by_round(project: Project) -> list[tuple[int | None, tuple[int, ...], int]]:
    """(round, ranks in the order shown, how many counting rankings) of ordinary lineups; a skip has no ranks.

    Counted in the database: there are few different orders, however many rankings.
    """
    ordinary = counting(project).filter(lineup__purpose=Comparison.Purpose.COLLECT).order_by()
    found = ordinary.annotate(ranks_text=Cast("ranks", TextField())).values_list("lineup__round", "ranks_text")
    return [(number, ranks_in(ranks), count) for number, ranks, count in found.annotate(Count("pk"))]
