"""A recipe from stage to stage, without an engine: where each starts, what stops it, and how it is continued."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from annotate.models import AuditEntry, Project, User
from annotate.services.review import retract
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.engineless import publish_as_scored, publish_as_trained
from training.engine.checks import SpecError
from training.models import Loop, Policy, Recipe, RecipeRun, Run
from training.paths import adapter_folder, model_of
from training.recipes import Stage, moved, path_of, stages_from
from training.services.advance import advance
from training.services.loops import ensure_loop
from training.services.recipe_runs import accept_policy, cancel_recipe, continue_recipe, go_on, start_recipe
from training.services.recipes import RecipeError, archive_recipe, change_recipe, make_recipe, restore_recipe
from training.services.resuming import resume_run, score_again
from training.services.runs import AlreadyRunningError, CannotStartError, cancel_run, end_run, start_run

pytestmark = pytest.mark.django_db

SFT = Stage("sft", {"source": "chosen"})
DPO = Stage("dpo", {"beta": 0.2})
KTO = Stage("kto", {"source": "judgments"})


@pytest.fixture
def loop(project: Project, bob: User) -> Iterator[Loop]:
    """Nine judged pairs, and a queue that is full, so that nothing is sampled."""
    loop = ensure_loop(project=project, base_model=str(settings.STARTER_DIR), queue_target=4)
    for _ in range(9):
        make_judgment(make_comparison(make_prompt(loop.project), round=1), bob, "A")
    yield loop
    shutil.rmtree(settings.POLICIES_DIR, ignore_errors=True)


@pytest.fixture
def recipe(loop: Loop, alice: User) -> Recipe:
    return make_recipe(project=loop.project, name="Night", stages=[SFT, DPO, KTO], actor=alice)


@pytest.fixture
def cooking(recipe: Recipe, loop: Loop, alice: User) -> RecipeRun:
    assert loop.sampler is not None
    return start_recipe(recipe=recipe, loop=loop, start=loop.sampler, actor=alice)


def newest() -> Run:
    return Run.objects.select_related("snapshot", "parent", "recipe_run").latest("number")


def tick(recipe_run: RecipeRun) -> RecipeRun:
    """What the tick would do of it."""
    go_on(recipe_run=recipe_run)
    recipe_run.refresh_from_db()
    return recipe_run


def end_stage(folder: Path, **metrics: float) -> Policy:
    """The run of the stage is trained and scored."""
    run = newest()
    publish_as_trained(run, folder / str(run.number))
    return publish_as_scored(run, folder / str(run.number), **metrics)


def test_the_first_stage_starts_at_once_and_leaves_the_loops_own_settings_alone(cooking: RecipeRun, loop: Loop) -> None:
    run = newest()
    assert (run.recipe_run, run.stage, run.method, run.state) == (cooking, 1, "sft", "queued")
    assert run.reason == "recipe Night, stage 1 of 3"
    assert run.parent == cooking.start == loop.sampler
    before = loop.settings
    loop.refresh_from_db()
    assert (loop.method, loop.settings) == ("dpo", before)
    assert not go_on(recipe_run=cooking)
    assert AuditEntry.objects.filter(verb="recipe.started", detail__start=0).count() == 1


def test_each_stage_starts_from_what_the_one_before_it_made(
    cooking: RecipeRun, loop: Loop, bob: User, tmp_path: Path
) -> None:
    base = cooking.start
    taught = end_stage(tmp_path)
    loop.refresh_from_db()
    assert loop.sampler == base  # nothing is sampled from what lies between two stages
    assert newest().message == "Policy 1 was trained and scored; the recipe goes on from it."
    make_judgment(make_comparison(make_prompt(loop.project), round=1), bob, "A")

    assert tick(cooking).at == 2
    run = newest()
    assert (run.stage, run.method, run.parent, run.spec["beta"]) == (2, "dpo", taught, 0.2)
    # It stands on the merged model, has no adapter yet, and is held close to that model and to nothing below it.
    here = str(Path(settings.HOME) / taught.adapter_path)
    assert taught.whole
    assert (run.spec["model"], run.spec["start_adapter"]) == (here, "")
    assert (run.spec["reference"], run.spec["reference_model"]) == ("base", "")
    # Its own snapshot, of the judgments of this moment: one came in since.
    assert run.snapshot.items.count() == 10
    assert cooking.runs.get(stage=1).snapshot.items.count() == 9

    preferred = end_stage(tmp_path)
    assert tick(cooking).at == 3
    run = newest()
    assert (run.parent, run.spec["model"]) == (preferred, here)
    assert run.spec["start_adapter"] == adapter_folder(preferred)
    assert model_of(preferred) == (here, "")
    last = end_stage(tmp_path)
    assert tick(cooking).state == "finished"
    assert cooking.message == "It ends with policy 3; the next answers come from it."
    loop.refresh_from_db()
    assert loop.sampler == last
    assert not go_on(recipe_run=cooking)
    assert Run.objects.count() == 3


def test_what_was_taken_back_meanwhile_is_not_trained_on(
    cooking: RecipeRun, loop: Loop, alice: User, bob: User, tmp_path: Path
) -> None:
    end_stage(tmp_path)
    make_judgment(make_comparison(make_prompt(loop.project), round=1), alice, "A")
    retract(project=loop.project, annotator=bob, since=None, until=None, reason="spam", actor=alice)
    tick(cooking)
    assert (cooking.state, cooking.at) == ("stopped", 2)
    assert cooking.message.startswith("Stage 2 of 3 (DPO) cannot begin: ")


def test_the_loops_tick_does_it_and_does_nothing_else_in_between(
    cooking: RecipeRun, loop: Loop, tmp_path: Path
) -> None:
    Loop.objects.update(train_after=4)
    end_stage(tmp_path)
    with pytest.raises(CannotStartError, match="The recipe Night is under way"):
        start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="a test")
    advance(project_id=loop.pk)
    assert (newest().stage, newest().recipe_run) == (2, cooking)


def test_two_ticks_at_once_begin_a_stage_once(cooking: RecipeRun, tmp_path: Path) -> None:
    end_stage(tmp_path)
    late = RecipeRun.objects.get(pk=cooking.pk)
    assert go_on(recipe_run=cooking)
    assert not go_on(recipe_run=late)
    assert cooking.runs.filter(stage=2).count() == 1


def test_a_stage_that_fails_stops_the_recipe_and_is_begun_again_with_other_settings(
    cooking: RecipeRun, loop: Loop, alice: User, tmp_path: Path
) -> None:
    taught = end_stage(tmp_path)
    tick(cooking)
    end_run(newest(), state="failed", code="not_finite", message="The loss is not finite.")
    assert tick(cooking).state == "stopped"
    assert cooking.message.startswith("Stage 2 of 3 (DPO): run 2 failed. Mend what its page names")
    assert not go_on(recipe_run=cooking)
    with pytest.raises(SpecError):
        continue_recipe(recipe_run=cooking, loop=loop, settings={"beta": -1}, aggregation="", actor=alice)
    _end_jobs()
    continue_recipe(recipe_run=cooking, loop=loop, settings={"beta": 0.4}, aggregation="", actor=alice)
    run = newest()
    assert (run.stage, run.parent, run.spec["beta"]) == (2, taught, 0.4)
    cooking.refresh_from_db()
    assert (cooking.state, cooking.message) == ("running", "")
    with pytest.raises(AlreadyRunningError):
        continue_recipe(recipe_run=cooking, loop=loop, settings={}, aggregation="", actor=alice)
    end_stage(tmp_path)
    assert tick(cooking).at == 3
    assert stages_from(cooking.stages)[1] == DPO  # as it was when it began; the runs say what was done


def _end_jobs() -> None:
    """The worker has given its job back."""
    Run.objects.get(state="failed").jobs.update(state="failed")


def test_a_cancelled_stage_goes_on_with_its_run(cooking: RecipeRun, alice: User, tmp_path: Path) -> None:
    cancel_run(run=newest(), actor=alice)
    assert tick(cooking).state == "stopped"
    assert "run 1 was cancelled. Resume that run" in cooking.message
    resume_run(run=newest(), actor=alice)
    cooking.refresh_from_db()
    assert (cooking.state, cooking.message, newest().state) == ("running", "", "queued")
    end_stage(tmp_path)
    assert tick(cooking).at == 2


def test_nobody_stops_what_a_lead_has_just_resumed(cooking: RecipeRun, alice: User) -> None:
    run = newest()
    cancel_run(run=run, actor=alice)
    late = RecipeRun.objects.get(pk=cooking.pk)
    run.refresh_from_db()
    resume_run(run=run, actor=alice)
    assert not go_on(recipe_run=late)
    cooking.refresh_from_db()
    assert cooking.state == "running"


def test_a_policy_that_the_guards_hold_back_stops_it_until_a_lead_goes_on(
    cooking: RecipeRun, alice: User, tmp_path: Path
) -> None:
    held = end_stage(tmp_path, empty_share=0.9)
    assert tick(cooking).state == "stopped"
    assert "The guards hold policy 1 back" in cooking.message
    accept_policy(recipe_run=cooking, actor=alice)
    cooking.refresh_from_db()
    assert (cooking.state, cooking.at, newest().parent, newest().stage) == ("running", 2, held, 2)
    assert newest().created_by == alice
    with pytest.raises(AlreadyRunningError):
        accept_policy(recipe_run=cooking, actor=alice)


def test_a_policy_that_was_not_scored_stops_it_until_it_is(cooking: RecipeRun, alice: User, tmp_path: Path) -> None:
    publish_as_trained(newest(), tmp_path / "1")
    end_run(newest(), state="failed", code="scoring_no_space", message="The disk is full.")
    assert tick(cooking).state == "stopped"
    assert cooking.message.startswith("Policy 1 was made, but not scored. Have its run scored again")
    score_again(run=newest(), actor=alice)
    cooking.refresh_from_db()
    assert cooking.state == "running"
    publish_as_scored(newest(), tmp_path / "1")
    assert tick(cooking).at == 2


def test_after_the_last_stage_there_is_nothing_to_go_on_to(loop: Loop, alice: User, tmp_path: Path) -> None:
    recipe = make_recipe(project=loop.project, name="Short", stages=[DPO], actor=alice)
    assert loop.sampler is not None
    recipe_run = start_recipe(recipe=recipe, loop=loop, start=loop.sampler, actor=alice)
    publish_as_trained(newest(), tmp_path / "1")
    end_run(newest(), state="failed", code="scoring_no_space", message="The disk is full.")
    assert tick(recipe_run).message == "Policy 1 was made, but not scored. Have its run scored again."
    with pytest.raises(CannotStartError, match="no policy to go on from"):
        accept_policy(recipe_run=recipe_run, actor=alice)
    score_again(run=newest(), actor=alice)
    publish_as_scored(newest(), tmp_path / "1", empty_share=0.9)
    recipe_run.refresh_from_db()
    assert tick(recipe_run).state == "finished"
    assert recipe_run.message == "It ends with policy 1, which the guards hold back."


def test_what_began_from_another_policy_is_measured_and_not_sampled_from(
    loop: Loop, alice: User, tmp_path: Path
) -> None:
    recipe = make_recipe(project=loop.project, name="Short", stages=[DPO], actor=alice)
    base = loop.sampler
    assert base is not None
    for number, said in ((1, "the next answers come from it"), (2, "the next answers still come from policy 1")):
        recipe_run = start_recipe(recipe=recipe, loop=loop, start=base, actor=alice)
        end_stage(tmp_path)
        assert tick(recipe_run).state == "finished"
        assert recipe_run.message.startswith(f"It ends with policy {number}")
        assert said in recipe_run.message
        loop.refresh_from_db()
        assert loop.sampler is not None
        assert loop.sampler.number == 1


def test_cancelling_ends_the_run_and_the_recipe_and_twice_is_once(
    cooking: RecipeRun, alice: User, tmp_path: Path
) -> None:
    end_stage(tmp_path)
    tick(cooking)
    cancel_recipe(recipe_run=cooking, actor=alice)
    cooking.refresh_from_db()
    assert (newest().state, cooking.state, cooking.at) == ("cancelled", "stopped", 2)
    cancel_recipe(recipe_run=cooking, actor=alice)
    assert AuditEntry.objects.filter(verb="recipe.cancelled").count() == 1


def test_a_cancel_between_two_stages_is_heard(cooking: RecipeRun, alice: User, tmp_path: Path) -> None:
    end_stage(tmp_path)
    late = RecipeRun.objects.get(pk=cooking.pk)
    cancel_recipe(recipe_run=cooking, actor=alice)
    assert not go_on(recipe_run=late)
    cooking.refresh_from_db()
    assert (cooking.state, cooking.message, Run.objects.count()) == ("stopped", "Cancelled by alice.", 1)


def test_a_cancel_that_came_too_late_for_the_run_ends_the_recipe_all_the_same(
    cooking: RecipeRun, alice: User, tmp_path: Path
) -> None:
    run = newest()
    publish_as_trained(run, tmp_path / "1")
    cancel_recipe(recipe_run=cooking, actor=alice)
    Run.objects.filter(pk=run.pk).update(state="finished")
    assert tick(cooking).state == "stopped"
    assert cooking.message == "A lead cancelled it after policy 1 was made."


def test_a_stage_that_could_not_run_on_the_one_before_it_is_refused_at_the_start(loop: Loop, alice: User) -> None:
    stages = [DPO, Stage("sft", {"source": "chosen", "adaptation": "qlora"})]
    recipe = make_recipe(project=loop.project, name="Upside down", stages=stages, actor=alice)
    assert loop.sampler is not None
    with pytest.raises(CannotStartError, match=r"Stage 2 of 2 \(SFT\) cannot begin: adaptation"):
        start_recipe(recipe=recipe, loop=loop, start=loop.sampler, actor=alice)
    empty = make_recipe(project=loop.project, name="Nothing", stages=[], actor=alice)
    with pytest.raises(CannotStartError, match="no stages"):
        start_recipe(recipe=empty, loop=loop, start=loop.sampler, actor=alice)
    assert not RecipeRun.objects.exists()


def test_a_stage_that_has_too_few_rows_stops_there_and_can_be_begun_with_fewer(
    loop: Loop, alice: User, tmp_path: Path
) -> None:
    stages = [SFT, Stage("dpo", {"min_rows": 50})]
    recipe = make_recipe(project=loop.project, name="Hungry", stages=stages, actor=alice)
    assert loop.sampler is not None
    recipe_run = start_recipe(recipe=recipe, loop=loop, start=loop.sampler, actor=alice)
    end_stage(tmp_path)
    assert (tick(recipe_run).state, recipe_run.at) == ("stopped", 2)
    continue_recipe(recipe_run=recipe_run, loop=loop, settings={"min_rows": 5}, aggregation="", actor=alice)
    assert (newest().stage, newest().parent.number) == (2, 1)


def test_a_recipe_that_ran_stays_readable_as_it_was(recipe: Recipe, cooking: RecipeRun, alice: User) -> None:
    change_recipe(recipe=recipe, version=1, name="Day", stages=[KTO], actor=alice)
    cooking.refresh_from_db()
    assert (cooking.name, cooking.version, path_of(stages_from(cooking.stages))) == ("Night", 1, "SFT → DPO → KTO")
    assert not archive_recipe(recipe=recipe, actor=alice)
    recipe.refresh_from_db()
    assert recipe.archived_at is not None
    again = make_recipe(project=recipe.project, name="Day", stages=[], actor=alice)
    with pytest.raises(RecipeError, match="of that name"):
        restore_recipe(recipe=recipe, actor=alice)
    assert archive_recipe(recipe=again, actor=alice)  # it never ran
    restore_recipe(recipe=recipe, actor=alice)
    assert list(Recipe.objects.filter(archived_at__isnull=True)) == [recipe]


def test_of_two_who_change_a_recipe_the_second_is_told(recipe: Recipe, alice: User) -> None:
    late = Recipe.objects.get(pk=recipe.pk)
    change_recipe(recipe=recipe, version=1, stages=[DPO], actor=alice)
    with pytest.raises(RecipeError, match="meanwhile"):
        change_recipe(recipe=late, version=1, stages=[KTO], actor=alice)
    with pytest.raises(RecipeError, match="of that name"):
        make_recipe(project=recipe.project, name="Night", stages=[], actor=alice)
    with pytest.raises(RecipeError, match="at most"):
        make_recipe(project=recipe.project, name="Long", stages=[DPO] * 13, actor=alice)


def test_stages_move_up_and_down_and_stay_at_the_ends() -> None:
    assert moved([SFT, DPO, KTO], 3, by=-1) == [SFT, KTO, DPO]
    assert moved([SFT, DPO, KTO], 1, by=1) == [DPO, SFT, KTO]
    assert moved([SFT, DPO, KTO], 1, by=-1) == moved([SFT, DPO, KTO], 3, by=1) == [SFT, DPO, KTO]
    assert moved([SFT, DPO, KTO], 7, by=-1) == [SFT, DPO, KTO]
