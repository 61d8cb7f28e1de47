"""Questions about the work: how much is done a day, how much is left, how long it takes, what people choose.

Work is counted as it was done: what a lead retracted later was still somebody's time. What an edit replaced is not
counted twice. Every question is a constant number of queries over narrow columns, however much was judged.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import comb
from statistics import median

from django.db.models import Count, Q
from django.utils import timezone

from annotate.assign import strict_pairs
from annotate.models import Choice, Comparison, Judgment, Project, Ranking, Rating, Slot
from annotate.queries import ranked
from annotate.queries.projects import midnight
from annotate.queries.quality import counting
from annotate.said import Said, counted
from annotate.stats.forecast import Span, days_until
from annotate.stats.intervals import Share, cautious_share, wilson
from annotate.stats.shortcuts import place_wins

DAYS = 30
# A forecast rests on so many of the last days, today left out, with work on no fewer than these.
PACE_DAYS = 14
FEWEST_PACE_DAYS = 3
# After so many days without any work nobody can say when it goes on.
MOST_IDLE_DAYS = 7
_TOO_FEW_DAYS = Said("How long it takes cannot be told yet: it needs three days with work among the last fourteen.")
_NOBODY = "How long it takes cannot be told: nobody has worked for %(n)s day."
_NOBODY_MANY = "How long it takes cannot be told: nobody has worked for %(n)s days."


# --- Throughput -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Day:
    """What was decided on one day of the site's time zone."""

    date: date
    judgments: int
    ratings: int
    rankings: int = 0

    @property
    def total(self) -> int:
        return self.judgments + self.ratings + self.rankings


def days(project: Project, *, now: datetime, last: int = DAYS) -> list[Day]:
    """The last days, oldest first, today last; days without work are there too."""
    today = timezone.localtime(now).date()
    dates = [today - timedelta(days=back) for back in range(last - 1, -1, -1)]
    made = (_by_day(model, project, dates) for model in (Judgment, Rating, Ranking))
    return [Day(*counts) for counts in zip(dates, *made, strict=True)]


def _by_day(model: type[Judgment] | type[Rating] | type[Ranking], project: Project, dates: list[date]) -> list[int]:
    # The database compares with the midnights that Python knows: SQLite has no time zones, and Django's own function
    # for them is Python called for every row.
    midnights = [_midnight(when) for when in [*dates, dates[-1] + timedelta(days=1)]]
    counts = {
        f"day{number}": Count("pk", filter=Q(created_at__gte=begin, created_at__lt=end))
        for number, (begin, end) in enumerate(pairwise(midnights))
    }
    rows = model._default_manager.filter(project=project, superseded_at__isnull=True, created_at__gte=midnights[0])
    found = rows.aggregate(**counts)
    return [found[name] for name in counts]


def _midnight(when: date) -> datetime:
    # Noon exists once on every day, also where the clocks change at midnight.
    return midnight(timezone.make_aware(datetime(when.year, when.month, when.day, 12)))  # noqa: DTZ001


# --- Remaining work ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Remaining:
    """Judgments, ratings and rankings that are still wanted, of those kinds that the project asks for."""

    pairs: int
    thumbs: int
    rankings: int = 0

    @property
    def total(self) -> int:
        return self.pairs + self.thumbs + self.rankings


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many calendar days the work may still take, from ``rests_on`` days, on ``worked`` of which anybody worked; or
    why that cannot be told."""

    span: Span | None = None
    rests_on: int = 0
    worked: int = 0
    done: int = 0
    unknown: Said | None = None


def remaining(project: Project) -> Remaining:
    """Slots that wait or are being answered. Gold questions and rechecks are made when they are asked: not in here."""
    wanted = Slot.objects.filter(project=project, state__in=Slot.ACTIVE).order_by().values_list("kind")
    counts = {kind: count for kind, count in wanted.annotate(Count("pk")) if kind in project.kinds}
    return Remaining(
        pairs=counts.get(Slot.Kind.PAIR, 0),
        thumbs=counts.get(Slot.Kind.THUMB, 0),
        rankings=counts.get(Slot.Kind.RANKING, 0),
    )


def forecast(worked: list[Day], left: Remaining) -> Forecast | None:
    """From the days of ``days`` (today last, and left out: it is not over). None when nothing is left to do."""
    if not left.total:
        return None
    past = [day.total for day in worked[:-1]]
    # Days before the work began say nothing about it.
    began = next((place for place, total in enumerate(past) if total), len(past))
    past = past[max(began, len(past) - PACE_DAYS) :]
    busy = sum(1 for total in past if total)
    if busy < FEWEST_PACE_DAYS:
        return Forecast(unknown=_TOO_FEW_DAYS)
    idle = next(back for back, total in enumerate(reversed(past)) if total)
    if idle >= MOST_IDLE_DAYS:
        return Forecast(unknown=counted(_NOBODY, _NOBODY_MANY, n=idle))
    return Forecast(days_until(left.total, past), rests_on=len(past), worked=busy, done=sum(past))


# --- Time -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActiveTime:
    """What one person spent. Only decisions whose time the browser could measure count towards the seconds."""

    annotator: int
    decisions: int
    timed: int
    seconds: float
    median_judgment: float | None
    median_rating: float | None
    median_ranking: float | None


def active_time(project: Project) -> list[ActiveTime]:
    """Everyone who judged, ranked or rated, most time first."""
    made: Counter[int] = Counter()
    times: dict[type[Judgment] | type[Rating] | type[Ranking], dict[int, list[int]]] = {}
    for model in (Judgment, Rating, Ranking):
        by_person = times[model] = defaultdict(list)
        rows = model._default_manager.filter(project=project, superseded_at__isnull=True).order_by()
        for who, ms in rows.values_list("annotator_id", "active_ms").iterator(chunk_size=5000):
            made[who] += 1
            if ms is not None:
                by_person[who].append(ms)
    entries = []
    for who, decisions in made.items():
        judging, rating, ranking = (times[model].get(who, []) for model in (Judgment, Rating, Ranking))
        entries.append(
            ActiveTime(
                annotator=who,
                decisions=decisions,
                timed=len(judging) + len(rating) + len(ranking),
                seconds=sum(judging + rating + ranking) / 1000,
                median_judgment=median(judging) / 1000 if judging else None,
                median_rating=median(rating) / 1000 if rating else None,
                median_ranking=median(ranking) / 1000 if ranking else None,
            )
        )
    return sorted(entries, key=lambda entry: (-entry.seconds, entry.annotator))


# --- Choices ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoundChoices:
    """What people chose of one round's ordinary comparisons. Shares are of what was decided: skips apart."""

    # None for comparisons that belong to no round.
    round: int | None
    decided: int
    skipped: int
    preferred: Share
    ties: Share
    both_bad: Share


