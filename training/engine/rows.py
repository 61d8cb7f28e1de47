"""The gate before TRL: which training rows can be used, and why the others cannot.

TRL drops over-long prompts without a word, trains on identical pairs and empty answers, and crashes on the rest. Here
every row is either used or skipped with a reason, so that used + skipped is always the input.

Rows, by what a method trains on (`Method.data`):

- pairs: `{"id", "messages": [{"role", "content"}, ...], "chosen": str, "rejected": str}`
- graded: likewise, and `"strength"`: how much better, 0 to 3 (slightly 1, clearly 2, much 3); null where nobody said
- demonstrations: `{"id", "messages": [...], "completion": str}`
- prompts: `{"id", "messages": [...]}`
- unpaired: `{"id", "messages": [...], "completion": str, "label": bool}` (true = thumbs up)
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from annotate.said import Said
from training.engine import rundir
from training.engine.chat import (
    EMPTY_ANSWER,
    PAIR_TOO_LONG,
    PROMPT_TOO_LONG,
    Chat,
    Message,
    RowProblem,
    check_messages,
    check_text,
)
from training.engine.job import Failure, Job, require_ids

if TYPE_CHECKING:
    from training.engine.spec import TrainSpec

# Why good rows are left out as well. Fixed phrases, as in training.engine.chat.
TOO_FEW = Said("too few rows to train")
IDENTICAL = "identical answers"
SAME_UNTIL_CUT = "answers differ only after the maximal length"
BAD_LABEL = "label is neither true nor false"
BAD_STRENGTH = "strength is not a number from 0 to 3"
STRONGEST = 3  # "much better"


@dataclass(frozen=True)
class TrainingRow:
    """A row that passed, escaped and tokenized."""

    id: int | str
    trl: dict[str, Any]  # what TRL gets: its own column names, conversational
    prompt_ids: list[int]
    answer_ids: list[list[int]]  # chosen and rejected, or the one completion, or none; not cut yet

    def tokens(self, most: int) -> int:
        """Length of prompt and longest answer as trained: what the row makes its batch wait for."""
        return min(most, len(self.prompt_ids) + max(map(len, self.answer_ids), default=0))


def usable_rows(job: Job, chat: Chat, spec: "TrainSpec", rows: Sequence[Mapping[str, Any]]) -> list[TrainingRow]:
    """The rows that can be trained on, in the order of training.

    Fills `job.used` and `job.skipped`. Raises Failure: `bad_rows`, `all_rows_skipped`, `too_few_rows`, or one
    of the method's own.
    """
    require_ids(rows)
    usable = []
    for row in rows:
        try:
            usable.append(spec.own.row(chat, row, spec.own.longest(spec)))
        except RowProblem as problem:
            job.skip(row["id"], str(problem))
    job.used = [row.id for row in usable]
    if rows and not usable:
        raise Failure(
            "all_rows_skipped", Said("None of the rows can be trained on; see the reasons of the skipped rows.")
        )
    if len(usable) < spec.min_rows:
        job.used = []
        job.skipped += [{"id": row.id, "reason": TOO_FEW} for row in usable]
        raise Failure(
            "too_few_rows",
            Said(
                "Only %(rows)s usable rows, and at least %(least)s are needed. Collect more judgments.",
                rows=len(usable),
                least=spec.min_rows,
            ),
        )
    return spec.own.arrange(job, spec, usable)


def rows_sha256(rows: Sequence[TrainingRow]) -> str:
    """Hash of exactly what will be trained on, in order: a checkpoint belongs to one such list."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(rundir.dumps([row.id, row.trl, row.prompt_ids, row.answer_ids]).encode() + b"\n")
    return digest.hexdigest()


def _answers(row: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        text = check_text(row.get(name))
        if not text.strip():
            raise RowProblem(EMPTY_ANSWER)
        yield text


def pair_row(chat: Chat, row: Mapping[str, Any], max_length: int) -> TrainingRow:
    """A row of "pairs". Raises `RowProblem`."""
    messages = check_messages(row.get("messages"))
    chosen, rejected = _answers(row, ("chosen", "rejected"))
    if chosen.strip() == rejected.strip():
        raise RowProblem(IDENTICAL)
    prompt_ids, (chosen_ids, rejected_ids) = chat.split(messages, [chosen, rejected])
    room = max_length - len(prompt_ids)
    if room <= 0:
        raise RowProblem(PROMPT_TOO_LONG)
    if chosen_ids[:room] == rejected_ids[:room]:
        raise RowProblem(IDENTICAL if chosen_ids == rejected_ids else SAME_UNTIL_CUT)
    trl = {
        "prompt": chat.escape_messages(messages),
        "chosen": [_assistant(chat, chosen)],
        "rejected": [_assistant(chat, rejected)],
    }
    return TrainingRow(row["id"], trl, prompt_ids, [chosen_ids, rejected_ids])


def graded_row(chat: Chat, row: Mapping[str, Any], max_length: int) -> TrainingRow:
    """A row of "graded". Raises `RowProblem`. A reward is read at an answer's end, so nothing is cut."""
    pair = pair_row(chat, row, max_length)
    strength = row.get("strength")
    if isinstance(strength, bool) or not isinstance(strength, (int, float, type(None))):
        raise RowProblem(BAD_STRENGTH)
    if strength is not None and not 0 <= strength <= STRONGEST:
        raise RowProblem(BAD_STRENGTH)
    chosen, rejected = (pair.prompt_ids + answer for answer in pair.answer_ids)
    if max(len(chosen), len(rejected)) > max_length:
        raise RowProblem(PAIR_TOO_LONG)
    trl = {"chosen_ids": chosen, "rejected_ids": rejected, "strength": strength}
    return replace(pair, trl=trl)


def single_row(chat: Chat, row: Mapping[str, Any], max_length: int) -> TrainingRow:
    """A row of "unpaired". Raises `RowProblem`."""
    messages = check_messages(row.get("messages"))
    (answer,) = _answers(row, ("completion",))
    label = row.get("label")
    if not isinstance(label, bool):
        raise RowProblem(BAD_LABEL)
    prompt_ids, [answer_ids] = chat.split(messages, [answer])
    if len(prompt_ids) >= max_length:
        raise RowProblem(PROMPT_TOO_LONG)
    trl = {"prompt": chat.escape_messages(messages), "completion": [_assistant(chat, answer)], "label": label}
    return TrainingRow(row["id"], trl, prompt_ids, [answer_ids])


def demonstration_row(chat: Chat, row: Mapping[str, Any], max_length: int) -> TrainingRow:
    """A row of "demonstrations". Raises `RowProblem`."""
    messages = check_messages(row.get("messages"))
    (answer,) = _answers(row, ("completion",))
    prompt_ids, [answer_ids] = chat.split(messages, [answer])
    if len(prompt_ids) >= max_length:
        raise RowProblem(PROMPT_TOO_LONG)
    trl = {"prompt": chat.escape_messages(messages), "completion": [_assistant(chat, answer)]}
    return TrainingRow(row["id"], trl, prompt_ids, [answer_ids])


def prompt_row(chat: Chat, row: Mapping[str, Any], max_length: int) -> TrainingRow:
    """A row of "prompts". Raises `RowProblem`."""
    messages = check_messages(row.get("messages"))
    prompt_ids = chat.prompt_ids(messages)
    if len(prompt_ids) >= max_length:
        raise RowProblem(PROMPT_TOO_LONG)
    return TrainingRow(row["id"], {"prompt": chat.escape_messages(messages)}, prompt_ids, [])


def _assistant(chat: Chat, text: str) -> Message:
    return {"role": "assistant", "content": chat.escape(text)}
