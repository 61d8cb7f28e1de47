"""The loop, once around, of nothing but real parts: sample, judge, train, score, sample again from the new policy."""

import math
import socket
from collections.abc import Callable

import pytest

from annotate.models import Comparison, Response, Slot
from tests.jobs.harness import SHORT, Site, judge_everything, newest_run, open_project
from training.engine import rundir
from training.models import Job, Loop, Policy, RecipeRun, Round
from training.queries.machines import surroundings
from training.queries.runs import accounting
from training.recipes import Stage
from training.services.recipe_runs import start_recipe
from training.services.recipes import make_recipe
from training.services.runs import start_run
from training.services.trials import choose_prompts, start_trial

# So gentle that a policy babbles as its parent does, and no guard can hold it back for what chance made of it.
GENTLE = SHORT | {"learning_rate": 1e-5}


def queue(loop: Loop, round_number: int) -> int:
    return Slot.objects.filter(project=loop.project, state="open", comparison__round=round_number).count()


def go_round(site: Site, train: Callable[[Site, Loop], Policy]) -> None:
    loop = open_project(site)
    site.start_worker("gpu")
    site.wait_for(lambda: queue(loop, 1) >= loop.queue_target)
    assert set(Response.objects.values_list("author__name", flat=True)) == {"base"}
    assert {"temperature", "top_p", "max_new_tokens", "seed", "index"} <= set(Response.objects.all()[0].sampling)
    assert Comparison.objects.filter(split="reserved").exists()
    where = surroundings(loop.base_model)
    assert where is not None
    assert where.machine.host == socket.gethostname()
    assert where.model.parameters > 10_000
    judged = judge_everything(loop.project)
    assert judged >= loop.queue_target

    loop.refresh_from_db()
    policy = train(site, loop)
    run = newest_run()
    shown = accounting(run)
    assert shown.used + shown.skipped_total == shown.total == judged
    assert shown.pending == 0
    assert policy.run == run
    assert rundir.verify_manifest(site.home / policy.adapter_path, policy.manifest_sha256)
    assert policy.scored_at is not None
    assert policy.metrics["heldout_n"] > 0
    assert policy.metrics["kl_per_response"] is not None
    assert len(run.result["before_after"]) == 6
    assert run.events.filter(kind="metric").exists()
    assert policy.guard_failures == []
    assert run.events.filter(kind="profile").exists()
    assert run.result["about"]["machine"] == where.machine.to_json()

    loop.refresh_from_db()
    assert loop.sampler == policy
    assert list(Round.objects.filter(closed_at__isnull=True).values_list("number", "policy")) == [(2, policy.pk)]
    site.wait_for(lambda: queue(loop, 2) >= loop.queue_target)
    authors = Response.objects.filter(round=2).values_list("author__name", flat=True)
    assert set(authors) == {f"policy {policy.number}"}
    assert queue(loop, 1) == 0


def by_a_run(site: Site, loop: Loop) -> Policy:
    start_run(loop=loop, method="dpo", settings=GENTLE, started_by=loop.project.created_by, reason="test")
    site.wait_for(lambda: newest_run().state == "finished")
    return Policy.objects.get(number=1)


def by_a_recipe(site: Site, loop: Loop) -> Policy:
    """SFT makes a whole model, and DPO goes on from it, held close to it."""
    stages = [Stage("sft", GENTLE | {"source": "chosen", "chosen_guard": "off"}), Stage("dpo", GENTLE)]
    recipe = make_recipe(project=loop.project, name="SFT, then DPO", stages=stages, actor=None)
    base = Policy.objects.get(number=0)
    begun = start_recipe(recipe=recipe, loop=loop, start=base, actor=None)
    site.wait_for(lambda: RecipeRun.objects.get(pk=begun.pk).state != "running")
    begun.refresh_from_db()
    assert (begun.state, begun.message) == ("finished", "It ends with policy 2; the next answers come from it.")
    taught, preferred = (Policy.objects.select_related("run", "parent").get(number=number) for number in (1, 2))
    assert (taught.parent, taught.whole) == (base, True)
    assert (preferred.parent, preferred.whole, preferred.model_path) == (taught, False, taught.adapter_path)
    first, second = begun.runs.order_by("number")
    assert (first.method, second.method, second.parent) == ("sft", "dpo", taught)
    assert second.spec["model"] == str(site.home / taught.adapter_path)
    # Before the first step policy and reference are the same model, the merged one: the loss is that of a coin.
    loss = second.events.filter(kind="metric").order_by("pk")[0].data["values"]["loss"]
    assert loss == pytest.approx(math.log(2), abs=1e-5)
    # Nothing is sampled from what lies in between.
    assert not Response.objects.filter(author__name="policy 1").exists()
    return preferred


def two_policies_answer(site: Site) -> None:
    """Base and policy 1 are asked two reserved prompts; a worker is there already."""
    project = Policy.objects.get(number=1).project
    rows = choose_prompts(project=project, split="reserved", containing="", numbers=[], count=2, seed=1)
    trial = start_trial(
        project=project,
        left=Policy.objects.get(number=0),
        right=Policy.objects.get(number=1),
        rows=rows,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=8,
        seed=5,
        started_by=None,
    )
    site.wait_for(lambda: Job.objects.get(pk=trial.job_id).state == "done")
    answered = list(trial.rows.all())
    assert len(answered) == 2
    assert all(row.left["tokens"] > 0 and row.right["tokens"] > 0 for row in answered)


def test_the_loop_goes_round_on_sqlite_and_files(site: Site) -> None:
    go_round(site, by_a_run)
    two_policies_answer(site)


def test_the_loop_goes_round_on_postgresql_and_redis_by_a_recipe(served_site: Site) -> None:
    go_round(served_site, by_a_recipe)
