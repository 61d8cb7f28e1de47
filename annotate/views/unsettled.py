"""The reviewer's pages for lineups that people order differently, and for what nobody could answer."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.review import OrderVerdictForm
from annotate.models import Comparison, Lineup, Membership, Response, Role
from annotate.queries import unsettled as queries
from annotate.services import unsettled as service


@require_safe
@login_required
def lineup(request: SignedInRequest, project_id: int, lineup_id: int) -> HttpResponse:
    """One lineup with everything that was said of it, to decide or to decide again."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    subject = _lineup(membership, lineup_id)
    return _lineup_page(request, membership, subject, OrderVerdictForm(size=subject.responses.count()))


@require_POST
@login_required
def adjudicate_lineup(request: SignedInRequest, project_id: int, lineup_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    subject = _lineup(membership, lineup_id)
    form = OrderVerdictForm(request.POST, size=subject.responses.count())
    if not form.is_valid():
        return _lineup_page(request, membership, subject, form)
    said = {name: form.cleaned_data[name] for name in ("ranks", "note")}
    service.adjudicate_lineup(lineup=subject, reviewer=request.user, **said)
    messages.success(request, _("Your verdict stands for this set of answers."))
    return redirect("annotate:review", project_id)


@require_POST
@login_required
def withdraw_order_verdict(request: SignedInRequest, project_id: int, lineup_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    if service.withdraw_order_verdict(lineup=_lineup(membership, lineup_id), reviewer=request.user):
        messages.success(request, _("No verdict stands for this set of answers now. What was said before is kept."))
    else:
        messages.info(request, _("No verdict stood any more."))
    return redirect("annotate:lineup", project_id, lineup_id)


@require_POST
@login_required
def close_thumb(request: SignedInRequest, project_id: int, response_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    response = get_object_or_404(Response, pk=response_id, prompt__project=project_id)
    if service.close_thumb(project=membership.project, response=response, reviewer=request.user):
        messages.success(request, _("Nobody is asked about this answer any more."))
    else:
        messages.info(request, _("Somebody had closed it already."))
    return redirect("annotate:review", project_id)


@require_POST
@login_required
def ask_again(request: SignedInRequest, project_id: int, kind: str, subject_id: int) -> HttpResponse:
    """Somebody else is asked what others skipped."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    subject: Comparison | Lineup | Response
    if kind == "pair":
        subject = get_object_or_404(Comparison, pk=subject_id, project=project_id, purpose=Comparison.Purpose.COLLECT)
    elif kind == "ranking":
        subject = _lineup(membership, subject_id)
    elif kind == "thumb":
        subject = get_object_or_404(Response, pk=subject_id, prompt__project=project_id)
    else:
        raise Http404("Choose pair, thumb or ranking.")
    try:
        service.ask_somebody_else(project=membership.project, subject=subject, reviewer=request.user)
        messages.success(request, _("Somebody else is asked."))
    except service.CannotAskError as error:
        messages.error(request, str(error))
    return redirect("annotate:review", project_id)


def _lineup(membership: Membership, lineup_id: int) -> Lineup:
    return get_object_or_404(
        Lineup.objects.select_related("prompt", "project"), pk=lineup_id, project=membership.project_id
    )


def _lineup_page(
    request: SignedInRequest, membership: Membership, subject: Lineup, form: OrderVerdictForm
) -> HttpResponse:
    context = {
        "membership": membership,
        "project": membership.project,
        "tab": "annotate:review",
        "order_form": form,
        "lineup_dispute": queries.dispute_of_lineup(subject),
        "panels": [import_string(panel)(request, membership, subject) for panel in settings.JUDGED_PANELS],
    }
    return render(request, "annotate/lineup.html", context, status=422 if form.errors else 200)
