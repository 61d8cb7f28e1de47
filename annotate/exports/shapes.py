"""PURE: decisions as rows of an export. ``chosen`` and ``rejected`` begin here; nothing above knows them.

Three lossless shapes (one row a decision, everything that was recorded) and three that TRL trains on as they are.
Beside TRL's columns these carry at most ``source`` and ``source_id``, which TRL ignores (a test trains on them): it
hands some that it knows by name, such as ``chat_template_kwargs``, to the tokenizer.
A judgment may make its own row ("single"), or a comparison one of all its judgments (``annotate.aggregation``); a
ranking may make its own, or a lineup those of all its rankings (``annotate.orders``).
"""

import json
from dataclasses import fields
from itertools import zip_longest
from typing import Any, Literal

from annotate.aggregation import EXCLUDED, UNDECIDED
from annotate.orders import ALL, choose_pairs
from annotate.records import (
    Answer,
    JudgmentRecord,
    LineupRecord,
    Message,
    Pair,
    PairRecord,
    RankingRecord,
    RatingRecord,
)

What = Literal["judgments", "ratings", "dpo", "kto", "sft", "rankings"]
Row = dict[str, Any]

# Why a decision makes no training row.
LEFT_OUT: dict[str, str] = {
    "tie": "judged a tie",
    "both_bad": "both answers judged bad",
    "skip": "skipped by the annotator",
    "purpose": "asked to measure something, not to collect preferences",
    "empty": "an answer is empty",
    "identical": "the two answers are the same",
    "unedited": "nobody wrote a better version",
    UNDECIDED: "people disagree and no rule or reviewer decides",
    EXCLUDED: "excluded from training by a reviewer",
}


def judgment_row(record: JudgmentRecord) -> Row:
    """Everything about one judgment, flat: the answers as ``a_...`` and ``b_...``, in the order they were shown.

    ``sampling`` is JSON text, because its keys may differ from row to row and columns may not.
    """
    row = _plain(record, leave=("a", "b", "edited"))
    row["preferred"] = record.preferred.id if record.preferred else None
    row["edited_response"] = record.edited.id if record.edited else None
    row["edited_text"] = record.edited.text if record.edited else None
    return row | _answer("a_", record.a) | _answer("b_", record.b)


def rating_row(record: RatingRecord) -> Row:
    """Everything about one rating, flat: the answer as ``answer_...``."""
    return _plain(record, leave=("answer",)) | _answer("answer_", record.answer)


def ranking_row(record: RankingRecord) -> Row:
    """Everything about one ranking: ``answers`` is a list in the order shown, each with its ``rank``."""
    row = _plain(record, leave=("answers", "ranks"))
    # A skip has no ranks.
    answers = zip_longest(record.answers, record.ranks)
    return row | {"answers": [{"rank": rank} | _answer("", answer) for answer, rank in answers]}


def dpo_rows(
    record: JudgmentRecord | PairRecord | RankingRecord | LineupRecord, *, ranking_pairs: str = ALL
) -> list[Row] | str:
    """TRL's explicit, conversational preferences ``{prompt, chosen, rejected}``, or why there are none.

    One of a judged pair, and one more of an answer that the annotator edited: the edit over the original. ``source``
    tells them apart, ``source_id`` is the judgment's id; or ``source`` is ``comparison`` and ``source_id`` its id. Of a
    ranking one for each of its ``ranking_pairs`` (``annotate.orders``); ``source_id`` tells which rows one ranking
    made, or one lineup (``source`` is ``lineup``) where several were decided together. Ties never: some loaders (NeMo
    RL's for HelpSteer3) would make them chosen = rejected. Source of the shape:
    https://huggingface.co/docs/trl/dataset_formats
    """
    if record.purpose != "collect":
        return "purpose"
    if isinstance(record, RankingRecord):
        nothing = "skip" if record.value == "skip" else "tie"
        return _pairs(record, ranking_pairs) if record.pairs else nothing
    if isinstance(record, LineupRecord):
        return _pairs(record, ranking_pairs) if record.pairs else record.decision.label
    if record.choice == EXCLUDED or not record.pairs:
        return record.choice
    return _pairs(record)


def _pairs(
    record: JudgmentRecord | PairRecord | RankingRecord | LineupRecord, ranking_pairs: str = ALL
) -> list[Row] | str:
    pairs = record.pairs
    sound = [pair for pair in pairs if not pair.flaw]
    if isinstance(record, RankingRecord | LineupRecord):
        chosen = choose_pairs([(pair.better.id, pair.worse.id) for pair in sound], ranking_pairs)
        sound = [pair for pair in sound if (pair.better.id, pair.worse.id) in chosen]
    decided = {PairRecord: "comparison", LineupRecord: "lineup"}.get(type(record))
    rows = [
        {
            "prompt": record.messages,
            "chosen": _said(pair.better),
            "rejected": _said(pair.worse),
            "source": decided if decided and pair.source != "edit" else pair.source,
            "source_id": record.id if pair.judgment is None else pair.judgment,
        }
        for pair in sound
    ]
    return rows or pairs[0].flaw


def sft_row(record: JudgmentRecord) -> Row | str:
    """TRL's conversational ``{prompt, completion}`` of an answer that the annotator wrote, or why there is none."""
    if record.purpose != "collect":
        return "purpose"
    if record.edited is None:
        return "unedited"
    return {"prompt": record.messages, "completion": _said(record.edited)}


def kto_rows(record: RatingRecord | JudgmentRecord | PairRecord) -> list[Row] | str:
    """TRL's unpaired preference ``{prompt, completion, label}``: one row of a rating, two of a judgment, or why none.

    A judged pair is taken apart into the preferred answer (label true) and the other one (false). "Both bad" says
    something about single answers, so that it makes two rows with label false. An edited answer is one more good one.
    """
    if isinstance(record, RatingRecord):
        if record.value == "skip":
            return "skip"
        if not record.answer.text.strip():
            return "empty"
        return [_judged(record.messages, record.answer, label=record.value == "up")]
    if record.purpose != "collect":
        return "purpose"
    if record.choice == EXCLUDED:
        return EXCLUDED
    decided = record.preferred is not None or record.choice == "both_bad"
    reason = Pair("judgment", record.a, record.b).flaw if decided else record.choice
    rows = []
    if not reason:
        rows = [_judged(record.messages, answer, label=answer is record.preferred) for answer in (record.a, record.b)]
    edits = [pair.better for pair in record.pairs if pair.source == "edit" and not pair.flaw]
    return [*rows, *(_judged(record.messages, better, label=True) for better in edits)] or reason


def _said(answer: Answer) -> list[Message]:
    return [{"role": "assistant", "content": answer.text}]


def _judged(messages: list[Message], answer: Answer, *, label: bool) -> Row:
    return {"prompt": messages, "completion": _said(answer), "label": label}


def _plain(record: JudgmentRecord | RatingRecord | RankingRecord, *, leave: tuple[str, ...]) -> Row:
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name not in leave}


def _answer(prefix: str, answer: Answer) -> Row:
    sampling = json.dumps(answer.sampling, sort_keys=True, ensure_ascii=False)
    return {
        f"{prefix}response": answer.id,
        f"{prefix}text": answer.text,
        f"{prefix}author": answer.author,
        f"{prefix}author_kind": answer.author_kind,
        f"{prefix}policy": answer.policy,
        f"{prefix}sampling": sampling,
        f"{prefix}edited_from": answer.edited_from,
    }
