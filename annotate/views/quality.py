"""The lead's view of quality: agreement, people, shortcuts; as a page and as a table to take away."""

import csv

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.exports.csv_safety import formula_safe
from annotate.models import Role, User
from annotate.queries import quality as queries


@require_safe
@login_required
def quality(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    entries = queries.rows(project)
    shared = queries.shared(entries)
    names = {user.pk: user for user in User.objects.filter(memberships__project=project)}
    context = {
        "membership": membership,
        "project": project,
        "judgments": len(entries),
        "agreement": queries.agreement(shared),
        "by_round": queries.agreement_by_round(shared),
        "pairs": [
            (names.get(left), names.get(right), share)
            for (left, right), share in queries.agreement_of_pairs(shared).items()
        ],
        "annotators": [(names.get(entry.annotator), entry) for entry in queries.annotators(project, entries)],
        "shortcuts": queries.shortcut_shares(project),
    }
    return render(request, "annotate/quality.html", context)


@require_safe
@login_required
def annotators_csv(request: SignedInRequest, project_id: int) -> HttpResponse:
    """The table of annotators, pseudonymous, as CSV."""
    project = membership_for(request.user, project_id, role=Role.LEAD).project
    people = dict(User.objects.filter(judgments__project=project).values_list("pk", "pseudonym"))
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="annotators-{project.pk}.csv"'
    table = csv.writer(answer)
    shares = ("left", "gold", "self_consistency", "fast", "ties", "skips")
    columns = [f"{name}_{part}" for name in shares for part in ("share", "low", "high", "n")]
    table.writerow(["annotator", "judgments", "median_seconds", *columns, "longest_run", "longest_run_choice"])
    for entry in queries.annotators(project, queries.rows(project)):
        cells: list[object] = []
        for name in shares:
            share = getattr(entry, name)
            cells += [share.value, share.low, share.high, share.n]
        choice, length = entry.longest_run
        table.writerow(
            [formula_safe(cell) for cell in
             (people.get(entry.annotator, ""), entry.judgments, entry.median_seconds, *cells, length, choice)]
        )  # fmt: skip
    return answer


@require_safe
@login_required
def annotator(request: SignedInRequest, project_id: int, user_id: int) -> HttpResponse:
    """One annotator's measures: a lead sees anyone's, and everybody sees their own."""
    return render(request, "annotate/annotator.html", _annotator_context(request, project_id, user_id))


def _annotator_context(request: HttpRequest, project_id: int, user_id: int) -> dict[str, object]:
    role = Role.ANNOTATOR if request.user.pk == user_id else Role.LEAD
    membership = membership_for(request.user, project_id, role=role)
    person = get_object_or_404(User, pk=user_id, memberships__project=project_id)
    entries = queries.rows(membership.project, annotator=person)
    measured = queries.annotators(membership.project, entries)
    return {
        "membership": membership,
        "project": membership.project,
        "person": person,
        "quality": measured[0] if measured else None,
        "shortcuts": queries.shortcut_shares(membership.project, annotator=person),
    }
