"""The pages of recipes in the browser's stead: make, change, copy, archive and start one; and a recipe under way."""

import io

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.models import AuditEntry, Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.web.test_runs import form_data
from training.engine.methods import METHODS
from training.models import Loop, Policy, Recipe, RecipeRun, Run
from training.recipes import Stage, path_of, stages_from
from training.services.loops import ensure_loop
from training.services.recipe_runs import go_on, start_recipe
from training.services.recipes import make_recipe
from training.services.runs import end_run, mark_training


@pytest.fixture
def loop(project: Project, bob: User) -> Loop:
    loop = ensure_loop(project=project, base_model=str(settings.STARTER_DIR))
    for _ in range(9):
        make_judgment(make_comparison(make_prompt(project), round=1), bob, "A")
    return loop


@pytest.fixture
def recipe(loop: Loop, alice: User) -> Recipe:
    stages = [Stage("sft", {"source": "chosen"}), Stage("dpo", {"beta": 0.2})]
    return make_recipe(project=loop.project, name="Night", stages=stages, actor=alice)


@pytest.fixture
def lead(client: Client, lea: User) -> Client:
    client.force_login(lea)
    return client


def at(name: str, loop: Loop, *more: int) -> str:
    return reverse(f"training:{name}", args=[loop.pk, *more])


def begun(recipe: Recipe, loop: Loop, lea: User) -> RecipeRun:
    assert loop.sampler is not None
    return start_recipe(recipe=recipe, loop=loop, start=loop.sampler, actor=lea)


# --- Making and changing ----------------------------------------------------------------------------------------------


def test_a_recipe_is_made_by_its_name_and_filled_stage_by_stage(lead: Client, loop: Loop) -> None:
    answer = lead.post(at("new_recipe", loop), {"name": "Night"})
    recipe = Recipe.objects.get()
    assert answer["Location"] == at("recipe", loop, recipe.pk)
    page = lead.get(answer["Location"]).content.decode()
    assert "None yet. Add the first one." in page
    assert "Run the recipe" not in page
    for version, method in enumerate(METHODS, 1):
        assert f"?method={method}" in page
        form = lead.get(at("new_stage", loop, recipe.pk), {"method": method}).content.decode()
        assert f'name="method" value="{method}"' in form
        sent = form_data(loop, method, version=version)
        assert lead.post(at("new_stage", loop, recipe.pk), sent).status_code == 302
    recipe.refresh_from_db()
    assert [stage.method for stage in stages_from(recipe.stages)] == list(METHODS)
    assert "Run the recipe" in lead.get(at("recipe", loop, recipe.pk)).content.decode()
    assert AuditEntry.objects.filter(verb="recipe.changed").count() == len(METHODS)


def test_a_stage_is_changed_by_the_form_of_a_run_and_refused_beside_the_field(
    lead: Client, loop: Loop, recipe: Recipe
) -> None:
    address = at("stage", loop, recipe.pk, 2)
    assert 'value="0.2"' in lead.get(address).content.decode()
    refused = lead.post(address, form_data(loop, beta="-1", version=1))
    assert refused.status_code == 422
    assert "above 0" in refused.content.decode()
    lead.post(address, form_data(loop, beta="0.3", version=1))
    recipe.refresh_from_db()
    stage = stages_from(recipe.stages)[1]
    assert (stage.method, stage.settings["beta"], recipe.version) == ("dpo", 0.3, 2)
    page = lead.get(at("recipe", loop, recipe.pk)).content.decode()
    assert '<dt class="mono">beta</dt> <dd class="mono">0.3</dd>' in page
    late = lead.post(address, form_data(loop, beta="0.4", version=1))
    assert late.status_code == 422
    assert "Somebody changed or archived this recipe meanwhile" in late.content.decode()
    assert lead.get(at("stage", loop, recipe.pk, 3)).status_code == 404


def test_stages_are_moved_and_taken_out(lead: Client, loop: Loop, recipe: Recipe) -> None:
    lead.post(at("arrange_stage", loop, recipe.pk, 2), {"deed": "up", "version": 1})
    recipe.refresh_from_db()
    assert path_of(stages_from(recipe.stages)) == "DPO → SFT"
    lead.post(at("arrange_stage", loop, recipe.pk, 1), {"deed": "remove", "version": 2})
    late = lead.post(at("arrange_stage", loop, recipe.pk, 1), {"deed": "remove", "version": 2}, follow=True)
    recipe.refresh_from_db()
    assert path_of(stages_from(recipe.stages)) == "SFT"
    assert "Somebody changed or archived this recipe meanwhile" in late.content.decode()


