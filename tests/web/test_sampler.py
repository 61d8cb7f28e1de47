"""A lead's choice of the policy that the next answers come from, in place of the newest that passed the guards."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from annotate.models import AuditEntry, Project, User
from tests.cast import make_comparison, make_judgment, make_prompt
from tests.engineless import publish_as_scored, publish_as_trained
from tests.history import METRICS
from training.models import Job, Loop, Policy, RecipeRun, Round, Run
from training.queries.sampler import why_not_sampled_from
from training.recipes import Stage
from training.services.loops import CannotSampleError, choose_sampler, ensure_loop
from training.services.recipe_runs import start_recipe
from training.services.recipes import make_recipe
from training.services.runs import end_run, start_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def loop(project: Project, bob: User) -> Iterator[Loop]:
    loop = ensure_loop(project=project, base_model=str(settings.STARTER_DIR))
    for _ in range(9):
        make_judgment(make_comparison(make_prompt(loop.project), round=1), bob, "A")
    yield loop
    shutil.rmtree(settings.POLICIES_DIR, ignore_errors=True)


def begun(loop: Loop, **more: Any) -> Run:
    loop.refresh_from_db()
    return start_run(loop=loop, method="dpo", settings={}, started_by=None, reason="", **more)


def made(run: Run, folder: Path, **metrics: float) -> Policy:
    publish_as_trained(run, folder / str(run.number))
    return publish_as_scored(run, folder / str(run.number), **metrics)


@pytest.fixture
def compared(loop: Loop, tmp_path: Path) -> Policy:
    """Policy 2, measured beside policy 1, which is sampled from."""
    made(first := begun(loop), tmp_path)
    policy = made(begun(loop, like=first), tmp_path)
    loop.refresh_from_db()
    assert loop.sampler is not None
    assert (loop.sampler.number, policy.number, policy.guard_failures) == (1, 2, [])
    return policy


def why(policy: Policy) -> str:
    policy = Policy.objects.select_related("run__recipe_run").get(pk=policy.pk)
    return str(why_not_sampled_from(policy, Loop.objects.get(pk=policy.project_id)) or "")


def test_the_next_round_and_run_go_on_from_the_policy_that_a_lead_chose(
    loop: Loop, compared: Policy, lea: User
) -> None:
    champion = Loop.objects.get().champion
    opened = choose_sampler(policy=compared, actor=lea, reason=" Its answers are kinder. ")
    loop.refresh_from_db()
    assert (loop.sampler, loop.champion) == (compared, champion)
    assert (opened.number, opened.policy) == (3, compared)
    assert [one.number for one in Round.objects.filter(closed_at__isnull=True)] == [3]
    entry = AuditEntry.objects.get(verb="sampler.chosen")
    assert (entry.actor, entry.subject) == (lea, "policy 2")
    assert entry.detail == {"before": 1, "round": 3, "reason": "Its answers are kinder."}
    assert begun(loop).parent == compared


def test_an_earlier_one_and_the_base_can_be_gone_back_to(loop: Loop, compared: Policy, lea: User) -> None:
    base = Policy.objects.get(number=0)
    choose_sampler(policy=base, actor=lea, reason="Begin anew.")
    choose_sampler(policy=Policy.objects.get(number=1), actor=lea, reason="It was better.")
    loop.refresh_from_db()
    assert loop.sampler is not None
    assert loop.sampler.number == 1
    assert why(loop.sampler) == "The next answers come from it already."


def test_it_is_refused_in_words_where_it_may_not_be(loop: Loop, compared: Policy, lea: User, tmp_path: Path) -> None:
    with pytest.raises(CannotSampleError, match="Say why"):
        choose_sampler(policy=compared, actor=lea, reason="  ")
    run = begun(loop)
    assert why(compared) == "Run 3 is under way. Wait until it has ended, or cancel it."
    unscored = publish_as_trained(run, tmp_path / "3")
    assert "not scored yet" in why(unscored)
    held_back = publish_as_scored(run, tmp_path / "3", kl_per_response=78.0)
    assert why(held_back).startswith("The guards hold it back: KL to the base 78")
    with pytest.raises(CannotSampleError, match="The guards hold it back"):
        choose_sampler(policy=held_back, actor=lea, reason="I like it.")
    loop.refresh_from_db()
    assert loop.sampler is not None
    assert (loop.sampler.number, Round.objects.count()) == (1, 2)
    assert not AuditEntry.objects.filter(verb="sampler.chosen").exists()


def test_what_lies_between_two_stages_of_a_recipe_is_refused(
    loop: Loop, compared: Policy, lea: User, tmp_path: Path
) -> None:
    recipe = make_recipe(project=loop.project, name="Night", stages=[Stage("dpo"), Stage("dpo")], actor=lea)
    loop.refresh_from_db()
    assert loop.sampler is not None
    start_recipe(recipe=recipe, loop=loop, start=loop.sampler, actor=lea)
    between = made(Run.objects.latest("number"), tmp_path)
    assert why(between) == ("It was made between two stages of the recipe Night. Choose what its last stage made.")
    assert why(compared) == "The recipe Night is under way. Wait until its last stage has ended, or cancel it."
    RecipeRun.objects.update(state="stopped")
    assert "between two stages" in why(between)
    assert why(compared) == ""


def test_the_page_asks_for_the_reason_and_says_what_became_of_it(
    client: Client, lea: User, loop: Loop, compared: Policy
) -> None:
    Policy.objects.filter(run__isnull=False).update(metrics=METRICS)
    client.force_login(lea)
    page = reverse("training:policy", args=[loop.pk, 2])
    assert "Sample from policy 2" in client.get(page).content.decode()
    address = reverse("training:sample_from", args=[loop.pk, 2])
    assert "Say why" in client.post(address, {"reason": ""}, follow=True).content.decode()
    done = client.post(address, {"reason": "Its answers are kinder."}, follow=True).content.decode()
    assert "The next answers come from policy 2." in done
    assert "sample-title" not in done
    Job.objects.update(state="done")
    run = begun(loop)
    shown = client.get(reverse("training:policy", args=[loop.pk, 1])).content.decode()
    assert f"Run {run.number} is under way. Wait until it has ended, or cancel it." in shown
    assert "sample-reason" not in shown
    end_run(run, state="failed", code="internal", message="It broke.")
    assert "sample-reason" in client.get(reverse("training:policy", args=[loop.pk, 0])).content.decode()
