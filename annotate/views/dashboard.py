"""The lead's view of the work: how much is done, how much is left, how long it takes; as a page and as tables."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Project, Role, User
from annotate.queries import dashboard as queries
from annotate.queries.dashboard import Day
from annotate.views.tables import csv_file

# Rounds on the page; the CSV has all.
MOST_ROUNDS = 12
# What is counted of a day, from the bottom of the chart.
KINDS = ("judgments", "rankings", "ratings")
_MEDIANS = {
    "median_judgment": _("Median per judgment"),
    "median_ranking": _("Median per ranking"),
    "median_rating": _("Median per rating"),
}


@require_safe
@login_required
def dashboard(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    worked = queries.days(project, now=timezone.now())
    left = queries.remaining(project)
    spent = queries.active_time(project)
    people = User.objects.in_bulk([entry.annotator for entry in spent])
    shown = [name for name in _MEDIANS if any(getattr(entry, name) is not None for entry in spent)]
    context = {
        "membership": membership,
        "project": project,
        "days": worked,
        "bars": bars(worked),
        "done": {kind for kind in KINDS for day in worked if getattr(day, kind)},
        "most": max(day.total for day in worked),
        "total": sum(day.total for day in worked),
        "remaining": left,
        "forecast": queries.forecast(worked, left),
        "medians": [_MEDIANS[name] for name in shown],
        "times": [(people[entry.annotator], entry, [getattr(entry, name) for name in shown]) for entry in spent],
        "seconds": sum(entry.seconds for entry in spent),
        "rounds": queries.choices_by_round(project)[:MOST_ROUNDS],
        "ranking_rounds": queries.rankings_by_round(project, most=MOST_ROUNDS),
    }
    return render(request, "annotate/dashboard.html", context)


@dataclass(frozen=True, slots=True)
class Part:
    """What was done of one kind on a day of the chart."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart, in a box that is as high as 100 and ten wide a day; y grows downwards, as in SVG."""

    day: Day
    x: int
    parts: list[Part]


def bars(worked: list[Day]) -> list[Bar]:
    """Judgments stand at the bottom; the highest day fills the box. A day with any work is never invisible."""
    most = max((day.total for day in worked), default=0) or 1
    found = []
    for number, day in enumerate(worked):
        parts: list[Part] = []
        top = 100.0
        for kind in KINDS:
            if count := getattr(day, kind):
                height = min(top, max(round(100 * count / most, 2), 1.0))
                top -= height
                parts.append(Part(kind, round(top, 2), height))
        found.append(Bar(day, 10 * number, parts))
    return found


# --- Tables -----------------------------------------------------------------------------------------------------------


@require_safe
@login_required
def table(request: SignedInRequest, project_id: int, name: str) -> HttpResponse:
    """One of the page's tables as CSV, people by their pseudonyms."""
    project = membership_for(request.user, project_id, role=Role.LEAD).project
    tables = {"days": _days, "time": _time, "rounds": _rounds, "ranking-rounds": _ranking_rounds}
    rows = tables.get(name)
    if rows is None:
        raise Http404(f"There is no such table: choose one of {', '.join(tables)}.")
    return csv_file(f"{name}-{project.pk}", rows(project))


def _days(project: Project) -> Iterator[list[object]]:
    yield ["date", "judgments", "ratings", "rankings"]
    for day in queries.days(project, now=timezone.now()):
        yield [day.date.isoformat(), day.judgments, day.ratings, day.rankings]


def _time(project: Project) -> Iterator[list[object]]:
    names = [f"median_{kind}_seconds" for kind in ("judgment", "rating", "ranking")]
    yield ["annotator", "decisions", "timed", "active_seconds", *names]
    spent = queries.active_time(project)
    people = User.objects.in_bulk([entry.annotator for entry in spent])
    for entry in spent:
        medians = [entry.median_judgment, entry.median_rating, entry.median_ranking]
        yield [people[entry.annotator].pseudonym, entry.decisions, entry.timed, entry.seconds, *medians]


def _rounds(project: Project) -> Iterator[list[object]]:
    shares = ("preferred", "ties", "both_bad")
    yield ["round", "decided", "skipped", *(f"{name}_{part}" for name in shares for part in ("share", "low", "high"))]
    for entry in queries.choices_by_round(project):
        cells: list[object] = []
        for share in (entry.preferred, entry.ties, entry.both_bad):
            cells += [share.value, share.low, share.high]
        yield [entry.round, entry.decided, entry.skipped, *cells]


def _ranking_rounds(project: Project) -> Iterator[list[object]]:
    shares = ("same", "tied", "first")
    columns = [f"{name}_{part}" for name in shares for part in ("share", "low", "high", "n")]
    yield ["round", "ranked", "skipped", *columns, "first_by_chance"]
    for entry in queries.rankings_by_round(project):
        cells: list[object] = []
        for share in (entry.same, entry.tied, entry.first):
            cells += [share.value, share.low, share.high, share.n]
        yield [entry.round, entry.decided, entry.skipped, *cells, entry.chance]
