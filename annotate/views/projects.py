from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.projects import NewProjectForm, SettingsForm
from annotate.models import Membership, Role
from annotate.queries.projects import (
    decision_counts,
    distributions,
    newest_guideline,
    recent_judgments,
    waiting_in,
)
from annotate.queries.prompts import prompt_counts
from annotate.rendering import render_markdown
from annotate.services.projects import change_settings, create_project


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new_project(request: SignedInRequest) -> HttpResponse:
    """Staff opens projects, and owns what it opens."""
    if not request.user.is_staff:
        raise PermissionDenied("New projects are opened by the site's staff.")
    form = NewProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        project = create_project(created_by=request.user, **form.cleaned_data)
        messages.success(request, _("The project is open. Import prompts next."))
        return redirect("annotate:project", project.pk)
    return render(request, "annotate/project_form.html", {"form": form}, status=422 if form.errors else 200)


@require_safe
@login_required
def project(request: SignedInRequest, project_id: int) -> HttpResponse:
    """The way to the work; for leads also how the project stands, and the panels of the other apps."""
    membership = membership_for(request.user, project_id)
    project = membership.project
    guideline = newest_guideline(project)
    context = {
        "membership": membership,
        "project": project,
        "waiting": waiting_in(project, request.user),
        "mine": decision_counts(project, annotator=request.user),
        "guideline": guideline,
        "guideline_html": render_markdown(guideline.text) if guideline else "",
    }
    if membership.leads:
        context |= {
            "prompts": prompt_counts(project),
            "made": decision_counts(project),
            "distributions": distributions(project),
            "recent": recent_judgments(project),
            "panels": [import_string(panel)(request, membership) for panel in settings.PROJECT_PANELS],
        }
    return render(request, "annotate/project.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def project_settings(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership: Membership = membership_for(request.user, project_id, role=Role.LEAD)
    form = SettingsForm(request.POST or None, instance=membership.project)
    if request.method == "POST" and form.is_valid():
        change_settings(project=membership.project, changed=form.changed_data, actor=request.user)
        messages.success(request, _("Saved."))
        return redirect("annotate:settings", project_id)
    context = {"membership": membership, "project": membership.project, "form": form}
    return render(request, "annotate/settings.html", context, status=422 if form.errors else 200)
