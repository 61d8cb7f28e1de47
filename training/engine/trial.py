"""`trial`: two policies answer the same prompts, from the same random numbers. Rows in: `{"id", "messages"}`.

Out: `answers.jsonl`, a line for each prompt in the order of the rows: `{"id", "left", "right"}`, each side with
`text`, `tokens` (sampled ones, with the end token) and `finish_reason` ("stop" or "length").
"""

import gc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine import rundir
from training.engine.job import Failure, Job, require_ids
from training.engine.sample import usable_prompts
from training.engine.sizes import within_reach
from training.engine.spec import ModelRef, TrialSpec

if TYPE_CHECKING:
    from training.engine.chat import Chat
    from training.engine.models import Device
    from training.engine.sampling import Drawn

ANSWERS = "answers.jsonl"
# (id, prompt ids)
Prompt = tuple[int | str, list[int]]


def trial(job: Job, spec: TrialSpec, rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes `answers.jsonl` and returns the closing sentence."""
    from training.engine.models import choose_device, load_tokenizer

    require_ids(rows)
    job.events.phase("load", Said("Loading the model"))
    device = choose_device(spec.device)
    chats = {side: load_tokenizer(ref, job) for side, ref in (("left", spec.left), ("right", spec.right))}
    spec = within_reach(job, spec.right, within_reach(job, spec.left, spec))
    usable = {side: dict(usable_prompts(job, chat, rows, spec.max_prompt_tokens)) for side, chat in chats.items()}
    # A prompt that one of them cannot read says nothing about the other; each is accounted for once.
    job.skipped = list({item["id"]: item for item in job.skipped}.values())
    both = [row["id"] for row in rows if all(row["id"] in found for found in usable.values())]
    if not both:
        raise Failure(
            "all_rows_skipped", Said("None of the prompts can be sampled; see the reasons of the skipped rows.")
        )
    drawn = {
        side: _answers(job, spec, ref, chats[side], device, [(row_id, usable[side][row_id]) for row_id in both])
        for side, ref in (("left", spec.left), ("right", spec.right))
    }
    rundir.write_rows(
        job.path / ANSWERS,
        (
            {"id": row_id, "left": _plain(left), "right": _plain(right)}
            for row_id, left, right in zip(both, drawn["left"], drawn["right"], strict=True)
        ),
    )
    job.used = both
    job.about["device"] = device.name
    return Said(
        "Two policies answered %(prompts)s prompts; %(skipped)s skipped.", prompts=len(both), skipped=len(job.skipped)
    )


def _answers(
    job: Job, spec: TrialSpec, ref: ModelRef, chat: "Chat", device: "Device", prompts: Sequence[Prompt]
) -> "list[Drawn]":
    """One answer to each prompt. The model is gone afterwards: two at once may not fit."""
    from training.engine.models import load_policy
    from training.engine.sampling import Request, draw, stream_seed

    job.raise_if_stopped()
    model: Any = load_policy(ref, device)
    job.events.phase("sample", Said("Sampling %(n)s answers", n=len(prompts)))

    def before_batch(done: int) -> None:
        job.raise_if_stopped()
        job.events.progress(done, len(prompts))

    drawn = draw(
        model,
        chat,
        [Request(ids, stream_seed(spec.seed, row_id, 0)) for row_id, ids in prompts],
        temperature=spec.temperature,
        top_p=spec.top_p,
        max_new_tokens=spec.max_new_tokens,
        batch_size=spec.batch_size,
        before_batch=before_batch,
    )
    del model
    gc.collect()
    return drawn


def _plain(answer: "Drawn") -> dict[str, Any]:
    return {"text": answer.text, "tokens": len(answer.ids), "finish_reason": answer.finish_reason}
