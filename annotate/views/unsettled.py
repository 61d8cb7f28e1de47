"""What a reviewer does about what nobody could answer."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from annotate.access import SignedInRequest, membership_for
from annotate.models import Comparison, Lineup, Response, Role
from annotate.services import unsettled as service


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
        subject = get_object_or_404(Lineup, pk=subject_id, project=project_id, purpose=Comparison.Purpose.COLLECT)
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
