"""Scoring: measure a new policy on reserved prompts, then let it be sampled from, or say why not."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Avg
from django.utils import timezone

from annotate.models import Response
from annotate.said import Said, packed
from training.engine import rundir
from training.engine.measures import repeats_itself
from training.engine.spec import ScoreSpec
from training.loop import guards
from training.models import Job, Policy, Run
from training.paths import adapter_folder, model_of, reference_cache
from training.recipes import makes_more_policies, stages_from
from training.services.doorbell import ring_after_commit
from training.services.heldout import held_out_pairs, reserved_prompts, score_rows
from training.services.leases import Lease, finish
from training.services.loops import adopt_policy, locked_loop
from training.services.runs import brief, move
from training.services.sampling import model_ref
from training.services.text import storable
from training.states import JOB_ACTIVE


def start_scoring(*, run: Run) -> Job | None:
    """The job that scores the run's policy, its held-out pairs and reserved prompts frozen. None: one is under way.

    Held-out pairs are what was said last of reserved prompts, by the loop's rule for several judgments and its choice
    of a ranking's pairs, as training rows are. The prompts are the same ones every time as long as no new ones are
    imported (ordered by their hash), so that rounds can be compared.
    """
    policy = Policy.objects.filter(run=run).first()
    if policy is None or Job.objects.filter(run=run, kind=Job.Kind.SCORE, state__in=JOB_ACTIVE).exists():
        return None
    loop = run.project.loop
    prompt_ids = reserved_prompts(run.project)
    # Without an adapter to take off, and where the model below is not what policies are held close to, another model is
    # what it is measured against.
    parent_model = model_of(run.parent)
    base = model_of(policy.anchor) if policy.anchor else parent_model if policy.whole else ("", "")
    previous = parent_model if parent_model != model_of(policy) else ("", "")
    spec = ScoreSpec(
        policy=model_ref(policy),
        base=base[0],
        base_revision=base[1],
        previous_model=previous[0],
        previous_revision=previous[1],
        previous=adapter_folder(run.parent),
        beta=float(run.spec["beta"]),
        kl_samples=min(64, len(prompt_ids)),
        temperature=loop.temperature,
        top_p=loop.top_p,
        max_new_tokens=loop.max_new_tokens,
        seed=secrets.randbelow(2**32),
    )
    payload = {"spec": spec.to_json(), "prompt_ids": prompt_ids, "pairs": held_out_pairs(loop)}
    try:
        with transaction.atomic():
            job = Job.objects.create(project=run.project, run=run, policy=policy, kind=Job.Kind.SCORE, payload=payload)
            ring_after_commit(job.pk)
    except IntegrityError:
        return None
    return job


# --- The worker's side ------------------------------------------------------------------------------------------------


def write_score_dir(job: Job, folder: Path) -> None:
    """What the engine needs to score."""
    spec = ScoreSpec.from_json(job.payload["spec"] | reference_cache())
    rundir.write_run_dir(folder, spec, score_rows(job))


def _before(run: Run, folder: Path) -> dict[str, float | None]:
    """What the policy is held against: the base's mean length here, and the previous policy on the same prompts."""
    base = Response.objects.filter(prompt__project=run.project, author__kind="policy", author__number=0)
    previous = [row for row in rundir.iter_rows(folder / "samples.jsonl") if row["set"] == "previous"]
    n = len(previous)
    return {
        "mean_tokens_base": base.aggregate(mean=Avg("tokens"))["mean"],
        "mean_tokens_previous": sum(row["tokens"] for row in previous) / n if n else None,
        "empty_share_previous": sum(not row["text"] for row in previous) / n if n else None,
        "repetition_share_previous": sum(repeats_itself(row["text"]) for row in previous) / n if n else None,
    }


@transaction.atomic
def publish_scores(*, lease: Lease, run: Run, policy: Policy, folder: Path, result: Mapping[str, Any]) -> None:
    """Ends the job and the run, and opens the next round when the guards let the policy through. One transaction.

    A policy that does not continue the one that answers come from now is only measured: a run like an earlier one, or
    one that is scored again late, must not throw away what was learnt since.
    """
    finish(lease, state=Job.State.DONE)
    metrics = storable(dict(result["metrics"])) | _before(run, folder)
    failures = guards(metrics)
    Policy.objects.filter(pk=policy.pk).update(
        metrics=metrics, guard_failures=packed(failures), scored_at=timezone.now()
    )
    shown = rundir.iter_rows(folder / "before_after.jsonl")
    run.refresh_from_db(fields=["result"])
    kept = run.result | {"scores": brief(result), "before_after": storable(list(shown))}
    # What lies between two stages of a recipe is not what anybody waits for: nothing is sampled from it.
    between = run.recipe_run is not None and makes_more_policies(stages_from(run.recipe_run.stages), run.stage or 0)
    sampler = locked_loop(run.project_id).sampler
    follows = sampler is None or sampler.pk == (run.recipe_run.start_id if run.recipe_run else run.parent_id)
    if failures:
        message = Said("The policy was trained and scored, but is not sampled from: %(why)s.", why=failures)
    elif between:
        message = Said("Policy %(number)s was trained and scored; the recipe goes on from it.", number=policy.number)
    elif sampler is not None and not follows:
        message = Said(
            "Policy %(number)s was trained and scored, to be compared. It began from policy %(parent)s; the next "
            "answers still come from policy %(sampler)s.",
            number=policy.number,
            parent=run.parent.number,
            sampler=sampler.number,
        )
    else:
        message = Said("Policy %(number)s was trained and scored; the next answers come from it.", number=policy.number)
    fields = {"result": kept, "message": message, "ended_at": timezone.now(), "code": "guards" if failures else "ok"}
    if move(run, to="finished", why=message, **fields) and follows and not failures and not between:
        adopt_policy(policy=policy)
