"""The pages of recipes: make, change, copy and archive them, and start one."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Membership, Role
from annotate.telling import told_error
from training.engine.checks import SpecError
from training.engine.methods import METHODS
from training.forms.runs import RunForm
from training.models import Loop, Recipe
from training.queries import recipes as queries
from training.queries.registry import offered_to
from training.queries.stock import offers
from training.recipe_forms import RecipeNameForm, StartRecipeForm
from training.recipes import Stage, moved, stages_from
from training.services import recipes as service
from training.services.defaults import default_settings
from training.services.recipe_runs import start_recipe
from training.services.recipes import RecipeError
from training.services.runs import AlreadyRunningError, CannotStartError
from training.views.runs import bound_form


def context_of(membership: Membership, **more: Any) -> dict[str, Any]:
    return {"membership": membership, "project": membership.project, "tab": "training:recipes"} | more


def loop_of(membership: Membership) -> Loop:
    return get_object_or_404(Loop.objects.select_related("project", "sampler"), project=membership.project)


def _recipe_of(membership: Membership, pk: int) -> Recipe:
    return get_object_or_404(Recipe.objects.select_related("project"), project=membership.project, pk=pk)


def _version(request: SignedInRequest) -> int:
    """The version that the form was made from; 0, which none has, where it does not say."""
    sent = request.POST.get("version", "")
    return int(sent) if sent.isdecimal() and len(sent) < 10 else 0


@require_safe
@login_required
def recipes(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    rows = [(recipe, stages_from(recipe.stages)) for recipe in queries.recipes_of(project)]
    loop = Loop.objects.filter(project=project).first()
    recipe_runs = queries.recipe_runs_of(project)[:25]
    return render(
        request, "training/recipes.html", context_of(membership, rows=rows, recipe_runs=recipe_runs, loop=loop)
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: SignedInRequest, project_id: int) -> HttpResponse:
    """A recipe without stages, or with those of the recipe ``copy``."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    loop_of(membership)
    named = request.GET.get("copy", "")
    copied = _recipe_of(membership, int(named)) if named.isdecimal() and len(named) < 16 else None
    initial = {"name": _("%(name)s, copy") % {"name": copied.name}} if copied else None
    form = RecipeNameForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        stages = stages_from(copied.stages) if copied else []
        try:
            recipe = service.make_recipe(
                project=membership.project, name=form.cleaned_data["name"], stages=stages, actor=request.user
            )
        except RecipeError as error:
            form.add_error("name", told_error(error))
        else:
            return redirect("training:recipe", project_id, recipe.pk)
    context = context_of(membership, form=form, copied=copied)
    return render(request, "training/recipe_new.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def recipe(request: SignedInRequest, project_id: int, recipe_id: int) -> HttpResponse:
    """Its stages, what starts it, and what became of it; a POST renames it."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found, loop = _recipe_of(membership, recipe_id), loop_of(membership)
    form = RecipeNameForm(request.POST or None, initial={"name": found.name})
    if request.method == "POST" and form.is_valid():
        try:
            service.change_recipe(
                recipe=found, version=_version(request), name=form.cleaned_data["name"], actor=request.user
            )
        except RecipeError as error:
            form.add_error("name", told_error(error))
        else:
            return redirect("training:recipe", project_id, found.pk)
    return _shown(request, membership, found, loop, form)


def _shown(
    request: SignedInRequest,
    membership: Membership,
    found: Recipe,
    loop: Loop,
    form: RecipeNameForm,
    start_form: StartRecipeForm | None = None,
) -> HttpResponse:
    context = context_of(
        membership,
        recipe=found,
        form=form,
        stages=queries.shown_stages(found.stages, base_model=loop.base_model),
        offers=offers(membership.project),
        start_form=start_form or StartRecipeForm(project=membership.project, usual=loop.sampler),
        recipe_runs=queries.recipe_runs_of(membership.project).filter(recipe=found)[:25],
    )
    wrong = form.errors or (start_form is not None and start_form.errors)
    return render(request, "training/recipe.html", context, status=422 if wrong else 200)


# --- Stages -----------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def stage(request: SignedInRequest, project_id: int, recipe_id: int, place: int | None = None) -> HttpResponse:
    """The form of a stage: as it is, or of another method; without ``place`` a new one at the end."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found, loop = _recipe_of(membership, recipe_id), loop_of(membership)
    stages = stages_from(found.stages)
    if place is not None and not 1 <= place <= len(stages):
        raise Http404("there is no such stage")
    now = Stage(loop.method) if place is None else stages[place - 1]
    if request.method == "POST":
        form = bound_form(request, loop, or_newest=True)
        if form.is_valid() and _save_stage(request, found, loop, form, place):
            return redirect("training:recipe", project_id, found.pk)
    else:
        form = _stage_form(loop, now, request.GET.get("method", ""))
    context = context_of(membership, recipe=found, form=form, place=place, loop=loop)
    return render(request, "training/stage.html", context, status=422 if form.errors else 200)


def _stage_form(loop: Loop, now: Stage, method: str) -> RunForm:
    chosen = method if method in METHODS else now.method
    kept = now.settings if chosen == now.method else {}
    return RunForm(
        method=chosen,
        settings=default_settings(method=chosen, base_model=loop.base_model) | dict(kept),
        aggregation=now.aggregation or loop.aggregation,
        offers=offers(loop.project),
        reward_models=offered_to(chosen, loop.project),
        against=now.reward_model if chosen == now.method else None,
        or_newest=True,
    )


def _save_stage(request: SignedInRequest, found: Recipe, loop: Loop, form: RunForm, place: int | None) -> bool:
    against = None if form.against is None else form.against.number
    new = Stage(form.chosen, form.settings(), form.cleaned_data.get("aggregation", ""), against)
    stages = stages_from(found.stages)
    changed = [*stages, new] if place is None else [*stages[: place - 1], new, *stages[place:]]
    try:
        service.check_stage(loop=loop, stage=new)
        service.change_recipe(recipe=found, version=_version(request), stages=changed, actor=request.user)
    except SpecError as error:
        form.refuse(error)
    except (RecipeError, CannotStartError) as error:
        form.add_error(None, told_error(error))
    else:
        return True
    return False


@require_POST
@login_required
def arrange(request: SignedInRequest, project_id: int, recipe_id: int, place: int) -> HttpResponse:
    """Moves a stage ``up`` or ``down``, or takes it out (``remove``)."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _recipe_of(membership, recipe_id)
    stages, deed = stages_from(found.stages), request.POST.get("deed")
    if deed == "remove":
        stages = [row for number, row in enumerate(stages, 1) if number != place]
    else:
        stages = moved(stages, place, by=-1 if deed == "up" else 1)
    try:
        service.change_recipe(recipe=found, version=_version(request), stages=stages, actor=request.user)
    except RecipeError as error:
        messages.warning(request, told_error(error))
    return redirect("training:recipe", project_id, found.pk)


# --- Use --------------------------------------------------------------------------------------------------------------


@require_POST
@login_required
def archive(request: SignedInRequest, project_id: int, recipe_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _recipe_of(membership, recipe_id)
    if service.archive_recipe(recipe=found, actor=request.user):
        messages.success(request, _("The recipe %(name)s is deleted.") % {"name": found.name})
        return redirect("training:recipes", project_id)
    messages.success(request, _("It is archived, because it has run: what it was stays readable."))
    return redirect("training:recipe", project_id, found.pk)


@require_POST
@login_required
def restore(request: SignedInRequest, project_id: int, recipe_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _recipe_of(membership, recipe_id)
    try:
        service.restore_recipe(recipe=found, actor=request.user)
    except RecipeError as error:
        messages.warning(request, told_error(error))
    return redirect("training:recipe", project_id, found.pk)


@require_POST
@login_required
def start(request: SignedInRequest, project_id: int, recipe_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found, loop = _recipe_of(membership, recipe_id), loop_of(membership)
    form = StartRecipeForm(request.POST, project=membership.project, usual=loop.sampler)
    if form.is_valid():
        try:
            begun = start_recipe(recipe=found, loop=loop, start=form.cleaned_data["start"], actor=request.user)
        except AlreadyRunningError as error:
            messages.info(request, told_error(error))
            if error.run.recipe_run is not None:
                return redirect("training:recipe_run", project_id, error.run.recipe_run.number)
            return redirect("training:run", project_id, error.run.number)
        except CannotStartError as error:
            form.add_error(None, told_error(error))
        else:
            return redirect("training:recipe_run", project_id, begun.number)
    return _shown(request, membership, found, loop, RecipeNameForm(initial={"name": found.name}), form)
