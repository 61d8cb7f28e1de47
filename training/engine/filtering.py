"""Which pairs filtered DPO trains on: those whose chosen answer a reward model prefers to the policy's own.

Decided once, before the first step, and written to `filter.json`. A resumed attempt takes what an earlier one wrote, so
that it trains on the same pairs; where nothing was written yet it decides again, which on CPU comes to the same.
"""

import gc
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine import rundir
from training.engine.chat import Chat, RowProblem
from training.engine.job import Failure, Job
from training.engine.measures import mean, wilson_interval
from training.engine.rows import TOO_FEW, TrainingRow

if TYPE_CHECKING:
    from training.engine.models import Device
    from training.engine.spec import TrainSpec

FILTER = "filter.json"
NO_BETTER = Said("the policy's own answer is at least as good")
WAIT_SECONDS = 0.2


def is_better(chosen: float, own: float | None) -> bool:
    """Is a pair kept? Not where r(own) - r(chosen) >= 0 (fDPO, 2404.13846). Without an own answer, it is."""
    return own is None or own < chosen


def better_than_own(
    job: Job,
    spec: "TrainSpec",
    chat: Chat,
    device: "Device",
    rows: list[TrainingRow],
    about: Callable[[], dict[str, Any]],
) -> list[TrainingRow]:
    """The pairs that are kept, in their order; `job` hears of the others, and how many there are.

    `about` says what a decision belongs to: another's is not taken. Raises Failure `too_few_kept`.
    """
    from training.engine.models import check_adapter

    if spec.start_adapter:
        check_adapter(Path(spec.start_adapter))
    belongs = about()
    found = _earlier(job, spec, belongs)
    while found is None and job.rank:  # the first process decides for all
        job.raise_if_stopped()
        time.sleep(WAIT_SECONDS)
        found = _earlier(job, spec, belongs)
    if found is None:
        found = _decided(job, spec, chat, device, rows)
    if job.rank == 0:
        rundir.write_atomically(
            job.path / FILTER, json.dumps({"about": belongs, "pairs": found}, indent=1, allow_nan=False) + "\n"
        )
    return _kept(job, spec, rows, found)


