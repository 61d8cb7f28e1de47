"""``manage.py recipe PROJECT {list,make,start,show,...} [NAME or NUMBER]``: what the pages do (docs/recipes.md)."""

import shlex
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.models import Project, User
from annotate.shell import project_of
from training.engine.checks import SpecError
from training.engine.methods import METHODS
from training.models import Loop, Policy, Recipe, RecipeRun
from training.queries.recipes import policy_after, recipe_runs_of, recipes_of, run_at
from training.recipes import Stage, path_of, stages_from
from training.services.defaults import settings_of, with_changes
from training.services.recipe_runs import accept_policy, cancel_recipe, continue_recipe, start_recipe
from training.services.recipes import RecipeError, archive_recipe, check_stage, make_recipe
from training.services.runs import CannotStartError, spec_problems
from training.shell import actor_of, knob

OF_RECIPES = ("make", "start", "archive")
AGAINST = "reward_model="
OF_RUNS = ("show", "cancel", "again", "accept")


class Command(BaseCommand):
    help = (
        "Recipes of a project: list them and their runs, make one of stages, start it, show how far a run of it is, "
        "cancel it, begin the stage at which it stopped again, or go on from that stage's policy all the same."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id", type=int)
        parser.add_argument("action", choices=("list", *OF_RECIPES, *OF_RUNS))
        parser.add_argument(
            "which",
            nargs="?",
            default="",
            help=f"{', '.join(OF_RECIPES)}: the recipe's name. {', '.join(OF_RUNS)}: the recipe run's number; the "
            "newest without it.",
        )
        parser.add_argument(
            "--stage",
            action="append",
            default=[],
            metavar="'METHOD NAME=VALUE ...'",
            help="make: a stage, such as 'dpo beta=0.05 loss_type=sigmoid,sft' or 'rloo reward_model=2' (unless "
            "given, the newest when the stage begins); often, in order.",
        )
        parser.add_argument(
            "--from", type=int, dest="start", help="start: the policy's number; unless given, the sampler."
        )
        parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="again: a setting; often.")
        parser.add_argument(
            "--reward-model", type=int, metavar="NUMBER", help="again: another one than before to train against."
        )
        parser.add_argument("--as", dest="username", help="Who does it, for the audit log; else the project's creator.")
        parser.add_argument("--wait", action="store_true", help="Wait until it has ended; fail when it stopped.")

    def handle(self, *, project_id: int, action: str, which: str, **options: Any) -> None:
        project = project_of(project_id)
        actor = actor_of(project, options["username"])
        try:
            if action == "list":
                self._list(project)
            elif action == "make":
                self._make(project, which, options["stage"], actor)
            elif action == "archive":
                deleted = archive_recipe(recipe=_recipe(project, which), actor=actor)
                self.stdout.write("Deleted: it never ran." if deleted else "Archived.")
            elif action == "start":
                self._show(_start(project, which, options["start"], actor), wait=options["wait"])
            else:
                recipe_run = _recipe_run(project, which)
                _steer(recipe_run, action, options["set"], options["reward_model"], actor)
                recipe_run.refresh_from_db()
                self._show(recipe_run, wait=options["wait"])
        except (RecipeError, CannotStartError) as error:
            raise CommandError(str(error)) from error
        except SpecError as error:
            raise CommandError(str(spec_problems(error))) from error

    def _list(self, project: Project) -> None:
        for recipe in recipes_of(project):
            archived = "  archived" if recipe.archived_at else ""
            self.stdout.write(f"{recipe.name}: {path_of(stages_from(recipe.stages))}{archived}")
        for recipe_run in recipe_runs_of(project)[:50]:
            self.stdout.write(_line(recipe_run))

    def _make(self, project: Project, name: str, stages: list[str], actor: User) -> None:
        if not name or not stages:
            raise CommandError("Give a name and at least one --stage.")
        loop, made = _loop(project), [_stage(text) for text in stages]
        for stage in made:
            check_stage(loop=loop, stage=stage)
        recipe = make_recipe(project=project, name=name, stages=made, actor=actor)
        self.stdout.write(f"{recipe.name}: {path_of(made)}")

    def _show(self, recipe_run: RecipeRun, *, wait: bool) -> None:
        shown = ""
        while True:
            if (line := _line(recipe_run)) != shown:
                shown = line
                self.stdout.write(line)
            if not wait or recipe_run.state != RecipeRun.State.RUNNING:
                break
            time.sleep(1)
            recipe_run.refresh_from_db()
        for place in range(1, len(recipe_run.stages) + 1):
            run = run_at(recipe_run, place)
            if run is not None:
                policy = policy_after(run)
                self.stdout.write(
                    f"  stage {place}: {run.method}, run {run.number} {run.state}, {policy or 'no policy'}"
                )
        if wait and recipe_run.state == RecipeRun.State.STOPPED:
            raise CommandError(f"Recipe run {recipe_run.number} stopped.")


