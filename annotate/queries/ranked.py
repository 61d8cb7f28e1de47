"""Questions about the quality of rankings: do people order the same answers alike, and does the place decide?

The sister of ``quality``, which has the questions about judgments. Superseded and retracted rankings do not count.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import NamedTuple

from django.db.models import QuerySet

from annotate.models import COUNTS, Comparison, Project, Ranked, Ranking, User
from annotate.orders import label_between, orders_right
from annotate.stats.agreement import Alpha, Label, alpha, clustered_share
from annotate.stats.intervals import Share, cautious_share, wilson

# Agreement over this many lineups is known to a percent; more would only cost.
_MOST_LINEUPS = 4_000
_MOST_ROUNDS = 12
_MOST_PAIRS = 60
_RESAMPLES = 500


class Order(NamedTuple):
    """One counting ranking, narrow: ``ranks`` by the id of the response, in the order shown; none of a skip."""

    annotator: int
    lineup: int
    purpose: str
    round: int | None
    ranks: dict[int, int]
    active_ms: int | None


def counting(project: Project) -> QuerySet[Ranking]:
    """The rankings that count: neither superseded nor retracted."""
    return Ranking.objects.filter(COUNTS, project=project)


def orders(project: Project, *, annotator: User | None = None) -> list[Order]:
    """The counting rankings in order of id, skips among them, optionally one person's."""
    rankings = counting(project)
    if annotator is not None:
        rankings = rankings.filter(annotator=annotator)
    columns = rankings.order_by("id").values_list(
        "annotator_id", "lineup_id", "lineup__purpose", "lineup__round", "shown", "ranks", "active_ms"
    )
    return [
        Order(who, lineup, purpose, number, dict(zip(shown, ranks, strict=False)), active)
        for who, lineup, purpose, number, shown, ranks, active in columns.iterator(chunk_size=2000)
    ]


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


def shared(entries: Iterable[Order]) -> dict[int, list[Order]]:
    """By lineup, newest last: the orders of those that at least two people ranked. Skips and checks say nothing."""
    by_lineup: dict[int, list[Order]] = defaultdict(list)
    for entry in entries:
        if entry.ranks and entry.purpose == Comparison.Purpose.COLLECT:
            by_lineup[entry.lineup].append(entry)
    several = sorted(lineup for lineup, said in by_lineup.items() if len(said) >= 2)
    return {lineup: by_lineup[lineup] for lineup in several[-_MOST_LINEUPS:]}


def agreement(lineups: Iterable[Sequence[Order]]) -> RankingAgreement:
    """Agreement within these lineups, which ``shared`` gives."""
    counts: list[tuple[int, int]] = []
    labels: list[Label] = []
    units: dict[tuple[int, int], int] = {}
    for said in lineups:
        counts.append(_same(entry.ranks for entry in said))
        for entry in said:
            for response, rank in entry.ranks.items():
                unit = units.setdefault((entry.lineup, response), len(units))
                labels.append((unit, entry.annotator, float(rank)))
    clusters = {unit: lineup for (lineup, _), unit in units.items()}
    ordinal = alpha(labels, distance="ordinal", resamples=_RESAMPLES, clusters=clusters)
    return RankingAgreement(clustered_share(counts, resamples=_RESAMPLES), ordinal, len(counts))


def _same(orders: Iterable[Mapping[int, int]]) -> tuple[int, int]:
    """Of two answers and two orders each: how often both say the same of them, and how often they could."""
    same = pairs = 0
    for left, right in combinations(orders, 2):
        for one, other in combinations(sorted(left.keys() & right.keys()), 2):
            pairs += 1
            same += label_between(left, one, other) == label_between(right, one, other)
    return same, pairs


def agreement_by_round(lineups: Iterable[Sequence[Order]]) -> list[tuple[int, RankingAgreement]]:
    """Agreement within each of the newest rounds, newest first."""
    by_round: dict[int, list[Sequence[Order]]] = defaultdict(list)
    for said in lineups:
        if said[0].round is not None:
            by_round[said[0].round].append(said)
    return [(number, agreement(by_round[number])) for number in sorted(by_round, reverse=True)[:_MOST_ROUNDS]]


def agreement_of_pairs(lineups: Iterable[Sequence[Order]]) -> list[RankerPair]:
    """Agreement of two annotators who ranked something in common, those with the most first."""
    common: dict[tuple[int, int], list[list[Order]]] = defaultdict(list)
    for said in lineups:
        for left, right in combinations(sorted(said, key=lambda entry: entry.annotator), 2):
            common[left.annotator, right.annotator].append([left, right])
    most = sorted(common.items(), key=lambda entry: (-len(entry[1]), entry[0]))[:_MOST_PAIRS]
    return [RankerPair(left, right, agreement(both)) for (left, right), both in most]


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
        now, before = (dict(zip(*columns[at : at + 2], strict=True)) for at in (0, 2))
        found[who].append(_same([now, before]))
    return found


def annotators(project: Project, entries: Sequence[Order]) -> list[RankerQuality]:
    """Everyone who ranked, most rankings first. ``entries`` are everybody's, or the shares of agreement are empty."""
    by_person: dict[int, list[Order]] = defaultdict(list)
    for entry in entries:
        by_person[entry.annotator].append(entry)
    same: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for said in shared(entries).values():
        for entry in said:
            pairs = [_same([entry.ranks, other.ranks]) for other in said if other is not entry]
            same[entry.annotator].append((sum(hits for hits, _ in pairs), sum(n for _, n in pairs)))
    gold: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for who, counts in gold_answers(counting(project)):
        gold[who].append(counts)
    again = recheck_outcomes(project)
    found = [
        _quality(who, mine, same[who], gold[who], again.get(who, []), fast=project.fast_seconds)
        for who, mine in by_person.items()
    ]
    return sorted(found, key=lambda entry: (-entry.rankings, entry.annotator))


def _quality(
    annotator: int,
    mine: Sequence[Order],
    same: Sequence[tuple[int, int]],
    gold: Sequence[tuple[int, int]],
    again: Sequence[tuple[int, int]],
    *,
    fast: float,
) -> RankerQuality:
    ranked = [entry for entry in mine if entry.ranks]
    ends = [
        (ranks[0], ranks[-1]) for ranks in (list(entry.ranks.values()) for entry in ranked) if ranks[0] != ranks[-1]
    ]
    timed = [entry.active_ms for entry in ranked if entry.active_ms is not None]
    return RankerQuality(
        annotator=annotator,
        rankings=len(mine),
        same=clustered_share(same, resamples=_RESAMPLES),
        gold=cautious_share(gold),
        self_consistency=cautious_share(again),
        first_shown=wilson(sum(first < last for first, last in ends), len(ends)),
        fast=wilson(sum(ms < 1000 * fast for ms in timed), len(timed)),
        skips=wilson(len(mine) - len(ranked), len(mine)),
        median_seconds=median(timed) / 1000 if timed else None,
    )
