from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.module_loading import import_string
from django.views.decorators.http import require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Response, Role


@require_safe
@login_required
def response(request: SignedInRequest, project_id: int, response_id: int) -> HttpResponse:
    """One answer with every rating of it, those that were changed or retracted since as well."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    answers = Response.objects.select_related("prompt")
    found = get_object_or_404(answers, pk=response_id, prompt__project=membership.project)
    context = {
        "membership": membership,
        "project": membership.project,
        "tab": "annotate:review",
        "response": found,
        "ratings": found.ratings.select_related("annotator").order_by("id"),
        "panels": [import_string(panel)(request, membership, found) for panel in settings.JUDGED_PANELS],
    }
    return render(request, "annotate/response.html", context)
