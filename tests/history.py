"""A project in which training has happened: a run that failed, a run that made a policy, and a trial of both,
and a recipe that has stopped."""

from datetime import timedelta

from django.utils import timezone

from annotate.models import Project, User
from annotate.said import Said
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response, policy_author
from training.models import Job, Loop, Policy, RecipeRun, Run, Trial, TrialRow
from training.recipes import Stage
from training.services.loops import ensure_loop
from training.services.publishing import relay
from training.services.recipes import make_recipe
from training.services.runs import end_run, mark_training, start_run

METRICS = {
    "heldout_accuracy": 0.71,
    "heldout_low": 0.58,
    "heldout_high": 0.81,
    "heldout_n": 52,
    "heldout_wins": 37,
    "kl_per_response": 4.2,
    "kl_per_response_se": 0.31,
    "kl_per_token": 0.2,
    "kl_n": 64,
    "mean_tokens": 21.9,
    "mean_tokens_base": 20.3,
    "empty_share": 0.0,
    "repetition_share": 0.02,
    "truncated_share": 0.1,
    "samples_n": 100,
}
STEPS = 12


def make_history(project: Project, lead: User) -> Trial:
    """Run 1 failed and gives advice, run 2 made policy 1, which is held back; the trial that was answered."""
    loop = ensure_loop(project=project, base_model="owner/name")
    for number in range(12):
        prompt = make_prompt(project, f"Old message {number}: where is my parcel?")
        make_judgment(make_comparison(prompt, round=1), lead, "A" if number % 3 else "B")
    make_rating(make_response(make_prompt(project, "An old question")), lead)
    reserved = make_prompt(project, "A reserved question", split="reserved")
    failed = _run(loop, lead)
    end_run(failed, state="failed", code="out_of_memory", message=Said("The device ran out of memory."))
    run = _run(loop, lead)
    shown = {"id": f"p{reserved.pk}", "before": "It is late.", "after": ""}
    run.result = {"before_after": [shown], "versions": {"torch": "2"}}
    policy = _policy(run)
    said = Said("The policy was trained and scored, but is not sampled from: %(why)s.", why="it repeats itself")
    Run.objects.filter(pk=run.pk).update(
        state="finished", code="guards", message=said, result=run.result, ended_at=timezone.now()
    )
    _recipe(run, lead)
    return _trial(policy, lead)


def _recipe(run: Run, lead: User) -> None:
    """The run was a recipe's first stage, at which it stopped."""
    stages = [Stage("dpo", {"beta": 0.2, "loss_type": ["sigmoid", "sft"]}), Stage("kto")]
    recipe = make_recipe(project=run.project, name="DPO, then KTO", stages=stages, actor=lead)
    begun = RecipeRun.objects.create(
        project=run.project,
        number=1,
        recipe=recipe,
        name=recipe.name,
        version=1,
        stages=recipe.stages,
        start=run.parent,
        state="stopped",
        message=Said("The guards hold policy %(number)s back.", number=1),
        created_by=lead,
        ended_at=timezone.now(),
    )
    Run.objects.filter(pk=run.pk).update(recipe_run=begun, stage=1)


def _run(loop: Loop, lead: User) -> Run:
    """A run that took all its steps, with a curve, looks at held-out judgments and a warning."""
    run = start_run(
        loop=loop,
        method="dpo",
        settings={"batch_size": 8},
        started_by=lead,
        reason=Said("%(who)s pressed Start", who="bob"),
    )
    mark_training(run)
    Job.objects.filter(run=run).update(state="done", ended_at=timezone.now())
    events = [{"kind": "phase", "message": "Training"}, {"kind": "warning", "message": "Two rows were cut."}]
    for step in range(1, STEPS + 1):
        values = {"loss": 0.7 / step, "rewards/accuracies": 0.5 + step / 40, "rewards/margins": step / 10, "lr": 1e-4}
        events.append({"kind": "progress", "step": step, "total": STEPS})
        events.append({"kind": "metric", "step": step, "values": values})
    events.append({"kind": "look", "step": STEPS, "values": {"heldout_accuracy": 0.7, "kl_per_response": 4.0}})
    at = timezone.now().timestamp()
    relay(
        run, [{"seq": seq, "at": at + seq} | event for seq, event in enumerate(events)], attempt=1, stage=Job.Kind.TRAIN
    )
    run.snapshot.items.filter(outcome="pending").update(outcome="used")
    run.snapshot.comparisons.filter(outcome="pending").update(outcome="used")
    return Run.objects.select_related("snapshot", "project", "parent").get(pk=run.pk)


def _policy(run: Run) -> Policy:
    return Policy.objects.create(
        project=run.project,
        number=1,
        run=run,
        parent=run.parent,
        author=policy_author(run.project, 1),
        base_model=run.parent.base_model,
        adapter_path=f"policies/{run.project_id}/1",
        manifest={"files": {"adapter_model.safetensors": {"sha256": "ab" * 32, "bytes": 4096}}},
        manifest_sha256="f" * 64,
        metrics=METRICS,
        guard_failures=["it repeats itself"],
        scored_at=timezone.now() - timedelta(minutes=1),
    )


def _trial(policy: Policy, lead: User) -> Trial:
    base = Policy.objects.get(project=policy.project, number=0)
    job = Job.objects.create(project=policy.project, kind=Job.Kind.TRIAL, state="done")
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 64, "seed": 1}
    trial = Trial.objects.create(
        project=policy.project, left=base, right=policy, job=job, sampling=sampling, created_by=lead
    )
    asked = [{"role": "user", "content": "Where is it?"}]
    side = {"tokens": 5, "finish_reason": "stop"}
    TrialRow.objects.create(
        trial=trial, place=0, messages=asked, left=side | {"text": "On its way."}, right=side | {"text": "**Here**."}
    )
    TrialRow.objects.create(trial=trial, place=1, messages=asked, skipped="prompt too long")
    return trial
