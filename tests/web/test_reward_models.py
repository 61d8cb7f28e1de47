"""A run that makes a reward model: what it takes, what it publishes, and that it is never among the policies."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from annotate.aggregation import agreed_strength
from annotate.models import Judgment, Prompt, User
from tests.cast import make_comparison, make_judgment, make_prompt
from training.card import card
from training.engine import rundir
from training.engine.filtering import NO_BETTER
from training.models import Job, Loop, Policy, RewardModel, Run
from training.queries.cards import card_facts
from training.queries.facts import gather, new_decisions
from training.queries.invariants import broken
from training.queries.registry import learned_by
from training.queries.stock import offers
from training.services.defaults import default_settings
from training.services.leases import claim
from training.services.loops import ensure_loop
from training.services.publishing import publish_reward_model, publish_run
from training.services.runs import CannotStartError, mark_training, start_run
from training.services.snapshots import run_rows

pytestmark = pytest.mark.django_db

MEASURED = {"rows": 9, "graded": 4, "heldout_n": 20, "heldout_wins": 14, "heldout_margin": 0.5}
MEASURED |= {"heldout_accuracy": 0.7, "heldout_low": 0.481, "heldout_high": 0.855}


def published(loop: Loop, folder: Path) -> RewardModel:
    """As if the engine had just finished."""
    loop.refresh_from_db()
    run = start_run(loop=loop, method="reward", settings={}, started_by=None, reason="a test")
    return publish_reward_model(**finished(run, folder))


def finished(run: Run, folder: Path) -> dict[str, Any]:
    """What the worker publishes of the run."""
    lease = claim(job_id=Job.objects.get(run=run).pk, owner="worker 1")
    assert lease is not None
    mark_training(run)
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights.safetensors").write_bytes(b"head")
    digest = rundir.write_manifest(folder / "adapter", {"method": "reward"})
    ids = [row["id"] for row in run_rows(run).rows]
    result = {"status": "finished", "used": ids, "skipped": [], "manifest_sha256": digest, "metrics": MEASURED}
    return {"lease": lease, "run": run, "folder": folder, "result": result}


@pytest.fixture
def loop(project: object, bob: User) -> Iterator[Loop]:
    loop = ensure_loop(project=project, base_model=str(settings.STARTER_DIR))  # type: ignore[arg-type]
    for number in range(9):
        judgment = make_judgment(make_comparison(make_prompt(loop.project), round=1), bob, "A")
        Judgment.objects.filter(pk=judgment.pk).update(strength=(None, 1, 3)[number % 3])
    reserved = make_prompt(loop.project, split=Prompt.Split.RESERVED)
    make_judgment(make_comparison(reserved, round=1), bob, "B")
    yield loop
    shutil.rmtree(settings.POLICIES_DIR, ignore_errors=True)


def test_its_rows_say_how_much_better_and_it_is_measured_on_reserved_prompts(loop: Loop) -> None:
    run = start_run(loop=loop, method="reward", settings={"margin": 3}, started_by=None, reason="a test")
    rows = run_rows(run).rows
    assert [row["strength"] for row in rows] == [None, 1, 3] * 3
    assert {row["messages"][0]["content"] for row in rows}.isdisjoint(
        prompt.messages[0]["content"] for prompt in loop.project.prompts.filter(split=Prompt.Split.RESERVED)
    )
    assert (run.spec["margin"], run.spec["start_adapter"], run.spec["look_every"]) == (3, "", 10)
    assert len(Job.objects.get(run=run).payload["pairs"]) == 1


def test_it_ends_its_run_and_leaves_everything_about_policies_as_it_was(loop: Loop, tmp_path: Path) -> None:
    first = published(loop, tmp_path / "1")
    run = Run.objects.get()
    assert (first.number, run.state, run.code, run.made_reward_model) == (1, "finished", "ok", first)
    assert loop.project.policies.count() == 1
    loop.refresh_from_db()
    assert loop.sampler is not None
    assert (loop.method, loop.sampler.number, loop.project.rounds.count()) == ("dpo", 0, 1)
    assert gather(loop).run is None
    # No policy has learnt from these judgments yet; a reward model takes them all each time.
    assert new_decisions(loop.project, method="dpo") == 9
    assert published(loop, tmp_path / "2").number == 2
    assert Run.objects.order_by("pk").last().snapshot.selection == "all"  # type: ignore[union-attr]
    assert list(broken()) == []
    (settings.POLICIES_DIR / str(loop.project.pk) / "reward-2" / "weights.safetensors").write_bytes(b"tail")
    assert len(list(broken())) == 1


def test_its_accuracy_stands_on_the_runs_page_with_its_interval(
    loop: Loop, tmp_path: Path, alice: User, client: Client
) -> None:
    made = published(loop, tmp_path / "1")
    client.force_login(alice)
    page = client.get(f"/projects/{loop.project.pk}/runs/{made.run.number}/").content.decode()
    assert "Reward model 1" in page
    assert "95% interval 48% to 86% (Wilson), 14 of 20 judgments" in " ".join(page.split())
    page = client.get(f"/projects/{loop.project.pk}/policies/").content.decode()
    assert "Reward model 1" in page
    form: Any = client.get(f"/projects/{loop.project.pk}/runs/start/?method=reward").context["form"]
    assert "margin" in form.fields
    assert not {"beta", "kl_guard", "reference", "loss_type"} & set(form.fields)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([(1, 3), (1, 1)], 2.0),
        ([(1, 3), (1, 3), (2, 3)], 1.0),
        ([(1, 2), (None, None)], 1.0),
        ([(1, None), (1, 3)], 3.0),
        ([(2, 3)], 0.0),  # a reviewer decided otherwise
        ([(1, None), (None, None)], None),
    ],
)
def test_several_peoples_strengths_come_to_one(
    votes: list[tuple[int | None, int | None]], expected: float | None
) -> None:
    assert agreed_strength(votes, preferred=1) == expected
    assert agreed_strength(votes, preferred=None) is None


def test_rloo_asks_the_prompts_that_its_reward_model_learned_from_and_names_it(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match="Train one first"):
        start_run(loop=loop, method="rloo", settings={}, started_by=None, reason="a test")
    first = published(loop, tmp_path / "1")
    second = published(loop, tmp_path / "2")
    loop.refresh_from_db()
    late = make_comparison(make_prompt(loop.project), round=1)
    make_judgment(late, User.objects.get(username="bob"), "A")
    run = start_run(
        loop=loop, method="rloo", settings={"min_rows": 4}, started_by=None, reason="a test", reward_model=first
    )
    assert run.reward_model == first
    folder = settings.POLICIES_DIR / str(loop.project.pk) / "reward-1"
    assert run.spec["reward_model"] == {"model": str(settings.STARTER_DIR), "revision": "", "adapter": str(folder)}
    rows = run_rows(run).rows
    judged = Judgment.objects.filter(comparison__split=Prompt.Split.TRAIN)
    asked = set(judged.values_list("comparison__prompt", flat=True)) - {late.prompt_id}
    assert {row["id"] for row in rows} == {f"p{pk}" for pk in asked}
    assert all(set(row) == {"id", "messages"} for row in rows)
    # From the policy to every judgment, and back: they are the reward model's.
    judgments = {item.judgment_id for item in run.snapshot.items.all()}
    assert judgments == {item.judgment_id for item in first.run.snapshot.items.filter(outcome="used")}
    assert new_decisions(loop.project, method="dpo") == 1  # the policy will have learnt from the others
    policy = publish_run(**finished(run, tmp_path / "policy"))
    assert learned_by([policy])[policy.pk].judgments == len(judgments)
    told = card(card_facts(policy, form="adapter"))
    assert "Its answers were rewarded by reward model 1" in told
    assert "on 20 held-out judgments it agrees in 70% (95% interval 48% to 86%)" in told
    assert str(settings.POLICIES_DIR) not in told
    Run.objects.filter(pk=run.pk).update(state="cancelled")
    again = start_run(loop=loop, method="grpo", settings={}, started_by=None, reason="a test")
    assert again.reward_model == second
    assert list(broken()) == []


def test_what_a_reward_model_refused_is_not_said_to_have_taught_a_policy(loop: Loop, tmp_path: Path) -> None:
    made = published(loop, tmp_path / "1")
    refused = made.run.snapshot.items.filter(outcome="used").first()
    assert refused is not None
    assert refused.counted_in is not None
    made.run.snapshot.comparisons.filter(pk=refused.counted_in.pk).update(outcome="skipped", reason="too long")
    made.run.snapshot.items.filter(pk=refused.pk).update(outcome="skipped", reason="too long")
    loop.refresh_from_db()
    run = start_run(loop=loop, method="rloo", settings={}, started_by=None, reason="a test")
    assert len(run_rows(run).rows) == 8
    assert not run.snapshot.items.filter(judgment=refused.judgment_id).exists()


def test_a_lead_chooses_the_reward_model_on_the_form(loop: Loop, tmp_path: Path, alice: User, client: Client) -> None:
    client.force_login(alice)
    url = f"/projects/{loop.project.pk}/runs/start/"
    page = client.get(f"{url}?method=grpo").content.decode()
    assert "0 reward models" in page
    sent = default_settings(method="grpo", base_model=loop.base_model) | {"method": "grpo", "loss_type": "dr_grpo"}
    sent = {name: value for name, value in sent.items() if value is not None and value is not False and value != []}
    sent.pop("scale_rewards")
    assert "Train one first" in client.post(url, sent).content.decode()
    first = published(loop, tmp_path / "1")
    published(loop, tmp_path / "2")
    form: Any = client.get(f"{url}?method=grpo").context["form"]
    assert form.fields["reward_model"].choices == [("2", "reward model 2 (70%)"), ("1", "reward model 1 (70%)")]
    assert not {"chosen_guard", "label_smoothing", "margin"} & set(form.fields)
    wrong = client.post(url, sent | {"reward_model": "1", "num_generations": 3})
    assert "Must divide the answers of a step (batch size × accumulation = 16)." in wrong.content.decode()
    opened = client.post(url, sent | {"reward_model": "1"})
    run = Run.objects.latest("pk")
    assert (opened.status_code, run.method, run.reward_model) == (302, "grpo", first)
    assert (run.spec["loss_type"], run.spec["scale_rewards"]) == (["dr_grpo"], False)
    page = " ".join(client.get(f"/projects/{loop.project.pk}/runs/{run.number}/").content.decode().split())
    assert "held-out 70% (48% to 86%, n 20)" in page
    assert str(settings.POLICIES_DIR) not in page


def test_fdpo_takes_pairs_and_a_reward_model_and_says_how_many_it_dropped(
    loop: Loop, tmp_path: Path, alice: User, client: Client
) -> None:
    client.force_login(alice)
    url = f"/projects/{loop.project.pk}/runs/start/"
    fits = {offer.method.name: offer.fits for offer in offers(loop.project)}
    assert (fits["dpo"], fits["fdpo"]) == (True, False)
    assert "9 pairs, 0 reward models" in client.get(f"{url}?method=fdpo").content.decode()
    with pytest.raises(CannotStartError, match="fDPO needs a reward model"):
        start_run(loop=loop, method="fdpo", settings={}, started_by=None, reason="a test")
    made = published(loop, tmp_path / "1")
    assert {offer.method.name: offer.fits for offer in offers(loop.project)}["fdpo"]
    form: Any = client.get(f"{url}?method=fdpo").context["form"]
    assert {"reward_model", "max_new_tokens", "loss_type", "chosen_guard", "aggregation"} <= set(form.fields)
    assert "num_generations" not in form.fields
    loop.refresh_from_db()
    run = start_run(loop=loop, method="fdpo", settings={"max_new_tokens": 20}, started_by=None, reason="a test")
    assert (run.reward_model, len(run_rows(run).rows)) == (made, 9)
    assert {"chosen", "rejected"} <= set(run_rows(run).rows[0])
    ended = finished(run, tmp_path / "policy")
    *kept, dropped = ended["result"]["used"]
    metrics = {"compared": 9, "dropped": 1, "dropped_low": 0.0199, "dropped_high": 0.435}
    metrics |= {"reward_chosen": 1.5, "reward_own": -0.25}
    skipped = [{"id": dropped, "reason": str(NO_BETTER)}]
    ended["result"] |= {"used": kept, "skipped": skipped, "metrics": metrics}
    policy = publish_run(**ended)
    assert learned_by([policy])[policy.pk].judgments == 8
    page = " ".join(client.get(f"/projects/{loop.project.pk}/runs/{run.number}/").content.decode().split())
    assert "95% interval of the share 2% to 44% (Wilson)" in page
    assert "skipped: the policy&#x27;s own answer is at least as good" in page
    assert "reward margin" in page
    told = " ".join(card(card_facts(Policy.objects.get(pk=policy.pk), form="adapter")).split())
    assert "Before training 1 of its 9 pairs were dropped" in told
    assert "as judged by reward model 1" in told
    loop.refresh_from_db()
    assert loop.method == "dpo"  # rounds that start by themselves stay as they were
    assert list(broken()) == []