def _line(recipe_run: RecipeRun) -> str:
    where = f"stage {recipe_run.at} of {len(recipe_run.stages)}"
    return f"recipe run {recipe_run.number}: {recipe_run.name}  {recipe_run.state}  {where}  {recipe_run.message}"


def _loop(project: Project) -> Loop:
    loop = Loop.objects.select_related("project", "sampler").filter(project=project).first()
    if loop is None:
        raise CommandError(f"Project {project.pk} has no base model yet.")
    return loop


def _stage(text: str) -> Stage:
    method, *knobs = shlex.split(text)
    if method not in METHODS:
        raise CommandError(f"--stage {text}: begin with a method among {', '.join(sorted(METHODS))}.")
    against = [raw.removeprefix(AGAINST) for raw in knobs if raw.startswith(AGAINST)]
    if len(against) > 1 or not all(number.isdecimal() and len(number) < 10 for number in against):
        raise CommandError(f"--stage {text}: give {AGAINST}NUMBER once.")
    number = int(against[0]) if against else None
    return Stage(method, dict(knob(raw) for raw in knobs if not raw.startswith(AGAINST)), reward_model=number)


def _recipe(project: Project, name: str) -> Recipe:
    recipe = project.recipes.filter(name=name, archived_at__isnull=True).first()
    if recipe is None:
        raise CommandError(f"Project {project.pk} has no recipe {name!r}.")
    return recipe


def _recipe_run(project: Project, number: str) -> RecipeRun:
    rows = recipe_runs_of(project)
    found = rows.filter(number=int(number)).first() if number.isdecimal() else rows.first() if not number else None
    if found is None:
        raise CommandError(f"Project {project.pk} has no recipe run {number}." if number else "No recipe has run yet.")
    return found


def _start(project: Project, name: str, start: int | None, actor: User) -> RecipeRun:
    loop, recipe = _loop(project), _recipe(project, name)
    policy = loop.sampler if start is None else Policy.objects.filter(project=project, number=start).first()
    if policy is None:
        raise CommandError(f"Project {project.pk} has no policy {start}.")
    return start_recipe(recipe=recipe, loop=loop, start=policy, actor=actor)


def _steer(recipe_run: RecipeRun, action: str, changes: list[str], reward_model: int | None, actor: User) -> None:
    if action == "cancel":
        cancel_recipe(recipe_run=recipe_run, actor=actor)
    elif action == "accept":
        accept_policy(recipe_run=recipe_run, actor=actor)
    elif action == "again":
        run, stage = run_at(recipe_run, recipe_run.at), stages_from(recipe_run.stages)[recipe_run.at - 1]
        before = stage.settings if run is None else settings_of(run)
        if reward_model is None:
            tried = None if run is None else run.reward_model
            reward_model = stage.reward_model if tried is None else tried.number
        loop = _loop(recipe_run.project)
        settings = with_changes(
            method=stage.method, base_model=loop.base_model, kept=before, changes=dict(map(knob, changes))
        )
        continue_recipe(
            recipe_run=recipe_run,
            loop=loop,
            settings=settings,
            aggregation=stage.aggregation,
            reward_model=reward_model,
            actor=actor,
        )
