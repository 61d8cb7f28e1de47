from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.projects import GuidelineForm
from annotate.models import Role
from annotate.queries.projects import newest_guideline
from annotate.rendering import render_markdown
from annotate.services.projects import GuidelineMovedError, write_guideline


@require_safe
@login_required
def guideline(request: SignedInRequest, project_id: int, version: int | None = None) -> HttpResponse:
    """The newest version of the guideline, or an older one by its number."""
    membership = membership_for(request.user, project_id)
    project = membership.project
    newest = newest_guideline(project)
    shown = newest if version is None else get_object_or_404(project.guidelines, version=version)
    context = {
        "membership": membership,
        "project": project,
        "guideline": shown,
        "guideline_html": render_markdown(shown.text) if shown else "",
        "newest": newest,
        "versions": project.guidelines.select_related("created_by").defer("text"),
    }
    return render(request, "annotate/guideline.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit_guideline(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Write the next version. The preview button shows it and saves nothing."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    newest = newest_guideline(membership.project)
    now = {"text": newest.text if newest else "", "based_on": newest.version if newest else 0}
    form = GuidelineForm(request.POST or None, initial=now)
    valid = request.method == "POST" and form.is_valid()
    preview = render_markdown(form.cleaned_data["text"]) if valid and "preview" in request.POST else None
    if valid and preview is None:
        try:
            written = write_guideline(project=membership.project, created_by=request.user, **form.cleaned_data)
            messages.success(request, _("Version %(version)s is in force.") % {"version": written.version})
            return redirect("annotate:guideline", project_id)
        except GuidelineMovedError:
            form.add_error(
                None,
                _("Version %(version)s was saved while you were writing. Read it, then save again to replace it.")
                % {"version": now["based_on"]},
            )
            # The next try is made with open eyes.
            data = request.POST.copy()
            data["based_on"] = str(now["based_on"])
            form.data = data
    context = {
        "membership": membership,
        "project": membership.project,
        "form": form,
        "preview": preview,
        "newest": newest,
        "newest_html": render_markdown(now["text"]) if form.non_field_errors() else "",
    }
    return render(request, "annotate/guideline_form.html", context, status=422 if form.errors else 200)