def test_a_name_is_taken_once_and_a_copy_has_its_own_stages(lead: Client, loop: Loop, recipe: Recipe) -> None:
    taken = lead.post(at("new_recipe", loop), {"name": "Night"})
    assert taken.status_code == 422
    assert "has a recipe of that name already" in taken.content.decode()
    address = f"{at('new_recipe', loop)}?copy={recipe.pk}"
    assert 'value="Night, copy"' in lead.get(address).content.decode()
    lead.post(address, {"name": "Day"})
    copy = Recipe.objects.get(name="Day")
    assert copy.stages == recipe.stages
    lead.post(at("arrange_stage", loop, copy.pk, 1), {"deed": "remove", "version": 1})
    recipe.refresh_from_db()
    assert len(recipe.stages) == 2
    assert lead.post(at("recipe", loop, copy.pk), {"name": "Night", "version": 2}).status_code == 422
    assert lead.post(at("recipe", loop, copy.pk), {"name": "Evening", "version": 2}).status_code == 302
    assert set(Recipe.objects.values_list("name", flat=True)) == {"Night", "Evening"}


def test_one_that_never_ran_is_deleted_and_one_that_did_is_archived(
    lead: Client, loop: Loop, recipe: Recipe, lea: User
) -> None:
    begun(recipe, loop, lea)
    page = lead.post(at("archive_recipe", loop, recipe.pk), follow=True).content.decode()
    assert "It is archived, because it has run" in page
    assert "Run the recipe" not in page
    assert "Night" in lead.get(at("recipe_run", loop, 1)).content.decode()
    lead.post(at("restore_recipe", loop, recipe.pk))
    other = make_recipe(project=loop.project, name="Never", stages=[], actor=lea)
    page = lead.post(at("archive_recipe", loop, other.pk), follow=True).content.decode()
    assert "The recipe Never is deleted." in page
    assert list(Recipe.objects.filter(archived_at__isnull=True)) == [recipe]


def test_another_projects_recipe_is_not_there(lead: Client, loop: Loop, recipe: Recipe, lea: User) -> None:
    other = Project.objects.create(name="Other", created_by=lea)
    foreign = make_recipe(project=other, name="Theirs", stages=[], actor=lea)
    for name in ("recipe", "new_stage"):
        assert lead.get(at(name, loop, foreign.pk)).status_code == 404
    for name in ("archive_recipe", "start_recipe"):
        assert lead.post(at(name, loop, foreign.pk)).status_code == 404
    assert lead.get(f"{at('new_recipe', loop)}?copy={foreign.pk}").status_code == 404


# --- Running ----------------------------------------------------------------------------------------------------------


def test_a_press_starts_it_from_the_chosen_policy_and_a_second_one_leads_there(
    lead: Client, loop: Loop, recipe: Recipe
) -> None:
    for _ in range(2):
        answer = lead.post(at("start_recipe", loop, recipe.pk), {"start": "0"})
        assert answer["Location"] == at("recipe_run", loop, 1)
    assert RecipeRun.objects.count() == Run.objects.count() == 1
    page = lead.get(at("recipe_run", loop, 1)).content.decode()
    assert "Not begun" in page
    assert "Cancel the recipe" in page
    assert f'href="{at("recipe_run", loop, 1)}">Night, stage 1</a>' in lead.get(at("run", loop, 1)).content.decode()
    wrong = lead.post(at("start_recipe", loop, recipe.pk), {"start": "7"})
    assert wrong.status_code == 422


def test_what_refuses_the_start_is_said_on_the_page(lead: Client, loop: Loop, lea: User) -> None:
    hungry = make_recipe(project=loop.project, name="Hungry", stages=[Stage("dpo", {"min_rows": 50})], actor=lea)
    answer = lead.post(at("start_recipe", loop, hungry.pk), {"start": "0"})
    assert answer.status_code == 422
    assert "Stage 1 of 1 (DPO) cannot begin: " in answer.content.decode()
    assert not RecipeRun.objects.exists()


def test_the_moving_part_is_silent_until_something_changed_and_polls_no_more_at_the_end(
    lead: Client, loop: Loop, recipe: Recipe, lea: User
) -> None:
    recipe_run = begun(recipe, loop, lea)
    page = lead.get(at("recipe_run", loop, 1)).content.decode()
    seen = page.partition("?seen=")[2].partition('"')[0]
    address = at("recipe_run_live", loop, 1)
    assert lead.get(address, {"seen": seen}).status_code == 204
    mark_training(Run.objects.get())
    changed = lead.get(address, {"seen": seen})
    assert changed.status_code == 200
    assert "every 3s" in changed.content.decode()
    lead.post(at("cancel_recipe", loop, 1))
    Run.objects.get().jobs.update(state="cancelled")
    end_run(Run.objects.get(), state="cancelled", code="cancelled", message="Cancelled.")
    go_on(recipe_run=recipe_run)
    ended = lead.get(address, {"seen": seen}).content.decode()
    assert "every 3s" not in ended
    assert "Resume run 1" in ended


