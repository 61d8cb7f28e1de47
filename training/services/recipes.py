"""Recipes: make, change, archive them, and check that their stages can be run one on top of the other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from annotate.models import Project, User
from annotate.said import Said
from annotate.services.audit import record_deed
from annotate.services.content import clean_text
from training.engine.checks import SpecError
from training.engine.spec import TrainSpec
from training.models import Loop, Policy, Recipe
from training.recipes import MOST_STAGES, Stage, path_of, refused, stages_from
from training.services.defaults import train_spec
from training.services.runs import CannotStartError, reward_model_named, spec_problems


class RecipeError(Exception):
    """A recipe cannot be saved so; the message says why."""


def make_recipe(*, project: Project, name: str, stages: Sequence[Stage], actor: User | None) -> Recipe:
    """A recipe whose stages the caller has checked (``check_stage``). Raises ``RecipeError``."""
    _few_enough(stages)
    with _name_is_free():
        recipe = Recipe.objects.create(
            project=project, name=clean_text(name), stages=[stage.to_json() for stage in stages], created_by=actor
        )
        _record(recipe, "recipe.made", actor, stages=path_of(stages))
    return recipe


def change_recipe(
    *, recipe: Recipe, version: int, actor: User | None, name: str | None = None, stages: Sequence[Stage] | None = None
) -> Recipe:
    """Another name, or other stages, which the caller has checked. Runs of it stay as they were.

    ``version`` is the one that the caller saw. Raises ``RecipeError``, also where somebody changed it since.
    """
    named = clean_text(name if name is not None else recipe.name)
    kept = stages_from(recipe.stages) if stages is None else list(stages)
    _few_enough(kept)
    with _name_is_free():
        here = Recipe.objects.filter(pk=recipe.pk, version=version, archived_at__isnull=True)
        if not here.update(name=named, stages=[stage.to_json() for stage in kept], version=version + 1):
            raise RecipeError(Said("Somebody changed or archived this recipe meanwhile. Look at it again."))
        recipe.refresh_from_db()
        _record(recipe, "recipe.changed", actor, stages=path_of(kept), version=recipe.version)
    return recipe


def archive_recipe(*, recipe: Recipe, actor: User | None) -> bool:
    """Takes it out of use. One that never ran is deleted (True); one that did is archived, and stays readable."""
    try:
        with transaction.atomic():
            _record(recipe, "recipe.deleted", actor)
            Recipe.objects.filter(pk=recipe.pk).delete()
    except (ProtectedError, IntegrityError):
        with transaction.atomic():
            if Recipe.objects.filter(pk=recipe.pk, archived_at__isnull=True).update(archived_at=timezone.now()):
                _record(recipe, "recipe.archived", actor)
        return False
    return True


def restore_recipe(*, recipe: Recipe, actor: User | None) -> None:
    """Back into use. Raises ``RecipeError`` where another has its name by now."""
    with _name_is_free():
        if Recipe.objects.filter(pk=recipe.pk, archived_at__isnull=False).update(archived_at=None):
            _record(recipe, "recipe.restored", actor)


# --- Checks -----------------------------------------------------------------------------------------------------------


def check_stage(*, loop: Loop, stage: Stage) -> TrainSpec:
    """What a stage's settings come to on the base.

    Raises ``SpecError``, keyed by field, as a start would, or ``CannotStartError`` where there is no such reward model.
    """
    return _spec_of(loop, stage, Policy.objects.get(project=loop.project, number=0))


def _spec_of(loop: Loop, stage: Stage, parent: Policy) -> TrainSpec:
    against = reward_model_named(loop=loop, method=stage.method, number=stage.reward_model)
    return train_spec(loop=loop, parent=parent, method=stage.method, settings=stage.settings, reward_model=against)


def check_stages(*, loop: Loop, stages: Sequence[Stage], start: Policy) -> None:
    """Each stage's settings on what the one before it will make, beginning with ``start``.

    Raises ``CannotStartError`` with the first stage that would be refused, hours later else.
    """
    parent = start
    for place, stage in enumerate(stages, 1):
        try:
            spec = _spec_of(loop, stage, parent)
        except SpecError as error:
            raise CannotStartError(refused(stages, place, spec_problems(error))) from error
        except CannotStartError as error:
            raise CannotStartError(refused(stages, place, error.args[0])) from error
        parent = _foreseen(parent, spec)


def _foreseen(parent: Policy, spec: TrainSpec) -> Policy:
    """A stand-in for the policy that the stage will make: an adapter, or a whole model. It is never saved."""
    if spec.own.makes_reward_model:
        return parent
    place = "policies/foreseen"
    return Policy(
        project=parent.project,
        parent=parent,
        base_model=parent.base_model,
        base_revision=parent.base_revision,
        adapter_path=place,
        model_path=place if spec.makes_whole_models else parent.model_path,
    )


def _few_enough(stages: Sequence[Stage]) -> None:
    if len(stages) > MOST_STAGES:
        raise RecipeError(Said("A recipe has at most %(most)s stages.", most=MOST_STAGES))


@contextmanager
def _name_is_free() -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise RecipeError(Said("The project has a recipe of that name already.")) from error


def _record(recipe: Recipe, verb: str, actor: User | None, **detail: Any) -> None:
    record_deed(project=recipe.project, actor=actor, verb=verb, subject=f"recipe {recipe.name}", **detail)
