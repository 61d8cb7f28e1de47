"""The lead's view of the work: how much is done, how much is left, how long it takes; as a page and as tables."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.exports.csv_safety import formula_safe
from annotate.models import Project, Role, User
from annotate.queries import dashboard as queries
from annotate.queries.dashboard import Day

# Rounds on the page; the CSV has all.
MOST_ROUNDS = 12


@require_safe
@login_required
def dashboard(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    worked = queries.days(project, now=timezone.now())
    left = queries.remaining(project)
    spent = queries.active_time(project)
    people = User.objects.in_bulk([entry.annotator for entry in spent])
    context = {
        "membership": membership,
        "project": project,
        "days": worked,
        "bars": bars(worked),
        "most": max(day.total for day in worked),
        "total": sum(day.total for day in worked),
        "remaining": left,
        "forecast": queries.forecast(worked, left),
        "times": [(people[entry.annotator], entry) for entry in spent],
        "seconds": sum(entry.seconds for entry in spent),
        "rounds": queries.choices_by_round(project)[:MOST_ROUNDS],
    }
    return render(request, "annotate/dashboard.html", context)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart, in a box that is as high as 100 and ten wide a day; y grows downwards, as in SVG."""

    day: Day
    x: int
    judgments_y: float
    judgments_height: float
    ratings_y: float
    ratings_height: float


def bars(worked: list[Day]) -> list[Bar]:
    """Ratings stand on top of judgments; the highest day fills the box. A day with any work is never invisible."""
    most = max((day.total for day in worked), default=0) or 1

    def height(count: int) -> float:
        return max(round(100 * count / most, 2), 1.0) if count else 0.0

    found = []
    for number, day in enumerate(worked):
        judged, rated = height(day.judgments), height(day.ratings)
        top = min(100.0, judged + rated)
        found.append(Bar(day, 10 * number, 100 - judged, judged, 100 - top, top - judged))
    return found


# --- Tables -----------------------------------------------------------------------------------------------------------


@require_safe
@login_required
def table(request: SignedInRequest, project_id: int, name: str) -> HttpResponse:
    """One of the page's tables as CSV, people by their pseudonyms."""
    project = membership_for(request.user, project_id, role=Role.LEAD).project
    rows = {"days": _days, "time": _time, "rounds": _rounds}.get(name)
    if rows is None:
        raise Http404("There is no such table: choose days, time or rounds.")
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}-{project.pk}.csv"'
    writer = csv.writer(answer)
    for row in rows(project):
        writer.writerow([formula_safe(cell) for cell in row])
    return answer


def _days(project: Project) -> Iterator[list[object]]:
    yield ["date", "judgments", "ratings"]
    for day in queries.days(project, now=timezone.now()):
        yield [day.date.isoformat(), day.judgments, day.ratings]


def _time(project: Project) -> Iterator[list[object]]:
    yield ["annotator", "decisions", "timed", "active_seconds", "median_judgment_seconds", "median_rating_seconds"]
    spent = queries.active_time(project)
    people = User.objects.in_bulk([entry.annotator for entry in spent])
    for entry in spent:
        medians = [entry.median_judgment, entry.median_rating]
        yield [people[entry.annotator].pseudonym, entry.decisions, entry.timed, entry.seconds, *medians]


def _rounds(project: Project) -> Iterator[list[object]]:
    shares = ("preferred", "ties", "both_bad")
    yield ["round", "decided", "skipped", *(f"{name}_{part}" for name in shares for part in ("share", "low", "high"))]
    for entry in queries.choices_by_round(project):
        cells: list[object] = []
        for share in (entry.preferred, entry.ties, entry.both_bad):
            cells += [share.value, share.low, share.high]
        yield [entry.round, entry.decided, entry.skipped, *cells]