def test_a_stage_that_failed_is_begun_again_by_a_form_that_is_filled_in_as_its_end_advises(
    lead: Client, loop: Loop, recipe: Recipe, lea: User
) -> None:
    recipe_run = begun(recipe, loop, lea)
    run = Run.objects.get()
    mark_training(run)
    run.jobs.update(state="failed")
    end_run(run, state="failed", code="not_finite", message="The loss is not finite.")
    go_on(recipe_run=recipe_run)
    page = lead.get(at("recipe_run", loop, 1)).content.decode()
    assert "Stage 1 of 2 (SFT): run 1 failed." in page
    assert "Resume run" not in page  # it would end the same way again
    address = at("begin_again", loop, 1)
    lower = float(f"{run.spec['learning_rate'] / 3:.2g}")
    form = lead.get(address).context["form"]
    assert (form["learning_rate"].value(), form["rows"].value()) == (lower, "today")
    refused = lead.post(address, form_data(loop, "sft", source="chosen", epochs="0", version=1))
    assert refused.status_code == 422
    # The method is not to be chosen: what a script sends for it changes nothing.
    sent = form_data(loop, "sft", source="chosen", learning_rate=lower, rows="same") | {"method": "dpo"}
    assert lead.post(address, sent)["Location"] == at("recipe_run", loop, 1)
    again = Run.objects.get(number=2)
    assert (again.method, again.stage, again.spec["learning_rate"]) == ("sft", 1, lower)
    assert again.snapshot.copied_from == run.snapshot
    page = lead.get(at("recipe_run", loop, 1)).content.decode()
    assert f'href="{at("run", loop, 1)}"' in page
    assert f'href="{at("run", loop, 2)}"' in page
    assert lead.post(address, sent).status_code == 422  # it is under way


def test_the_list_needs_as_many_queries_for_twenty_recipes_as_for_ten(
    lead: Client, loop: Loop, recipe: Recipe, lea: User
) -> None:
    base = Policy.objects.get()

    def queries_for(rows: int) -> int:
        for number in range(Recipe.objects.count(), rows):
            made = make_recipe(project=loop.project, name=f"No. {number}", stages=[Stage("dpo")], actor=lea)
            kept = {"name": made.name, "version": 1, "stages": made.stages, "state": "stopped"}
            RecipeRun.objects.create(project=loop.project, number=number, recipe=made, start=base, **kept)
        lead.get(at("recipes", loop))
        with CaptureQueriesContext(connection) as captured:
            assert lead.get(at("recipes", loop)).status_code == 200
        return len(captured)

    assert queries_for(20) == queries_for(10)


def test_without_a_base_model_the_page_says_what_comes_first(lead: Client, project: Project) -> None:
    page = lead.get(reverse("training:recipes", args=[project.pk])).content.decode()
    assert "Choose the base model" in page
    assert lead.get(reverse("training:new_recipe", args=[project.pk])).status_code == 404


# --- From a shell -----------------------------------------------------------------------------------------------------


def shell(*arguments: object) -> str:
    out = io.StringIO()
    call_command("recipe", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_the_command_line_makes_runs_cancels_and_continues_one(loop: Loop) -> None:
    here = loop.pk
    made = shell(here, "make", "Night", "--stage", "sft source=chosen", "--stage", "dpo beta=0.2 loss_type=sigmoid,sft")
    assert made == "Night: SFT → DPO\n"
    stage = stages_from(Recipe.objects.get().stages)[1]
    assert stage.settings == {"beta": 0.2, "loss_type": ["sigmoid", "sft"]}
    begun = shell(here, "start", "Night", "--from", 0)
    assert "recipe run 1: Night  running  stage 1 of 2" in begun
    assert "stage 1: sft, run 1 queued, no policy" in begun
    assert "stopped  stage 1 of 2  Stage 1 of 2 (SFT): run 1 was cancelled." in shell(here, "cancel")
    assert "running" in shell(here, "again", 1, "--set", "epochs=1")
    assert (Run.objects.get(number=2).stage, Run.objects.get(number=2).spec["epochs"]) == (1, 1)
    listed = shell(here, "list")
    assert "Night: SFT → DPO" in listed
    assert "recipe run 1: Night  running" in listed
    assert shell(here, "archive", "Night") == "Archived.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["make", "Night"], "at least one --stage"),
        (["make", "Night", "--stage", "magic"], "begin with a method among"),
        (["make", "Night", "--stage", "dpo beta=-1"], "beta: "),
        (["make", "Night", "--stage", "dpo colour=red"], "NAME=VALUE"),
        (["start", "Day"], "has no recipe 'Day'"),
        (["show"], "No recipe has run yet"),
        (["show", "7"], "has no recipe run 7"),
        (["list", "--as", "nobody"], "nobody called nobody"),
    ],
)
def test_the_command_line_refuses_in_a_sentence(loop: Loop, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        shell(loop.pk, *arguments)
