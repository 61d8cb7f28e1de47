"""The page of a recipe under way, or of what became of it, and what a lead may do about it."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Membership, Role
from annotate.telling import told_error
from training.engine.checks import SpecError
from training.forms.runs import RunForm
from training.models import Loop, RecipeRun
from training.queries.recipes import progress_of, run_at
from training.queries.registry import offered_to
from training.queries.stock import offers
from training.recipes import stages_from
from training.services.defaults import default_settings
from training.services.recipe_runs import accept_policy, cancel_recipe, continue_recipe
from training.services.runs import CannotStartError
from training.views.recipes import context_of, loop_of
from training.views.runs import bound_form, form_like


def _found(membership: Membership, number: int) -> RecipeRun:
    rows = RecipeRun.objects.select_related("project", "recipe", "start__run", "created_by")
    return get_object_or_404(rows, project=membership.project, number=number)


def _shown(membership: Membership, number: int) -> dict[str, Any]:
    found, loop = _found(membership, number), loop_of(membership)
    progress = progress_of(found, base_model=loop.base_model)
    return context_of(
        membership,
        recipe_run=found,
        progress=progress,
        loop=loop,
        left=found.start,
        right=progress.last,
        both_metrics=progress.both_metrics,
        learned=progress.learned,
    )


@require_safe
@login_required
def recipe_run(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    return render(request, "training/recipe_run.html", _shown(membership, number))


@require_safe
@login_required
def live(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """All of it that moves; 204 while the browser has seen all there is."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    context = _shown(membership, number)
    if request.GET.get("seen") == context["progress"].seen:
        return HttpResponse(status=204)
    return render(request, "training/_recipe_run.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def begin_again(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """The form of the stage at which it stopped, filled in as its last run advises; a POST begins it again."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found, loop = _found(membership, number), loop_of(membership)
    if request.method == "POST":
        method = stages_from(found.stages)[found.at - 1].method
        form = bound_form(request, loop, method=method, like=run_at(found, found.at))
        if form.is_valid() and _try_again(request, found, loop, form):
            return redirect("training:recipe_run", project_id, number)
    else:
        form = _as_planned(found, loop)
    context = context_of(membership, recipe_run=found, form=form, stages=len(found.stages))
    return render(request, "training/begin_again.html", context, status=422 if form.errors else 200)


def _as_planned(found: RecipeRun, loop: Loop) -> RunForm:
    """As the stage's newest run was started, with what its end advises; else as the recipe has it."""
    if (run := run_at(found, found.at)) is not None:
        form = form_like(loop, run, changed=True)
        form.initial["rows"] = "today"
        return form
    stage = stages_from(found.stages)[found.at - 1]
    usual = default_settings(method=stage.method, base_model=loop.base_model)
    return RunForm(
        method=stage.method,
        settings=usual | dict(stage.settings),
        aggregation=stage.aggregation or loop.aggregation,
        offers=offers(loop.project),
        reward_models=offered_to(stage.method, loop.project),
        against=stage.reward_model,
    )


def _try_again(request: SignedInRequest, found: RecipeRun, loop: Loop, form: RunForm) -> bool:
    try:
        continue_recipe(
            recipe_run=found,
            loop=loop,
            settings=form.settings(),
            aggregation=form.cleaned_data.get("aggregation", ""),
            like=form.same_rows_as,
            reward_model=None if form.against is None else form.against.number,
            actor=request.user,
        )
    except SpecError as error:
        form.refuse(error)
    except CannotStartError as error:
        form.add_error(None, told_error(error))
    else:
        return True
    return False


@require_POST
@login_required
def accept(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """On from the stage's policy, held back or not."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    try:
        accept_policy(recipe_run=_found(membership, number), actor=request.user)
    except CannotStartError as error:
        messages.warning(request, told_error(error))
    return redirect("training:recipe_run", project_id, number)


@require_POST
@login_required
def cancel(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    cancel_recipe(recipe_run=_found(membership, number), actor=request.user)
    messages.info(request, _("The recipe ends with the run that is under way. What earlier stages made stays."))
    return redirect("training:recipe_run", project_id, number)
