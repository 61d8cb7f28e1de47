"""Where reviewers work: reports and disagreements, retractions, and the audit log."""

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from annotate.access import SignedInRequest, membership_for, site_owner
from annotate.forms.review import AuditFilterForm, ResolutionForm, RetractionForm
from annotate.models import AuditEntry, Comparison, Lineup, Membership, Project, Prompt, Retraction, Role
from annotate.queries import review as queries
from annotate.queries import unsettled
from annotate.services import review as service
from annotate.views.tables import long_csv_file
from annotate.views.verdicts import dispute_context

# The newest verdicts, for a second thought; the audit log has all.
MOST_VERDICTS = 20


@require_safe
@login_required
def review(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Reported prompts and the next disagreement, one at a time: a reviewer reads, decides, and gets the next one."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    return render(request, "annotate/review.html", _review_context(membership))


def _review_context(membership: Membership) -> dict[str, Any]:
    project = membership.project
    pairs, passed = queries.disputed(project), unsettled.skipped_comparisons(project)
    lineups, skipped = unsettled.disputed_lineups(project), unsettled.skipped_lineups(project)
    thumbs = unsettled.skipped_thumbs(project)
    context: dict[str, Any] = {
        "membership": membership,
        "project": project,
        "reported": queries.reported(project),
        "waiting": pairs.count(),
        "passed": passed.count(),
        "lineups": len(lineups),
        "skipped_lineups": skipped.count(),
        "thumbs": thumbs.count(),
        "verdicts": queries.verdicts(project)[:MOST_VERDICTS],
        "order_verdicts": unsettled.order_verdicts(project)[:MOST_VERDICTS],
    }
    queues: list[tuple[str, bool, QuerySet[Comparison] | QuerySet[Lineup]]] = [
        ("pair", False, pairs),
        ("pair", True, passed),
        ("ranking", False, Lineup.objects.filter(pk__in=lineups[:1])),
        ("ranking", True, skipped),
    ]
    for kind, was_skipped, waiting in queues:
        subject = waiting.first()
        if subject is not None:
            return context | dispute_context(kind, subject) | {"skipped": was_skipped}
    answer = thumbs.first()
    return context | ({"thumb": unsettled.skips_of(answer)} if answer is not None else {})


@require_POST
@login_required
def resolve_reports(request: SignedInRequest, project_id: int, prompt_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    prompt = get_object_or_404(Prompt, pk=prompt_id, project=project_id)
    form = ResolutionForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Choose to keep the prompt or to withdraw it."))
    elif service.resolve_reports(
        project=membership.project, prompt=prompt, resolution=form.cleaned_data["resolution"], reviewer=request.user
    ):
        messages.success(request, _("The reports are resolved."))
    else:
        messages.info(request, _("Somebody had resolved them already."))
    return redirect("annotate:review", project_id)


@require_safe
@login_required
def retractions(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    form = RetractionForm(project=membership.project)
    return render(request, "annotate/retractions.html", _retraction_context(membership, form))


@require_POST
@login_required
def retract(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    form = RetractionForm(request.POST, project=membership.project)
    if form.is_valid():
        try:
            made = service.retract(project=membership.project, actor=request.user, **form.cleaned_data)
        except ValueError as error:
            form.add_error(None, str(error))
        else:
            counts = {"judgments": made.judgments, "ratings": made.ratings, "rankings": made.rankings}
            said = _("Retracted: %(judgments)d judgments, %(ratings)d ratings and %(rankings)d rankings.")
            messages.success(request, said % counts)
            return redirect("annotate:retractions", project_id)
    return render(request, "annotate/retractions.html", _retraction_context(membership, form), status=422)


@require_POST
@login_required
def reverse_retraction(request: SignedInRequest, project_id: int, retraction_id: int) -> HttpResponse:
    membership_for(request.user, project_id, role=Role.LEAD)
    retraction = get_object_or_404(Retraction, pk=retraction_id, project=project_id)
    if service.reverse_retraction(retraction=retraction, actor=request.user):
        messages.success(request, _("The judgments count again."))
    else:
        messages.info(request, _("It was reversed before."))
    return redirect("annotate:retractions", project_id)


def _retraction_context(membership: Membership, form: RetractionForm) -> dict[str, Any]:
    return {
        "membership": membership,
        "project": membership.project,
        "tab": "annotate:quality",
        "form": form,
        "retractions": queries.retractions_of(membership.project),
    }


@require_safe
@login_required
def audit(request: SignedInRequest, project_id: int) -> HttpResponseBase:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    context = {"membership": membership, "project": membership.project}
    return _audit(request, membership.project, "annotate/audit.html", context)


@require_safe
@login_required
def site_audit(request: SignedInRequest) -> HttpResponseBase:
    """What concerns no single project: sign-ins, second factors, accounts. Each project's log is its members'."""
    site_owner(request.user)
    return _audit(request, None, "annotate/site_audit.html", {})


def _audit(request: SignedInRequest, project: Project | None, page: str, context: dict[str, Any]) -> HttpResponseBase:
    form = AuditFilterForm(request.GET, of_site=project is None)
    chosen = form.cleaned_data if form.is_valid() else {}
    entries = queries.audit_entries(project, **_filters(chosen))
    if request.GET.get("format") == "csv":
        rows = _audit_rows(entries.iterator(chunk_size=1000))
        return long_csv_file(f"audit-{project.pk if project else 'site'}", rows)
    context |= {"form": form, "page": Paginator(entries, 50).get_page(request.GET.get("page"))}
    return render(request, page, context, status=200 if form.is_valid() else 422)


def _filters(chosen: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chosen.items() if value}


def _audit_rows(entries: Iterator[AuditEntry]) -> Iterator[list[object]]:
    yield ["at", "who", "what", "subject", "detail"]
    for entry in entries:
        who = entry.actor.username if entry.actor else ""
        yield [entry.created_at.isoformat(), who, entry.verb, entry.subject, entry.detail or ""]
