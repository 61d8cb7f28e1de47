"""Scoring: measure a new policy on reserved prompts, then let it be sampled from, or say why not."""

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Avg
from django.utils import timezone

from annotate.models import Judgment, Prompt, Ranking, Response
from annotate.queries.records import judgment_records, ranking_records
from annotate.said import Said, packed
from training.engine import rundir
from training.engine.spec import ScoreSpec
from training.loop import guards
from training.models import Job, Policy, Run
from training.paths import adapter_folder
from training.services.doorbell import ring_after_commit
from training.services.leases import Lease, finish
from training.services.loops import adopt_policy
from training.services.runs import brief, move
from training.services.sampling import model_ref, prompt_rows
from training.services.text import storable

# Enough for an interval of a few points; more would only make people wait for the next round.
MAX_PAIRS = 1000
MAX_PROMPTS = 200
# Of six answers without a tie.
MOST_PAIRS_OF_A_RANKING = 15


def start_scoring(*, run: Run) -> Job | None:
    """The job that scores the run's policy, its held-out pairs and reserved prompts frozen. None: there is one already.

    Held-out pairs are of the newest judgments and rankings on reserved prompts. The prompts are the same ones every
    time as long as no new ones are imported (ordered by their hash), so that rounds can be compared.
    """
    policy = Policy.objects.filter(run=run).first()
    if policy is None or Job.objects.filter(run=run, kind=Job.Kind.SCORE).exists():
        return None
    loop = run.project.loop
    judged = (
        Judgment.objects.filter(
            project=run.project,
            comparison__split=Prompt.Split.RESERVED,
            comparison__purpose="collect",
            preferred__isnull=False,
            superseded_at__isnull=True,
            retracted_at__isnull=True,
        )
        .order_by("-id")
        .values_list("pk", flat=True)[:MAX_PAIRS]
    )
    ranked = (
        Ranking.objects.filter(
            project=run.project,
            lineup__split=Prompt.Split.RESERVED,
            pairs__gt=0,
            superseded_at__isnull=True,
            retracted_at__isnull=True,
        )
        .order_by("-id")
        .values_list("pk", flat=True)[: MAX_PAIRS // MOST_PAIRS_OF_A_RANKING]
    )
    reserved = run.project.prompts.filter(split=Prompt.Split.RESERVED).order_by("sha256")
    prompt_ids = list(reserved.values_list("pk", flat=True)[:MAX_PROMPTS])
    spec = ScoreSpec(
        policy=model_ref(policy),
        previous=adapter_folder(run.parent),
        beta=float(run.spec["beta"]),
        kl_samples=min(64, len(prompt_ids)),
        temperature=loop.temperature,
        top_p=loop.top_p,
        max_new_tokens=loop.max_new_tokens,
        seed=secrets.randbelow(2**32),
    )
    payload = {"spec": spec.to_json(), "prompt_ids": prompt_ids, "judgment_ids": list(judged)}
    payload["ranking_ids"] = list(ranked)
    try:
        with transaction.atomic():
            job = Job.objects.create(project=run.project, run=run, policy=policy, kind=Job.Kind.SCORE, payload=payload)
            ring_after_commit(job.pk)
    except IntegrityError:
        return None
    return job


# --- The worker's side ------------------------------------------------------------------------------------------------


def score_rows(job: Job) -> Iterator[dict[str, Any]]:
    """The engine's rows: held-out pairs, then reserved prompts."""
    for record in judgment_records(job.project, judgment_ids=job.payload["judgment_ids"], include_inactive=True):
        if record.preferred and record.other:
            yield {
                "kind": "pair",
                "id": f"j{record.id}",
                "messages": record.messages,
                "chosen": record.preferred.text,
                "rejected": record.other.text,
            }
    # Jobs of before rankings were asked for have none.
    ranking_ids = job.payload.get("ranking_ids", [])
    for ranking in ranking_records(job.project, ranking_ids=ranking_ids, include_inactive=True):
        for pair in ranking.pairs:
            yield {
                "kind": "pair",
                "id": f"k{ranking.id}-{pair.better.id}-{pair.worse.id}",
                "messages": ranking.messages,
                "chosen": pair.better.text,
                "rejected": pair.worse.text,
            }
    for row in prompt_rows(job.project, job.payload["prompt_ids"]):
        yield {"kind": "prompt", "id": f"p{row['id']}", "messages": row["messages"]}


def write_score_dir(job: Job, folder: Path) -> None:
    """What the engine needs to score."""
    rundir.write_run_dir(folder, ScoreSpec.from_json(job.payload["spec"]), score_rows(job))


def _lengths_before(run: Run, folder: Path) -> dict[str, float | None]:
    """Mean tokens of the base's answers in the project, and of the previous policy's on the same prompts."""
    base = Response.objects.filter(prompt__project=run.project, author__kind="policy", author__number=0)
    previous = [row["tokens"] for row in rundir.iter_rows(folder / "samples.jsonl") if row["set"] == "previous"]
    return {
        "mean_tokens_base": base.aggregate(mean=Avg("tokens"))["mean"],
        "mean_tokens_previous": sum(previous) / len(previous) if previous else None,
    }


@transaction.atomic
def publish_scores(*, lease: Lease, run: Run, policy: Policy, folder: Path, result: Mapping[str, Any]) -> None:
    """Ends the job and the run, and opens the next round when the guards let the policy through. One transaction."""
    finish(lease, state=Job.State.DONE)
    metrics = storable(dict(result["metrics"])) | _lengths_before(run, folder)
    failures = guards(metrics, run.parent.metrics)
    Policy.objects.filter(pk=policy.pk).update(
        metrics=metrics, guard_failures=packed(failures), scored_at=timezone.now()
    )
    shown = rundir.iter_rows(folder / "before_after.jsonl")
    run.refresh_from_db(fields=["result"])
    kept = run.result | {"scores": brief(result), "before_after": storable(list(shown))}
    if failures:
        message = Said("The policy was trained and scored, but is not sampled from: %(why)s.", why=failures)
    else:
        message = Said("Policy %(number)s was trained and scored; the next answers come from it.", number=policy.number)
    fields = {"result": kept, "message": message, "ended_at": timezone.now(), "code": "guards" if failures else "ok"}
    if move(run, to="finished", why=message, **fields) and not failures:
        adopt_policy(policy=policy)
