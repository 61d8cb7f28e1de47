"""Sampling: freeze which prompts the sampler answers, and bring its answers to the annotators."""

import math
import random
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q

from annotate.models import Project, Prompt, Slot
from annotate.services.content import NewResponse, add_responses, form_comparisons, form_thumb_slots
from annotate.services.rankings import form_lineups
from training.engine import rundir
from training.engine.spec import ModelRef, SampleSpec
from training.models import Job, Loop, Policy, Round
from training.paths import adapter_folder, model_of
from training.queries.queue import open_items
from training.services.doorbell import ring_after_commit
from training.services.leases import Lease, finish

RESPONSES = "responses.jsonl"

# Reserved prompts measure the policies. They are sampled in their own proportion, but never more than this share of a
# batch: annotators' time is for training first.
MAX_RESERVED_SHARE = 0.2
# A batch brings the queue to this many times its target, so that not every judgment costs a start of the model.
FILL = 2.0


def model_ref(policy: Policy) -> ModelRef:
    """The policy as the engine sees it."""
    return ModelRef(*model_of(policy), adapter_folder(policy))


def start_sampling(*, loop: Loop, prompts: int | None = None) -> Job | None:
    """A job that samples from the loop's sampler, with its prompts and seed frozen. None: one is active already, or
    there is nothing to sample.

    ``prompts`` is how many, train and reserved together; by default enough to fill the queue.
    """
    opened = Round.objects.select_related("policy").filter(project=loop.project, closed_at__isnull=True).first()
    if opened is None:
        return None
    seed = secrets.randbelow(2**32)
    wanted = prompts or _prompts_for_queue(loop, opened)
    prompt_ids = _choose_prompts(loop.project, opened, wanted=wanted, rng=random.Random(seed))
    if not prompt_ids:
        return None
    spec = SampleSpec(
        model=model_ref(opened.policy),
        n=_answers_each(loop),
        temperature=loop.temperature,
        top_p=loop.top_p,
        max_new_tokens=loop.max_new_tokens,
        seed=seed,
    )
    payload = {
        "spec": spec.to_json(),
        "prompt_ids": prompt_ids,
        "round": opened.number,
        "pairs_per_prompt": loop.pairs_per_prompt,
    }
    try:
        with transaction.atomic():
            job = Job.objects.create(project=loop.project, policy=opened.policy, kind=Job.Kind.SAMPLE, payload=payload)
            ring_after_commit(job.pk)
    except IntegrityError:
        return None
    return job


def _answers_each(loop: Loop) -> int:
    """How many answers to each prompt are sampled: never fewer than a ranking shows."""
    return max(loop.responses_per_prompt, loop.project.ranking_size if loop.project.asks_rankings else 0)


def _prompts_for_queue(loop: Loop, opened: Round) -> int:
    """How many prompts bring each kind of item to ``FILL`` times the queue's target."""
    pairs = min(loop.pairs_per_prompt, math.comb(loop.responses_per_prompt, 2)) * loop.project.overlap
    each = {"pair": pairs, "thumb": loop.responses_per_prompt, "ranking": loop.project.overlap}
    found = open_items(loop.project, round_number=opened.number)
    missing = [math.ceil((FILL * loop.queue_target - count) / each[kind]) for kind, count in found.items()]
    return max(1, *missing)


def _choose_prompts(project: Project, opened: Round, *, wanted: int, rng: random.Random) -> list[int]:
    """Prompts that this round has used least come first, in random order among equals; a share of them is reserved.

    When every prompt was sampled already, they come again: another seed gives other answers, and exact duplicates are
    dropped when they are published.
    """
    used = Count("responses", filter=Q(responses__round=opened.number, responses__author=opened.policy.author_id))
    by_split: dict[str, list[tuple[int, float, int]]] = {"train": [], "reserved": []}
    for pk, split, times in project.prompts.annotate(times=used).values_list("pk", "split", "times"):
        by_split[split].append((times, rng.random(), pk))
    train, reserved = ([pk for _, _, pk in sorted(found)] for found in by_split.values())
    share = min(len(reserved) / max(1, len(train) + len(reserved)), MAX_RESERVED_SHARE)
    held_out = min(len(reserved), math.ceil(wanted * share))
    chosen = train[: max(1, wanted - held_out)] + reserved[:held_out]
    # The queue is served in this order: with the reserved ones last, a round that ends early would never judge any.
    rng.shuffle(chosen)
    return chosen


# --- The worker's side ------------------------------------------------------------------------------------------------


def prompt_rows(project: Project, prompt_ids: Iterable[int]) -> Iterator[dict[str, Any]]:
    """The engine's rows ``{"id", "messages"}`` in the frozen order; a prompt deleted meanwhile is left out."""
    ids = list(prompt_ids)
    found = dict(Prompt.objects.filter(project=project, pk__in=ids).values_list("pk", "messages"))
    return ({"id": pk, "messages": found[pk]} for pk in ids if pk in found)


def write_sample_dir(job: Job, folder: Path) -> None:
    """What the engine needs to sample."""
    rundir.write_run_dir(
        folder, SampleSpec.from_json(job.payload["spec"]), prompt_rows(job.project, job.payload["prompt_ids"])
    )


@transaction.atomic
def publish_samples(*, lease: Lease, job: Job, folder: Path, result: dict[str, Any]) -> None:
    """Ends the job and brings its answers into the queue, in one transaction. Raises ``LeaseLostError``.

    Judging the newest policy's answers teaches most (on-policy data beats offline data), so what older rounds left
    open is withdrawn, but only now: while the new answers were being made the old ones kept the annotators busy.
    """
    finish(lease, state=Job.State.DONE)
    if job.policy is None:
        raise ValueError(f"sampling job {job.pk} names no policy")
    project, round_number = job.project, int(job.payload["round"])
    sampling = {key: job.payload["spec"][key] for key in ("temperature", "top_p", "max_new_tokens")}
    answers = add_responses(
        author=job.policy.author,
        round=round_number,
        responses=(
            NewResponse(
                prompt_id=row["id"],
                text=row["text"],
                sampling=sampling | {"seed": row["seed"], "index": row["index"]},
                tokens=row["tokens"],
                finish_reason=row["finish_reason"],
            )
            for row in rundir.iter_rows(folder / RESPONSES)
        ),
    )
    made = 0
    prompt_ids = job.payload["prompt_ids"]
    if project.asks_pairs:
        made += form_comparisons(
            project=project,
            round=round_number,
            prompt_ids=prompt_ids,
            per_prompt=job.payload["pairs_per_prompt"],
            rng=random.Random(job.payload["spec"]["seed"]),
        )
    if project.asks_thumbs:
        made += form_thumb_slots(project=project, round=round_number, prompt_ids=prompt_ids)
    if project.asks_rankings:
        made += form_lineups(
            project=project,
            round=round_number,
            prompt_ids=prompt_ids,
            rng=random.Random(job.payload["spec"]["seed"]),
        )
    if made:
        _withdraw_older(project, round_number)
    skipped = result.get("skipped", [])
    Job.objects.filter(pk=job.pk).update(
        payload=job.payload
        | {"made": made, "responses": answers.kept, "duplicates": answers.duplicates, "skipped": skipped[:1000]}
    )


def _withdraw_older(project: Project, round_number: int) -> None:
    older = (
        Q(comparison__round__lt=round_number, comparison__purpose="collect")
        | Q(response__round__lt=round_number)
        | Q(lineup__round__lt=round_number, lineup__purpose="collect")
    )
    Slot.objects.filter(project=project, state=Slot.State.OPEN).filter(older).update(state=Slot.State.WITHDRAWN)
