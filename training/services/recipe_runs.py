"""A recipe under way: start it, go from stage to stage, continue it after a mend, cancel it.

Every stage is a run like any other, planned and opened by ``services.runs``; what is added is where it starts from, and
what comes next. A stage's snapshot is frozen when the stage begins, so that nothing is trained on that was taken back
while earlier stages ran.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from annotate.models import User
from annotate.said import Said
from annotate.services.audit import record_deed
from training.engine.checks import SpecError
from training.models import Loop, Policy, Recipe, RecipeRun, Run
from training.queries.recipes import policy_after, run_at
from training.recipes import Stage, refused, stage_said, stages_from
from training.services.recipes import check_stages
from training.services.runs import (
    CannotStartError,
    Plan,
    cancel_run,
    one_at_a_time,
    open_run,
    plan_run,
    refuse_if_busy,
    reward_model_named,
    spec_problems,
)
from training.states import RUN_ACTIVE


def start_recipe(*, recipe: Recipe, loop: Loop, start: Policy, actor: User | None) -> RecipeRun:
    """Runs the recipe from the policy ``start``: its first stage is opened now, the others by the tick.

    All stages are checked first, as far as that can be done before there is a policy to start from. Raises
    ``AlreadyRunningError`` or ``CannotStartError``, which names the stage.
    """
    refuse_if_busy(recipe.project_id)
    stages = stages_from(recipe.stages)
    if not stages or recipe.archived_at is not None:
        raise CannotStartError(Said("The recipe has no stages yet, or is archived."))
    check_stages(loop=loop, stages=stages, start=start)
    try:
        plan = _plan(loop, stages[0], start)
    except SpecError as error:
        raise CannotStartError(refused(stages, 1, spec_problems(error))) from error
    except CannotStartError as error:
        raise CannotStartError(refused(stages, 1, error.args[0])) from error
    with one_at_a_time(recipe.project_id):
        recipe_run = RecipeRun.objects.create(
            project=recipe.project,
            number=1 + (recipe.project.recipe_runs.aggregate(Max("number"))["number__max"] or 0),
            recipe=recipe,
            name=recipe.name,
            version=recipe.version,
            stages=recipe.stages,
            start=start,
            created_by=actor,
        )
        _record(recipe_run, "recipe.started", actor, start=start.number)
        _open(recipe_run, plan, 1, started_by=actor)
    return recipe_run


def go_on(*, recipe_run: RecipeRun) -> bool:
    """What follows from the run of the present stage: the next stage, the end, or a stop that says what to do.

    False where nothing follows yet, or somebody else was first. Safe to repeat, and for two at once.
    """
    run = run_at(recipe_run, recipe_run.at)
    policy = None if run is None else policy_after(run)
    if run is None or run.state in RUN_ACTIVE:
        return False
    if policy is None:
        return _stop(recipe_run, _ended_badly(recipe_run, run))
    if recipe_run.at == len(recipe_run.stages) and run.state == Run.State.FINISHED:
        return _finish(recipe_run, policy)
    if (why := _why_not_further(run, policy, last=recipe_run.at == len(recipe_run.stages))) is not None:
        return _stop(recipe_run, why)
    return _begin_next(recipe_run, policy, left=RecipeRun.State.RUNNING, actor=None)


def continue_recipe(
    *,
    recipe_run: RecipeRun,
    loop: Loop,
    settings: Mapping[str, Any],
    aggregation: str,
    actor: User,
    like: Run | None = None,
    reward_model: int | None = None,
) -> Run:
    """Begins the stage at which it stopped again, with these settings, on the judgments of now, or those of ``like``.

    ``reward_model`` is the number of what it trains against, as in a ``Stage``.

    Raises ``SpecError`` (keyed by field), ``AlreadyRunningError`` or ``CannotStartError``.
    """
    refuse_if_busy(recipe_run.project_id)
    at = recipe_run.at
    stage = Stage(stages_from(recipe_run.stages)[at - 1].method, settings, aggregation, reward_model)
    plan = _plan(loop, stage, start_of(recipe_run, at), like=like)
    with one_at_a_time(recipe_run.project_id):
        if not _move(recipe_run, left=RecipeRun.State.STOPPED, to=RecipeRun.State.RUNNING, at=at):
            raise CannotStartError(Said("Somebody else continued it first, or it has not stopped."))
        _record(recipe_run, "recipe.continued", actor, stage=at)
        return _open(recipe_run, plan, at, started_by=actor)


def accept_policy(*, recipe_run: RecipeRun, actor: User) -> None:
    """Goes on from the policy of the stage at which it stopped, though the guards hold it back or nobody scored it.

    Where the next stage cannot begin it stops there, and its message says why. Raises ``AlreadyRunningError`` or
    ``CannotStartError``.
    """
    refuse_if_busy(recipe_run.project_id)
    run = run_at(recipe_run, recipe_run.at)
    policy = None if run is None else policy_after(run)
    if policy is None or recipe_run.at >= len(recipe_run.stages):
        raise CannotStartError(Said("There is no policy to go on from."))
    if not _begin_next(recipe_run, policy, left=RecipeRun.State.STOPPED, actor=actor):
        raise CannotStartError(Said("Somebody else continued it first, or it has not stopped."))


def cancel_recipe(*, recipe_run: RecipeRun, actor: User) -> None:
    """Ends the run that is under way, and with it the recipe. What earlier stages made stays. Idempotent."""
    if recipe_run.state == RecipeRun.State.RUNNING:
        _record(recipe_run, "recipe.cancelled", actor, stage=recipe_run.at)
    while recipe_run.state == RecipeRun.State.RUNNING:
        run = run_at(recipe_run, recipe_run.at)
        if run is not None and run.state in RUN_ACTIVE:
            cancel_run(run=run, actor=actor)
            run.refresh_from_db(fields=["cancel_requested_at"])
            if run.cancel_requested_at is not None:
                go_on(recipe_run=recipe_run)
                return
        elif _stop(recipe_run, Said("Cancelled by %(who)s.", who=str(actor))):
            return
        # Its run ended, or the next stage began, between looking and asking.
        recipe_run.refresh_from_db()


def start_of(recipe_run: RecipeRun, place: int) -> Policy:
    """Where the stage starts from: what the one before it made. Raises ``CannotStartError``."""
    if place == 1:
        return recipe_run.start
    run = run_at(recipe_run, place - 1)
    policy = None if run is None else policy_after(run)
    if policy is None:
        raise CannotStartError(Said("There is no policy to go on from."))
    return policy


# --- Steps ------------------------------------------------------------------------------------------------------------


def _plan(loop: Loop, stage: Stage, parent: Policy, *, like: Run | None = None) -> Plan:
    return plan_run(
        loop=loop,
        parent=parent,
        method=stage.method,
        settings=stage.settings,
        aggregation=stage.aggregation,
        like=like,
        reward_model=reward_model_named(loop=loop, method=stage.method, number=stage.reward_model),
    )


def _open(recipe_run: RecipeRun, plan: Plan, place: int, *, started_by: User | None) -> Run:
    stages = len(recipe_run.stages)
    reason = Said("recipe %(name)s, stage %(at)s of %(stages)s", name=recipe_run.name, at=place, stages=stages)
    return open_run(plan, started_by=started_by, reason=reason, recipe_run=recipe_run, stage=place)


def _begin_next(recipe_run: RecipeRun, policy: Policy, *, left: str, actor: User | None) -> bool:
    """Opens the stage after the present one on ``policy``; where it cannot begin, the recipe stops there, saying why.

    False: somebody else was first. ``actor`` is None for what the tick does.
    """
    stages, place = stages_from(recipe_run.stages), recipe_run.at + 1
    loop = Loop.objects.select_related("project", "sampler").get(pk=recipe_run.project_id)
    try:
        plan = _plan(loop, stages[place - 1], policy)
    except (SpecError, CannotStartError) as error:
        why = spec_problems(error) if isinstance(error, SpecError) else error.args[0]
        stopped = RecipeRun.State.STOPPED
        return _move(recipe_run, left=left, to=stopped, at=place, message=refused(stages, place, why))
    try:
        with one_at_a_time(recipe_run.project_id):
            if not _move(recipe_run, left=left, to=RecipeRun.State.RUNNING, at=place):
                return False
            if actor is not None:
                _record(recipe_run, "recipe.continued", actor, stage=place)
            _open(recipe_run, plan, place, started_by=actor)
    except CannotStartError:
        if actor is not None:
            raise
        return False  # A run that is no part of the recipe slipped in: it waits until that has ended.
    return True


def _move(recipe_run: RecipeRun, *, left: str, to: str, at: int, message: str = "") -> bool:
    """Moves it if it still is where the caller saw it: in the state ``left``, at the stage ``recipe_run.at``."""
    here = RecipeRun.objects.filter(pk=recipe_run.pk, state=left, at=recipe_run.at)
    ended = None if to == RecipeRun.State.RUNNING else timezone.now()
    return here.update(state=to, at=at, message=message, ended_at=ended) == 1


def _finish(recipe_run: RecipeRun, policy: Policy) -> bool:
    sampler = Loop.objects.select_related("sampler").get(pk=recipe_run.project_id).sampler
    if stages_from(recipe_run.stages)[-1].own.makes_reward_model:
        message = Said("All its stages are over.")
    elif policy.guard_failures:
        message = Said("It ends with policy %(number)s, which the guards hold back.", number=policy.number)
    elif sampler is not None and sampler.pk != policy.pk:
        # It began from another policy than the one that is sampled from: services.scoring only measures such a one.
        message = Said(
            "It ends with policy %(number)s, to be compared: it began from policy %(start)s, and the next answers "
            "still come from policy %(sampler)s.",
            number=policy.number,
            start=recipe_run.start.number,
            sampler=sampler.number,
        )
    else:
        message = Said("It ends with policy %(number)s; the next answers come from it.", number=policy.number)
    finished = RecipeRun.State.FINISHED
    return _move(recipe_run, left=RecipeRun.State.RUNNING, to=finished, at=recipe_run.at, message=message)


def _stop(recipe_run: RecipeRun, message: str) -> bool:
    """Stops it, unless a lead has just resumed its run: that locks the row first."""
    with transaction.atomic():
        RecipeRun.objects.select_for_update().get(pk=recipe_run.pk)
        if recipe_run.runs.filter(state__in=RUN_ACTIVE).exists():
            return False
        stopped = RecipeRun.State.STOPPED
        return _move(recipe_run, left=RecipeRun.State.RUNNING, to=stopped, at=recipe_run.at, message=message)


# --- Words ------------------------------------------------------------------------------------------------------------


def _why_not_further(run: Run, policy: Policy, *, last: bool) -> Said | None:
    """Why the next stage does not begin by itself on a stage's policy, or None when it does."""
    if run.cancel_requested_at is not None:
        return Said("A lead cancelled it after policy %(number)s was made.", number=policy.number)
    if run.state != Run.State.FINISHED and last:
        return Said("Policy %(number)s was made, but not scored. Have its run scored again.", number=policy.number)
    if run.state != Run.State.FINISHED:
        return Said(
            "Policy %(number)s was made, but not scored. Have its run scored again, go on from it all the same, or "
            "begin its stage again.",
            number=policy.number,
        )
    if policy.guard_failures:
        return Said(
            "The guards hold policy %(number)s back. Look at its answers; go on from it all the same, or begin its "
            "stage again with other settings.",
            number=policy.number,
        )
    return None


def _ended_badly(recipe_run: RecipeRun, run: Run) -> Said:
    stage = stage_said(stages_from(recipe_run.stages), recipe_run.at)
    if run.state == Run.State.CANCELLED:
        return Said(
            "%(stage)s: run %(run)s was cancelled. Resume that run, or begin the stage again.",
            stage=stage,
            run=run.number,
        )
    return Said(
        "%(stage)s: run %(run)s failed. Mend what its page names, then resume that run or begin the stage again.",
        stage=stage,
        run=run.number,
    )


def _record(recipe_run: RecipeRun, verb: str, actor: User | None, **detail: Any) -> None:
    subject = f"recipe run {recipe_run.number}"
    record_deed(project=recipe_run.project, actor=actor, verb=verb, subject=subject, name=recipe_run.name, **detail)
