"""Scoring: measure a new policy on reserved prompts, then let it be sampled from, or say why not."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Avg, QuerySet
from django.utils import timezone

from annotate.models import Aggregation, Judgment, Prompt, Ranking, Response
from annotate.orders import choose_pairs
from annotate.queries.aggregated import excluded_judgments, excluded_rankings, lineup_records, pair_records
from annotate.queries.records import CHUNK, judgment_records, ranking_records
from annotate.records import Answer, JudgmentRecord, LineupRecord, PairRecord, RankingRecord
from annotate.said import Said, packed
from training.engine import rundir
from training.engine.spec import ScoreSpec
from training.loop import guards
from training.models import Job, Loop, Policy, Run
from training.paths import adapter_folder, model_of
from training.services.doorbell import ring_after_commit
from training.services.leases import Lease, finish
from training.services.loops import adopt_policy
from training.services.runs import brief, move
from training.services.sampling import model_ref, prompt_rows
from training.services.text import storable

# Enough for an interval of a few points; more would only make people wait for the next round.
MAX_PAIRS = 1000
MAX_PROMPTS = 200


def start_scoring(*, run: Run) -> Job | None:
    """The job that scores the run's policy, its held-out pairs and reserved prompts frozen. None: there is one already.

    Held-out pairs are what was said last of reserved prompts, by the loop's rule for several judgments and its choice
    of a ranking's pairs, as training rows are. The prompts are the same ones every time as long as no new ones are
    imported (ordered by their hash), so that rounds can be compared.
    """
    policy = Policy.objects.filter(run=run).first()
    if policy is None or Job.objects.filter(run=run, kind=Job.Kind.SCORE).exists():
        return None
    loop = run.project.loop
    reserved = run.project.prompts.filter(split=Prompt.Split.RESERVED).order_by("sha256")
    prompt_ids = list(reserved.values_list("pk", flat=True)[:MAX_PROMPTS])
    # A whole model has no adapter to take off: it is measured against the model that its training began from.
    base, base_revision = model_of(run.parent) if policy.whole else ("", "")
    spec = ScoreSpec(
        policy=model_ref(policy),
        base=base,
        base_revision=base_revision,
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


def held_out_pairs(loop: Loop) -> list[dict[str, Any]]:
    """What people prefer on reserved prompts: ``{id, prompt, chosen, rejected}``, ids of rows; the newest, comparisons
    first. What they draw on, and what a reviewer excluded, measures nothing.
    """
    project, rule = loop.project, loop.aggregation
    reserved: dict[str, Any] = {"superseded_at__isnull": True, "retracted_at__isnull": True}
    judgments = Judgment.objects.filter(
        project=project, comparison__split=Prompt.Split.RESERVED, comparison__purpose="collect", **reserved
    ).order_by("-id")
    rankings = Ranking.objects.filter(project=project, lineup__split=Prompt.Split.RESERVED, **reserved).order_by("-id")
    judged: Iterable[JudgmentRecord | PairRecord]
    ranked: Iterable[RankingRecord | LineupRecord]
    if rule == Aggregation.SINGLE:
        judged = judgment_records(project, judgment_ids=_newest(judgments, "pk"))
        ranked = ranking_records(project, ranking_ids=_newest(rankings, "pk"))
    else:
        judged = pair_records(project, rule=rule, comparison_ids=_newest(judgments, "comparison_id"))
        ranked = lineup_records(project, rule=rule, lineup_ids=_newest(rankings, "lineup_id"))
    out = (excluded_judgments(project), excluded_rankings(project)) if rule == Aggregation.SINGLE else (set(), set())
    pairs = [
        _held_out(
            "c" if isinstance(record, PairRecord) else "j", record.id, record.prompt, record.preferred, record.other
        )
        for record in judged
        if record.preferred is not None and record.other is not None and record.id not in out[0]
    ]
    orders = []
    for ranking in ranked:
        mark = "l" if isinstance(ranking, LineupRecord) else "k"
        sound = [(pair.better.id, pair.worse.id) for pair in ranking.pairs if ranking.id not in out[1]]
        orders += [
            {
                "id": f"{mark}{ranking.id}-{better}-{worse}",
                "prompt": ranking.prompt,
                "chosen": better,
                "rejected": worse,
            }
            for better, worse in choose_pairs(sound, loop.ranking_pairs)
        ]
    return pairs[-MAX_PAIRS:] + orders[-MAX_PAIRS:]


def _newest(rows: QuerySet[Any], column: str) -> list[int]:
    """The ids in this column of the newest rows, each once. More than are wanted, because draws measure nothing."""
    return list(dict.fromkeys(rows.values_list(column, flat=True)[: 4 * MAX_PAIRS]))[: 2 * MAX_PAIRS]


def _held_out(mark: str, pk: int, prompt: int, chosen: Answer, rejected: Answer) -> dict[str, Any]:
    return {"id": f"{mark}{pk}", "prompt": prompt, "chosen": chosen.id, "rejected": rejected.id}


# --- The worker's side ------------------------------------------------------------------------------------------------


def score_rows(job: Job) -> Iterator[dict[str, Any]]:
    """The engine's rows: held-out pairs, then reserved prompts."""
    for start in range(0, len(job.payload["pairs"]), CHUNK):
        page = job.payload["pairs"][start : start + CHUNK]
        messages = dict(Prompt.objects.filter(pk__in=[row["prompt"] for row in page]).values_list("pk", "messages"))
        wanted = [pk for row in page for pk in (row["chosen"], row["rejected"])]
        texts = dict(Response.objects.filter(pk__in=wanted).values_list("pk", "text"))
        for row in page:
            yield {
                "kind": "pair",
                "id": row["id"],
                "messages": messages[row["prompt"]],
                "chosen": texts[row["chosen"]],
                "rejected": texts[row["rejected"]],
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