def choices_by_round(project: Project) -> list[RoundChoices]:
    """Newest round first; retracted judgments are left out, because this is about what the data says."""
    ordinary = (Comparison.Purpose.COLLECT, Comparison.Purpose.DUEL)
    choices = (
        counting(project)
        .filter(comparison__purpose__in=ordinary)
        .order_by()
        .values_list("comparison__round", "choice")
        .annotate(Count("pk"))
    )
    by_round: dict[int | None, Counter[str]] = defaultdict(Counter)
    for number, choice, count in choices:
        by_round[number][choice] += count
    newest_first = sorted(by_round, key=lambda number: -1 if number is None else number, reverse=True)
    return [_choices(number, by_round[number]) for number in newest_first]


def _choices(number: int | None, counts: Counter[str]) -> RoundChoices:
    decided = counts.total() - counts[Choice.SKIP]
    return RoundChoices(
        round=number,
        decided=decided,
        skipped=counts[Choice.SKIP],
        preferred=wilson(counts[Choice.A] + counts[Choice.B], decided),
        ties=wilson(counts[Choice.TIE], decided),
        both_bad=wilson(counts[Choice.BOTH_BAD], decided),
    )


# --- Rankings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RankingRound:
    """What came of one round's ordinary rankings.

    ``same``: of two answers and two people, how often both said the same of them. ``tied``: of two answers, how often
    they had one rank; its interval takes a ranking for one. ``first``: of rankings with one best answer, how often that
    was shown first, which chance gives ``chance``.
    """

    round: int | None
    decided: int
    skipped: int
    same: Share
    tied: Share
    first: Share
    chance: float | None

    @property
    def first_is_off(self) -> bool:
        """Does the place shown first win more, or less, often than chance explains?"""
        return self.chance is not None and self.first.excludes(self.chance)


def rankings_by_round(project: Project, *, most: int | None = None) -> list[RankingRound]:
    """Newest round first; retracted rankings are left out, because this is about what the data says."""
    by_round: dict[int | None, list[tuple[tuple[int, ...], int]]] = defaultdict(list)
    for number, ranks, count in ranked.orders_by_round(project):
        by_round[number].append((ranks, count))
    newest = sorted(by_round, key=lambda number: -1 if number is None else number, reverse=True)[:most]
    same = ranked.same_by_round(project) if newest else {}
    return [_ranking_round(number, by_round[number], same.get(number) or wilson(0, 0)) for number in newest]


def _ranking_round(number: int | None, orders: list[tuple[tuple[int, ...], int]], same: Share) -> RankingRound:
    ranked_ones = [(ranks, count) for ranks, count in orders if ranks]
    ties = ((comb(len(ranks), 2) - len(strict_pairs(ranks)), comb(len(ranks), 2)) for ranks, _ in ranked_ones)
    places = place_wins(ranked_ones)
    won = [(entry.wins[0].hits, entry.wins[0].n, entry.chance) for entry in places]
    n = sum(n for _, n, _ in won)
    return RankingRound(
        round=number,
        decided=sum(count for _, count in ranked_ones),
        skipped=sum(count for ranks, count in orders if not ranks),
        same=same,
        tied=cautious_share(pair for pair, (_, count) in zip(ties, ranked_ones, strict=True) for _ in range(count)),
        first=wilson(sum(hits for hits, _, _ in won), n),
        chance=sum(n * chance for _, n, chance in won) / n if n else None,
    )
