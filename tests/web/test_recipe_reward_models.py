"""A stage that trains against a reward model: the one it names, or the newest when it begins."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from annotate.models import Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.web.test_reward_models import published
from tests.web.test_runs import form_data
from training.models import Job, Loop, Recipe, RecipeRun, RewardModel, Run
from training.recipes import Stage, stages_from
from training.services.loops import ensure_loop
from training.services.recipe_runs import continue_recipe, go_on, start_recipe
from training.services.recipes import check_stage, make_recipe
from training.services.runs import CannotStartError, end_run, mark_training

pytestmark = pytest.mark.django_db


@pytest.fixture
def loop(project: Project, bob: User, tmp_path: Path) -> Iterator[Loop]:
    """Nine judged pairs and two reward models."""
    loop = ensure_loop(project=project, base_model=str(settings.STARTER_DIR))
    for _ in range(9):
        make_judgment(make_comparison(make_prompt(loop.project), round=1), bob, "A")
    for number in ("1", "2"):
        published(loop, tmp_path / number)
    yield loop
    shutil.rmtree(settings.POLICIES_DIR, ignore_errors=True)


def begun(loop: Loop, alice: User, *stages: Stage) -> RecipeRun:
    recipe = make_recipe(project=loop.project, name="Night", stages=stages, actor=alice)
    assert loop.sampler is not None
    return start_recipe(recipe=recipe, loop=loop, start=loop.sampler, actor=alice)


def newest() -> Run:
    return Run.objects.select_related("reward_model").latest("number")


def against() -> int:
    run = newest()
    assert run.reward_model is not None
    assert run.spec["reward_model"]["adapter"].endswith(f"reward-{run.reward_model.number}")
    return run.reward_model.number


def fail(recipe_run: RecipeRun) -> None:
    """The stage's run fails, and the recipe stops."""
    mark_training(newest())
    Job.objects.update(state=Job.State.FAILED)
    end_run(newest(), state="failed", code="out_of_memory", message="no room")
    go_on(recipe_run=recipe_run)
    recipe_run.refresh_from_db()


def test_a_stage_trains_against_the_one_it_names_and_else_against_the_newest(loop: Loop, alice: User) -> None:
    named = begun(loop, alice, Stage("rloo", {}, reward_model=1))
    assert against() == 1
    fail(named)
    continue_recipe(recipe_run=named, loop=loop, settings={}, aggregation="", reward_model=2, actor=alice)
    assert against() == 2
    fail(named)
    continue_recipe(recipe_run=named, loop=loop, settings={}, aggregation="", actor=alice)
    assert against() == 2


def test_one_that_is_gone_or_of_another_project_is_refused_by_name(
    loop: Loop, alice: User, project: Project, tmp_path: Path
) -> None:
    other = Project.objects.create(name="Other", created_by=alice)
    ensure_loop(project=other, base_model=str(settings.STARTER_DIR))
    stage = Stage("grpo", {}, reward_model=2)
    check_stage(loop=loop, stage=stage)
    with pytest.raises(CannotStartError, match="The project has no reward model 2"):
        check_stage(loop=other.loop, stage=stage)
    with pytest.raises(CannotStartError, match="DPO trains against no reward model"):
        check_stage(loop=loop, stage=Stage("dpo", {}, reward_model=2))
    RewardModel.objects.filter(number=2).delete()
    with pytest.raises(
        CannotStartError, match=r"Stage 1 of 1 \(GRPO\) cannot begin: The project has no reward model 2"
    ):
        begun(loop, alice, stage)
    assert not RecipeRun.objects.exists()


def test_the_stages_form_offers_them_and_keeps_the_choice(client: Client, alice: User, loop: Loop) -> None:
    recipe = make_recipe(project=loop.project, name="Night", stages=[], actor=alice)
    client.force_login(alice)
    address = reverse("training:new_stage", args=[loop.pk, recipe.pk])
    page = client.get(address, {"method": "fdpo"}).content.decode()
    assert '<option value="" selected>the newest, when the stage begins</option>' in page
    sent = form_data(loop, "fdpo", version=1)
    assert client.post(address, sent | {"reward_model": "1"}).status_code == 302
    assert client.post(address, sent | {"reward_model": "", "version": "2"}).status_code == 302
    assert client.post(address, sent | {"reward_model": "9", "version": "3"}).status_code == 422
    recipe.refresh_from_db()
    assert [stage.reward_model for stage in stages_from(recipe.stages)] == [1, None]
    page = client.get(reverse("training:recipe", args=[loop.pk, recipe.pk])).content.decode()
    assert '<dt class="mono">reward_model</dt> <dd class="mono">1</dd>' in page
    page = client.get(reverse("training:stage", args=[loop.pk, recipe.pk, 1])).content.decode()
    assert '<option value="1" selected>' in page


def test_the_form_to_begin_a_stage_again_begins_it_against_what_was_chosen(
    client: Client, alice: User, loop: Loop
) -> None:
    recipe_run = begun(loop, alice, Stage("fdpo", {}, reward_model=1))
    fail(recipe_run)
    client.force_login(alice)
    address = reverse("training:begin_again", args=[loop.pk, recipe_run.number])
    assert '<option value="1" selected>' in client.get(address).content.decode()
    sent = form_data(loop, "fdpo", rows="today") | {"reward_model": "2"}
    assert client.post(address, sent).status_code == 302
    assert against() == 2


def test_the_command_line_names_it_in_the_stage_and_when_it_begins_again(loop: Loop) -> None:
    def shell(*arguments: str) -> None:
        call_command("recipe", str(loop.pk), *arguments, stdout=io.StringIO())

    shell("make", "Night", "--stage", "rloo reward_model=1 beta=0.1")
    (stage,) = stages_from(Recipe.objects.get().stages)
    assert (stage.method, stage.settings, stage.reward_model) == ("rloo", {"beta": 0.1}, 1)
    shell("start", "Night")
    assert against() == 1
    fail(RecipeRun.objects.get())
    shell("again")
    assert against() == 1
    fail(RecipeRun.objects.get())
    shell("again", "--reward-model", "2")
    assert against() == 2
    for wrong in ("rloo reward_model=x", "rloo reward_model=1 reward_model=2", "rloo reward_model=9"):
        with pytest.raises(CommandError, match=r"reward.model"):
            shell("make", "Day", "--stage", wrong)
