"""What the pages about recipes show, and where a recipe under way stands."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet

from annotate.models import Project
from training.models import Policy, Recipe, RecipeRun, Run
from training.queries.registry import learned_by
from training.queries.runs import why_not_resumable, why_not_scorable
from training.recipes import Stage, stages_from
from training.services.defaults import default_settings
from training.states import RUN_ACTIVE

# --- Where it stands --------------------------------------------------------------------------------------------------


def run_at(recipe_run: RecipeRun, place: int) -> Run | None:
    """The newest run of a stage; None where it has not begun."""
    return recipe_run.runs.filter(stage=place).order_by("-number").first()


def policy_after(run: Run) -> Policy | None:
    """What the next stage starts from: what the run made, or where it finished without one, what it started from."""
    made = Policy.objects.filter(run=run).first()
    return run.parent if made is None and run.state == Run.State.FINISHED else made


# --- Lists ------------------------------------------------------------------------------------------------------------


def recipes_of(project: Project) -> QuerySet[Recipe]:
    """The project's recipes by name, archived ones last, with how often each has run (``times``)."""
    return project.recipes.annotate(times=Count("runs")).order_by("archived_at", "name")


def recipe_runs_of(project: Project) -> QuerySet[RecipeRun]:
    """Newest first, with all that a list shows."""
    return project.recipe_runs.select_related("recipe", "start", "created_by").order_by("-number")


@dataclass(frozen=True, slots=True)
class Shown:
    """A stage as a page shows it: its place from 1, and what in its settings is not as usual."""

    place: int
    stage: Stage
    changes: list[tuple[str, Any]]


def shown_stages(kept: list[dict[str, Any]], *, base_model: str) -> list[Shown]:
    """The stages of a recipe, or of a run of it."""
    return [
        Shown(place, stage, _changes(stage, base_model=base_model)) for place, stage in enumerate(stages_from(kept), 1)
    ]


def _changes(stage: Stage, *, base_model: str) -> list[tuple[str, Any]]:
    losses = stage.settings.get("loss_type", ())
    usual = default_settings(method=stage.method, base_model=base_model, losses=losses)
    against = [] if stage.reward_model is None else [("reward_model", stage.reward_model)]
    return against + [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else value)
        for name, value in stage.settings.items()
        if value != usual.get(name, value)
    ]


# --- One run of a recipe ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Course:
    """One stage of a recipe's run: what was planned, its runs (the newest first), and what came of the newest."""

    shown: Shown
    runs: list[Run]
    policy: Policy | None

    @property
    def run(self) -> Run | None:
        return self.runs[0] if self.runs else None


@dataclass(frozen=True, slots=True)
class Progress:
    """A recipe's run as its page shows it. ``seen`` is a mark that changes with everything that is shown."""

    recipe_run: RecipeRun
    courses: list[Course]
    # The newest policy that came of it, and the start and that one as `_two_metrics.html` compares them.
    last: Policy | None
    both_metrics: list[dict[str, Any]]
    learned: list[Any]
    # What a lead may do now.
    can_cancel: bool
    can_resume: Run | None
    can_score: Run | None
    can_begin_again: bool
    can_accept: Policy | None
    # Numbers of the runs that made policies, for their curves in one figure.
    curves: list[int]
    seen: str


def progress_of(recipe_run: RecipeRun, *, base_model: str) -> Progress:
    """Everything that the page of a recipe's run shows."""
    runs = list(recipe_run.runs.select_related("parent", "snapshot").order_by("-number"))
    made = {policy.run_id: policy for policy in Policy.objects.select_related("run").filter(run__in=runs)}
    courses = []
    for shown in shown_stages(recipe_run.stages, base_model=base_model):
        own = [run for run in runs if run.stage == shown.place]
        courses.append(Course(shown, own, made.get(own[0].pk) if own else None))
    last = next((course.policy for course in reversed(courses) if course.policy), None)
    here = courses[recipe_run.at - 1]
    stopped = recipe_run.state == RecipeRun.State.STOPPED
    ended = here.run if stopped and here.run is not None and here.run.state not in RUN_ACTIVE else None
    learned = learned_by([policy for policy in (recipe_run.start, last) if policy is not None])
    marks = [
        [recipe_run.state, recipe_run.at, str(recipe_run.message)],
        *[[run.state, run.step, run.total_steps, str(run.cancel_requested_at)] for run in runs],
    ]
    return Progress(
        recipe_run=recipe_run,
        courses=courses,
        last=last,
        both_metrics=[] if last is None else [recipe_run.start.metrics, last.metrics],
        learned=[] if last is None else [learned.get(recipe_run.start.pk), learned.get(last.pk)],
        can_cancel=recipe_run.state == RecipeRun.State.RUNNING
        and not (here.run is not None and here.run.cancel_requested_at),
        can_resume=ended if ended is not None and why_not_resumable(ended) is None else None,
        can_score=ended if ended is not None and why_not_scorable(ended) is None else None,
        can_begin_again=stopped,
        can_accept=here.policy if stopped and recipe_run.at < len(courses) else None,
        curves=[run.number for run in runs if run.pk in made],
        seen=hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:16],
    )
