"""Questions about projects: what the home page and a project's overview show. A constant number of queries each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise

from annotate.models import COUNTS, Choice, Guideline, Judgment, Membership, Project, Ranking, Rating, Slot, Thumb, User
from annotate.queries.waiting import claimable


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """A project on the home page, as this member sees it."""

    membership: Membership
    open_pairs: int
    open_thumbs: int
    open_rankings: int
    done_today: int

    @property
    def project(self) -> Project:
        return self.membership.project

    @property
    def open_work(self) -> int:
        waiting = {"pair": self.open_pairs, "thumb": self.open_thumbs, "ranking": self.open_rankings}
        return sum(waiting[kind] for kind in self.project.kinds)


@dataclass(frozen=True, slots=True)
class Share:
    """One line of a distribution."""

    label: str | Promise
    count: int
    total: int

    @property
    def percent(self) -> int:
        return round(100 * self.count / self.total) if self.total else 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Decisions that count (neither superseded nor retracted), in all and since midnight."""

    total: int
    today: int


@dataclass(frozen=True, slots=True)
class Distributions:
    choices: list[Share]
    thumbs: list[Share]


def cards_for(user: User) -> list[ProjectCard]:
    """The user's projects in order of name, each with what waits in its queue."""
    memberships = list(user.memberships.select_related("project").order_by("project__name", "project_id"))
    projects = [membership.project_id for membership in memberships]
    waiting = claimable(user, projects)
    done: dict[int, int] = {}
    for made in (user.judgments, user.ratings, user.rankings):
        today = made.filter(created_at__gte=midnight(), project__in=projects)
        for row in today.values("project").annotate(count=Count("pk")).order_by():
            done[row["project"]] = done.get(row["project"], 0) + row["count"]
    return [
        ProjectCard(
            membership=membership,
            open_pairs=waiting[membership.project_id, Slot.Kind.PAIR],
            open_thumbs=waiting[membership.project_id, Slot.Kind.THUMB],
            open_rankings=waiting[membership.project_id, Slot.Kind.RANKING],
            done_today=done.get(membership.project_id, 0),
        )
        for membership in memberships
    ]


def waiting_in(project: Project, user: User) -> dict[str, int]:
    """How many slots of each kind wait to be given out to everybody or to this person."""
    counts = claimable(user, [project.pk])
    return {kind: counts[project.pk, kind] for kind in Slot.Kind.values}


def decision_counts(project: Project, *, annotator: User | None = None) -> Counts:
    """Judgments, ratings and rankings of the project, or of one person in it, in all and today."""
    total = today = 0
    for rows in _counting(project):
        mine = rows if annotator is None else rows.filter(annotator=annotator)
        counts = mine.aggregate(total=Count("pk"), today=Count("pk", filter=Q(created_at__gte=midnight())))
        total += counts["total"]
        today += counts["today"]
    return Counts(total=total, today=today)


def distributions(project: Project) -> Distributions:
    """How often each choice and each thumb was given; empty lists where there is nothing yet."""
    judgments, ratings, _ = _counting(project)
    return Distributions(
        choices=_shares(dict(judgments.order_by().values_list("choice").annotate(Count("pk"))), Choice.choices),
        thumbs=_shares(dict(ratings.order_by().values_list("value").annotate(Count("pk"))), Thumb.choices),
    )


def recent_judgments(project: Project, *, limit: int = 8) -> list[Judgment]:
    return list(
        project.judgments.filter(superseded_at__isnull=True)
        .select_related("annotator", "comparison__prompt")
        .order_by("-id")[:limit]
    )


def newest_guideline(project: Project) -> Guideline | None:
    return project.guidelines.order_by("-version").first()


def midnight(now: datetime | None = None) -> datetime:
    """The start of today, or of the day of ``now``, in the site's time zone, whatever the clocks did in between."""
    today = timezone.localtime(now).date()
    return timezone.make_aware(datetime(today.year, today.month, today.day))  # noqa: DTZ001  (made aware at once)


def _counting(project: Project) -> tuple[QuerySet[Judgment], QuerySet[Rating], QuerySet[Ranking]]:
    return project.judgments.filter(COUNTS), project.ratings.filter(COUNTS), project.rankings.filter(COUNTS)


def _shares(counts: dict[str, int], labels: Sequence[tuple[str, str | Promise]]) -> list[Share]:
    total = sum(counts.values())
    return [Share(label=label, count=counts.get(value, 0), total=total) for value, label in labels] if total else []