def _earlier(job: Job, spec: "TrainSpec", about: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """What this attempt or one before it decided about the very same job."""
    for folder in (job.path, *(Path(item).parent for item in reversed(spec.resume_from))):
        try:
            kept = json.loads((folder / FILTER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if kept["about"] == about:
            pairs: list[dict[str, Any]] = kept["pairs"]
            return pairs
    return None


def _decided(
    job: Job, spec: "TrainSpec", chat: Chat, device: "Device", rows: Sequence[TrainingRow]
) -> list[dict[str, Any]]:
    """What is known of each pair: `{"id", "own": text, "reward_own", "reward_chosen"}`."""
    if spec.reward_model is None:
        raise Failure("no_reward_model", Said("There is no reward model. Train one first, and name it."))
    job.events.phase("filter", Said("Comparing %(n)s chosen answers with the policy's own", n=len(rows)))
    answers = _own_answers(job, spec, chat, device, rows)
    chosen = [(row.prompt_ids, row.answer_ids[0][: spec.max_length - len(row.prompt_ids)]) for row in rows]
    own = [_as_turn(spec, chat, row, answer) for row, answer in zip(rows, answers, strict=True)]
    job.raise_if_stopped()
    values = _rewards(spec, chat, device, [*chosen, *(sequence for sequence in own if sequence)])
    if not all(map(math.isfinite, values)):
        raise Failure(
            "bad_reward_model", Said("The reward model gives NaN or infinity. Train another one, and choose that.")
        )
    of_own = iter(values[len(rows) :])
    return [
        {"id": row.id, "own": answer, "reward_own": next(of_own) if sequence else None, "reward_chosen": value}
        for row, answer, sequence, value in zip(rows, answers, own, values, strict=False)
    ]


def _own_answers(job: Job, spec: "TrainSpec", chat: Chat, device: "Device", rows: Sequence[TrainingRow]) -> list[str]:
    """One answer to each pair's prompt, at temperature 1, by the policy that the run starts from."""
    from training.engine.models import add_adapter, load_base
    from training.engine.sampling import Request, draw, stream_seed
    from training.engine.spec import ModelRef

    four_bit = spec.adaptation == "qlora"
    policy: Any = load_base(ModelRef(spec.model, spec.revision), device, four_bit=four_bit)
    if spec.start_adapter:
        policy = add_adapter(policy, spec.start_adapter, trainable=False).eval()
    # Behind a long prompt there is room for less.
    most = [min(spec.max_new_tokens, spec.max_length - len(row.prompt_ids)) for row in rows]
    texts: dict[int, str] = {}

    def before_batch(done: int) -> None:
        job.raise_if_stopped()
        job.events.progress(len(texts) + done, len(rows))

    for limit in sorted(set(most)):
        places = [place for place, room in enumerate(most) if room == limit]
        drawn = draw(
            policy,
            chat,
            [Request(rows[place].prompt_ids, stream_seed(spec.seed, rows[place].id, 0)) for place in places],
            temperature=1.0,
            top_p=1.0,
            max_new_tokens=limit,
            batch_size=2 * spec.batch_size,  # as many texts as pairs of a batch have
            before_batch=before_batch,
        )
        texts |= {place: answer.text for place, answer in zip(places, drawn, strict=True)}
    job.events.progress(0, 0)  # the steps of the training are counted from here
    del policy
    _let_go(device)
    return [texts[place] for place in range(len(rows))]


def _as_turn(spec: "TrainSpec", chat: Chat, row: TrainingRow, answer: str) -> tuple[list[int], list[int]] | None:
    """Prompt and own answer as a finished turn, as the chosen one is; None where the template refuses it."""
    try:
        prompt, [ids] = chat.split(row.trl["prompt"], [answer])
    except RowProblem:
        return None
    return prompt, ids[: spec.max_length - len(prompt)]


def _rewards(
    spec: "TrainSpec", chat: Chat, device: "Device", sequences: Sequence[tuple[list[int], list[int]]]
) -> list[float]:
    from training.engine.reward_model import load_reward_model, rewards

    assert spec.reward_model is not None  # noqa: S101  (as the caller has seen)
    model = load_reward_model(spec.reward_model, device)
    pad = int(chat.tokenizer.pad_token_id)
    values = rewards(model, sequences, pad_token_id=pad, batch_size=2 * spec.batch_size)
    del model
    _let_go(device)
    return values


def _let_go(device: "Device") -> None:
    """The memory of a model that is no longer needed, before the next one is loaded."""
    import torch

    gc.collect()
    if device.name != "cpu":
        torch.cuda.empty_cache()


def _kept(
    job: Job, spec: "TrainSpec", rows: Sequence[TrainingRow], found: Sequence[Mapping[str, Any]]
) -> list[TrainingRow]:
    """The rows that are kept, with the numbers of the result. Raises Failure `too_few_kept`."""
    known = {pair["id"]: pair for pair in found}
    kept = [row for row in rows if is_better(known[row.id]["reward_chosen"], known[row.id]["reward_own"])]
    stay = {row.id for row in kept}
    dropped = len(rows) - len(kept)
    low, high = wilson_interval(dropped, len(rows))
    own = [pair["reward_own"] for pair in found if pair["reward_own"] is not None]
    job.metrics |= {
        "compared": len(rows),
        "dropped": dropped,
        "dropped_low": round(low, 4),
        "dropped_high": round(high, 4),
        "reward_chosen": round(mean([pair["reward_chosen"] for pair in found]), 4),
        "reward_own": round(mean(own), 4) if own else None,
    }
    for row in rows:
        if row.id not in stay:
            job.skip(row.id, NO_BETTER)
    said = Said("Dropped %(dropped)s of %(rows)s pairs", dropped=dropped, rows=len(rows))
    job.events.phase("filter", said)
    if len(kept) < spec.min_rows:
        job.used = []
        job.skipped += [{"id": row.id, "reason": TOO_FEW} for row in kept]
        raise Failure(
            "too_few_kept",
            Said(
                "Of %(rows)s pairs only %(kept)s have a chosen answer that the reward model finds better than the "
                "policy's own, and at least %(least)s are needed. Train DPO on all of them, or a better reward model.",
                rows=len(rows),
                kept=len(kept),
                least=spec.min_rows,
            ),
        )
    job.used = [row.id for row in kept]
    return kept
