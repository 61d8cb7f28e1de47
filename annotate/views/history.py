"""One's own decisions, and changing one's mind about them."""

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Judgment, Project, Ranking, Rating
from annotate.queries.judging import own_decisions, pace_today, seat_of
from annotate.services.corrections import change_judgment, change_ranking, change_rating
from annotate.services.judging import Conflict, Gone, Saved
from annotate.services.limits import quota_left
from annotate.views.judging import PAGES, item_context, refused, respond

PER_PAGE = 25


@require_safe
@never_cache
@login_required
def history(request: SignedInRequest, project_id: int) -> HttpResponse:
    """What one was asked and said, newest first. Nobody else's."""
    membership = membership_for(request.user, project_id)
    kind = _kind_of(membership.project, request.GET.get("kind", ""))
    decisions = own_decisions(annotator=request.user, project=membership.project, kind=kind)
    context = {
        "membership": membership,
        "project": membership.project,
        "kind": kind,
        "pace": pace_today(annotator=request.user, project=membership.project, kind=kind),
        "quota_left": quota_left(membership, timezone.now()),
        "page": Paginator(decisions, PER_PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "annotate/history.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def change(request: SignedInRequest, project_id: int, kind: str, decision_id: int) -> HttpResponse:
    """The item as it was shown, to say otherwise. The old decision is kept as superseded."""
    membership = membership_for(request.user, project_id)
    if membership.paused_at:
        return redirect("annotate:judge", project_id)
    if kind not in PAGES:
        raise Http404
    page = PAGES[kind]
    here = reverse("annotate:history", args=[project_id]) + f"?kind={kind}"
    mine = own_decisions(annotator=request.user, project=membership.project, kind=kind, superseded=True)
    old = mine.filter(pk=decision_id).first()
    if old is None or old.slot is None or old.retracted_at is not None:
        raise Http404
    if request.method != "POST" and seat_of(membership, page.kind).unread_id is not None:
        # The judging page shows the guideline that has changed.
        return redirect(page.url_name, project_id)
    form = page.form(membership.project, request.POST) if request.method == "POST" else None
    if form is not None and form.is_valid():
        said = {"client_id": form.cleaned_data["client_id"], "now": timezone.now(), **form.given()}
        outcome = _change(old, **said)
        if isinstance(outcome, Saved):
            messages.success(request, _("Changed. What you had said first is kept, and counts no more."))
            return redirect(here)
        return refused(request, membership, page, outcome, url=here, written=form.written())
    if old.superseded_at is not None:
        messages.warning(request, _("You have changed this one already; what stands is listed here."))
        return redirect(here)
    # Never saved: only what the page shows. The slot itself stays done.
    slot = old.slot
    slot.submit_id = form.cleaned_data.get("client_id", uuid.uuid4()) if form else uuid.uuid4()
    if isinstance(old, Judgment):
        slot.comparison, slot.swapped = old.comparison, old.swapped
    elif isinstance(old, Ranking):
        slot.lineup = old.lineup
    else:
        slot.response = old.response
    context = item_context(page, slot, membership, form=form, before=old)
    context |= {"changing": old, "errors": form.non_field_errors() if form else None}
    context["url"] = reverse("annotate:change", args=[project_id, kind, decision_id])
    return respond(request, membership, page, context, status=422 if form else 200)


def _kind_of(project: Project, wanted: str) -> str:
    if wanted in PAGES:
        return wanted
    return project.kinds[0]


def _change(old: Judgment | Rating | Ranking, **said: Any) -> Saved[Any] | Conflict[Any] | Gone:
    if isinstance(old, Judgment):
        return change_judgment(old, **said)
    return change_ranking(old, **said) if isinstance(old, Ranking) else change_rating(old, **said)
