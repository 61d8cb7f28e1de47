from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotate.access import SignedInRequest
from annotate.queries.projects import cards_for


@require_safe
@login_required
def home(request: SignedInRequest) -> HttpResponse:
    """The projects one is a member of, and what waits in each."""
    return render(request, "annotate/home.html", {"cards": cards_for(request.user)})
