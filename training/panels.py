"""The trainer's panels on pages of the annotation app; ``PROJECT_PANELS`` and ``JUDGED_PANELS`` name them."""

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from annotate.models import Comparison, Lineup, Membership, Response
from training.models import Loop
from training.queries.overview import overview
from training.queries.registry import trained_on
from training.views.runs import profile_for, start_form


def loop_panel(request: HttpRequest, membership: Membership) -> SafeString:
    """Where the loop stands and the form that starts a run; nothing for annotators, who stay blind to policies."""
    if not membership.leads:
        return SafeString("")
    loop = Loop.objects.select_related("project", "sampler", "champion").filter(project=membership.project).first()
    context: dict[str, Any] = {"membership": membership, "project": membership.project, "loop": loop}
    if loop is not None:
        form = start_form(loop, request.GET.get("method"))
        context |= {"overview": overview(loop), "form": form, "shown": profile_for(loop, form)}
    return render_to_string("training/panel.html", context, request=request)


def trained_on_panel(
    request: HttpRequest, membership: Membership, subject: Comparison | Lineup | Response
) -> SafeString:
    """Which policies learned from what was said of it; nothing where none did, and for annotators."""
    own, through = trained_on(subject) if membership.leads else ([], [])
    if not own:
        return SafeString("")
    context = {"project": membership.project, "own": own, "through": through}
    return render_to_string("training/trained_on.html", context, request=request)
