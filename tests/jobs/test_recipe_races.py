"""Ticks and leads who reach for the same recipe at once: each stage begins once, and nothing is left hanging."""

from pathlib import Path

import pytest

from tests.jobs.races import environment, said_by

# Runs on a database of its own, in threads that wait for each other before each deed.
RACES = """
import json
from functools import partial
import django
django.setup()
from annotate.models import Project
from tests.cast import make_comparison, make_judgment, make_prompt, make_user, policy_author
from tests.jobs import races
from training.models import Job, Policy, RecipeRun, Run
from training.recipes import Stage
from training.services.loops import ensure_loop
from training.services.recipe_runs import cancel_recipe, continue_recipe, go_on, start_recipe
from training.services.recipes import make_recipe
from training.services.resuming import resume_run
from training.services.runs import CannotStartError, cancel_run
from training.states import RUN_ACTIVE

at_once = partial(races.at_once, forgive=(CannotStartError,))

def fresh(recipe_run):
    return RecipeRun.objects.select_related("project", "start").get(pk=recipe_run.pk)

def run_of(recipe_run):
    return Run.objects.select_related("project", "snapshot", "parent").filter(recipe_run=recipe_run).latest("number")

alice = make_user("alice")
said = {"started": [], "stages": [], "settled": [], "cancelled": []}
for turn in range(4):
    project = Project.objects.create(name=f"Project {turn}", created_by=alice)
    loop = ensure_loop(project=project, base_model="owner/name")
    for number in range(9):
        make_judgment(make_comparison(make_prompt(project), round=1), alice, "A")
    base, stages = loop.sampler, [Stage("dpo", {"min_rows": 4}), Stage("kto", {"source": "judgments", "min_rows": 4})]
    recipe = make_recipe(project=project, name="Night", stages=stages, actor=alice)
    at_once(*[lambda: start_recipe(recipe=recipe, loop=loop, start=base, actor=alice)] * 4)
    said["started"].append([project.recipe_runs.count(), project.runs.count()])

    recipe_run, run = project.recipe_runs.get(), project.runs.get()
    Policy.objects.create(
        project=project, number=1, parent=base, run=run, author=policy_author(project, 1), base_model="owner/name",
        adapter_path="policies/x", manifest_sha256="f" * 64,
    )
    run.jobs.update(state="done")
    Run.objects.filter(pk=run.pk).update(state="finished")
    copies = [fresh(recipe_run) for _ in range(4)]
    at_once(*[lambda copy=copy: go_on(recipe_run=copy) for copy in copies])
    said["stages"].append([fresh(recipe_run).at, project.runs.filter(stage=2).count()])

    cancel_run(run=run_of(recipe_run), actor=alice)
    if turn % 2:  # the tick has stopped it already
        go_on(recipe_run=fresh(recipe_run))
    copies = [fresh(recipe_run) for _ in range(3)]
    at_once(
        lambda: go_on(recipe_run=copies[0]),
        lambda: go_on(recipe_run=copies[1]),
        lambda: resume_run(run=run_of(recipe_run), actor=alice),
        lambda: continue_recipe(recipe_run=copies[2], loop=loop, settings={}, aggregation="", actor=alice),
    )
    go_on(recipe_run=fresh(recipe_run))
    active = project.runs.filter(state__in=RUN_ACTIVE).count()
    said["settled"].append([active <= 1, (fresh(recipe_run).state == "running") == (active == 1)])

    copies = [fresh(recipe_run) for _ in range(3)]
    at_once(
        lambda: cancel_recipe(recipe_run=copies[0], actor=alice),
        lambda: cancel_recipe(recipe_run=copies[1], actor=alice),
        lambda: go_on(recipe_run=copies[2]),
    )
    go_on(recipe_run=fresh(recipe_run))
    said["cancelled"].append([fresh(recipe_run).state, project.runs.filter(state__in=RUN_ACTIVE).count()])
print(json.dumps(said))
"""


def test_each_stage_begins_once_and_a_recipe_runs_exactly_while_a_run_of_it_does(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert said_by(RACES, env=environment("postgresql", tmp_path, request)) == {
        "started": [[1, 1]] * 4,
        "stages": [[2, 1]] * 4,
        "settled": [[True, True]] * 4,
        "cancelled": [["stopped", 0]] * 4,
    }
