from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms.models import model_to_dict
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.projects import MOST_EXAMPLES, ExampleFormSet, GuidelineForm
from annotate.models import Guideline, Membership, Role
from annotate.queries.projects import newest_guideline
from annotate.rendering import render_markdown
from annotate.services.projects import Example, GuidelineMovedError, example_of, write_guideline

_EXAMPLE = ["prompt", "a", "b", "answer", "why"]


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
    examples = _example_forms(request, membership, newest)
    # A script may send the text alone: the examples stay as they are.
    sent = examples.is_bound
    valid = request.method == "POST" and form.is_valid() and (not sent or examples.is_valid())
    if "add" in request.POST:
        return _edit_page(request, membership, form=GuidelineForm(initial=request.POST.dict()), examples=examples)
    written = [Example(**{name: row[name] for name in _EXAMPLE}) for row in _kept(examples)] if valid and sent else None
    preview = render_markdown(form.cleaned_data["text"]) if valid and "preview" in request.POST else None
    if valid and preview is None:
        try:
            made = write_guideline(
                project=membership.project, created_by=request.user, examples=written, **form.cleaned_data
            )
            messages.success(request, _("Version %(version)s is in force.") % {"version": made.version})
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
    return _edit_page(
        request, membership, form=form, examples=examples, preview=preview, previewed=written,
        status=422 if form.errors or (sent and not examples.is_valid()) else 200,
    )  # fmt: skip


def _edit_page(
    request: SignedInRequest,
    membership: Membership,
    *,
    form: GuidelineForm,
    examples: Any,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    newest = newest_guideline(membership.project)
    context = {
        "membership": membership,
        "project": membership.project,
        "form": form,
        "examples": examples,
        "newest": newest,
        "newest_html": render_markdown(newest.text) if newest and form.non_field_errors() else "",
    }
    return render(request, "annotate/guideline_form.html", context | more, status=status)


def _example_forms(request: SignedInRequest, membership: Membership, newest: Guideline | None) -> Any:
    """The forms as sent, with one more where that was asked for; else those of the newest version.

    ``?example=ID`` in the address adds one that is made of that comparison.
    """
    if "examples-TOTAL_FORMS" in request.POST:
        data = request.POST.copy()
        total = str(data["examples-TOTAL_FORMS"])
        if "add" in data and total.isascii() and total.isdigit() and int(total) < MOST_EXAMPLES:
            data["examples-TOTAL_FORMS"] = str(int(total) + 1)
        return ExampleFormSet(data, prefix="examples")
    there = [model_to_dict(row, _EXAMPLE) for row in newest.examples.all()] if newest else []
    asked = request.GET.get("example", "")
    if asked.isascii() and asked.isdigit() and len(asked) < 19:
        comparison = membership.project.comparisons.select_related("prompt", "first", "second").filter(pk=asked).first()
        there += [asdict(example_of(comparison))] if comparison else []
    return ExampleFormSet(initial=there, prefix="examples")


def _kept(examples: Any) -> list[dict[str, Any]]:
    """What was written, but for what is to be taken out and what was left empty."""
    return [form.cleaned_data for form in examples if form.cleaned_data and not form.cleaned_data.get("DELETE")]
