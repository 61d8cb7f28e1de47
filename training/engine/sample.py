"""`sample`: n answers to each prompt. Rows in: `{"id", "messages"}`; out: `responses.jsonl`.

One line an answer: `{"id", "index", "text", "tokens", "finish_reason": "stop" | "length", "seed"}`, in the order of
the rows; `tokens` counts the sampled tokens with the end token. Rows that cannot be sampled are skipped with a
reason.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from annotate.said import Said
from training.engine import rundir
from training.engine.chat import PROMPT_TOO_LONG, Chat, RowProblem, check_messages
from training.engine.job import Failure, Job, require_ids
from training.engine.sizes import note_surroundings, within_reach
from training.engine.spec import SampleSpec

RESPONSES = "responses.jsonl"


def usable_prompts(
    job: Job, chat: Chat, rows: Sequence[Mapping[str, Any]], limit: int
) -> list[tuple[int | str, list[int]]]:
    """(id, prompt ids) of the rows that can be answered; the others are skipped with a reason."""
    usable = []
    for row in rows:
        try:
            ids = chat.prompt_ids(check_messages(row.get("messages")))
            if len(ids) > limit:
                raise RowProblem(PROMPT_TOO_LONG)
        except RowProblem as problem:
            job.skip(row["id"], str(problem))
        else:
            usable.append((row["id"], ids))
    return usable


def sample(job: Job, spec: SampleSpec, rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes `responses.jsonl` and returns the closing sentence."""
    from training.engine.models import choose_device, load_policy, load_tokenizer
    from training.engine.sampling import Request, draw, stream_seed

    require_ids(rows)
    job.events.phase("load", Said("Loading the model"))
    device = choose_device(spec.device)
    chat = load_tokenizer(spec.model, job)
    note_surroundings(job, spec.model)
    spec = within_reach(job, spec.model, spec)
    usable = usable_prompts(job, chat, rows, spec.max_prompt_tokens)
    if not usable:
        raise Failure(
            "all_rows_skipped", Said("None of the prompts can be sampled; see the reasons of the skipped rows.")
        )
    policy = load_policy(spec.model, device)

    job.events.phase(
        "sample", Said("Sampling %(n)s answers to each of %(prompts)s prompts", n=spec.n, prompts=len(usable))
    )
    places = [(row_id, index, ids) for row_id, ids in usable for index in range(spec.n)]
    seeds = [stream_seed(spec.seed, row_id, index) for row_id, index, _ in places]

    def before_batch(done: int) -> None:
        job.raise_if_stopped()
        job.events.progress(done, len(places))

    drawn = draw(
        policy,
        chat,
        [Request(ids, seed) for (_, _, ids), seed in zip(places, seeds, strict=True)],
        temperature=spec.temperature,
        top_p=spec.top_p,
        max_new_tokens=spec.max_new_tokens,
        batch_size=spec.batch_size,
        before_batch=before_batch,
    )
    rundir.write_rows(
        job.path / RESPONSES,
        (
            {
                "id": row_id,
                "index": index,
                "text": answer.text,
                "tokens": len(answer.ids),
                "finish_reason": answer.finish_reason,
                "seed": seed,
            }
            for (row_id, index, _), seed, answer in zip(places, seeds, drawn, strict=True)
        ),
    )
    job.used = [row_id for row_id, _ in usable]
    job.about["device"] = device.name
    job.metrics |= {
        "responses": len(drawn),
        "mean_tokens": round(sum(len(answer.ids) for answer in drawn) / len(drawn), 2),
        "truncated_share": round(sum(answer.finish_reason == "length" for answer in drawn) / len(drawn), 4),
        "empty_share": round(sum(not answer.text for answer in drawn) / len(drawn), 4),
    }
    return Said(
        "Sampled %(answers)s answers to %(prompts)s prompts; %(skipped)s rows skipped.",
        answers=len(drawn),
        prompts=len(usable),
        skipped=len(job.skipped),
    )
