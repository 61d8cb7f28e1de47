"""What no run trains on: judged pairs and prompts of the reserved split, for scoring and for looks during training."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet

from annotate.models import COUNTS, Aggregation, Judgment, Project, Prompt, Ranking, Response
from annotate.orders import choose_pairs
from annotate.queries.aggregated import excluded_judgments, excluded_rankings, lineup_records, pair_records
from annotate.queries.records import CHUNK, judgment_records, ranking_records
from annotate.records import Answer, JudgmentRecord, LineupRecord, PairRecord, RankingRecord
from training.models import Job, Loop
from training.services.sampling import prompt_rows

# Enough for an interval of a few points; more would only make people wait for the next round.
MAX_PAIRS = 1000
MAX_PROMPTS = 200
# A look during training is at fewer: it comes every so many steps.
LOOK_PAIRS = 200
LOOK_PROMPTS = 64


def reserved_prompts(project: Project) -> list[int]:
    """Ids, the same ones every time as long as none are imported."""
    reserved = project.prompts.filter(split=Prompt.Split.RESERVED).order_by("sha256")
    return list(reserved.values_list("pk", flat=True)[:MAX_PROMPTS])


def frozen_for_looks(loop: Loop) -> dict[str, Any]:
    """What a training job's payload keeps, so that every attempt looks at the same."""
    return {"pairs": held_out_pairs(loop)[:LOOK_PAIRS], "prompt_ids": reserved_prompts(loop.project)[:LOOK_PROMPTS]}


def frozen_for_reward_model(loop: Loop) -> dict[str, Any]:
    """The same for a run that makes a reward model, which is measured by its own training job."""
    return {"pairs": held_out_pairs(loop), "prompt_ids": []}


def held_out_pairs(loop: Loop) -> list[dict[str, Any]]:
    """What people prefer on reserved prompts: ``{id, prompt, chosen, rejected}``, ids of rows; the newest, comparisons
    first. What they draw on, and what a reviewer excluded, measures nothing.
    """
    project, rule = loop.project, loop.aggregation
    judgments = Judgment.objects.filter(
        COUNTS, project=project, comparison__split=Prompt.Split.RESERVED, comparison__purpose="collect"
    ).order_by("-id")
    rankings = Ranking.objects.filter(
        COUNTS, project=project, lineup__split=Prompt.Split.RESERVED, lineup__purpose="collect"
    ).order_by("-id")
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
