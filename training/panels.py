"""The trainer's panel on a project's page; ``config.settings.PROJECT_PANELS`` names it."""

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from annotate.models import Membership
from training.models import Loop
from training.queries.overview import overview
from training.views.runs import start_form


def loop_panel(request: HttpRequest, membership: Membership) -> SafeString:
    """Where the loop stands and the form that starts a run; nothing for annotators, who stay blind to policies."""
    if not membership.leads:
        return SafeString("")
    loop = Loop.objects.select_related("project", "sampler", "champion").filter(project=membership.project).first()
    context: dict[str, Any] = {"membership": membership, "project": membership.project, "loop": loop}
    if loop is not None:
        context |= {"overview": overview(loop), "form": start_form(loop, request.GET.get("method"))}
    return render_to_string("training/panel.html", context, request=request)
