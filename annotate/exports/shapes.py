"""PURE: decisions as rows of an export. ``chosen`` and ``rejected`` begin here; nothing above knows them.

Two lossless shapes (one row a decision, everything that was recorded) and two that TRL trains on as they are. The
latter carry no other column: TRL hands some that it knows by name, such as ``chat_template_kwargs``, to the tokenizer.
Every decision counts by itself (aggregation "single"): two annotators who disagree make two rows that disagree.
"""

import json
from dataclasses import fields
from typing import Any, Literal

from annotate.records import Answer, JudgmentRecord, Message, RatingRecord

What = Literal["judgments", "ratings", "dpo", "kto"]
Row = dict[str, Any]

# Why a decision makes no training row.
LEFT_OUT: dict[str, str] = {
    "tie": "judged a tie",
    "both_bad": "both answers judged bad",
    "skip": "skipped by the annotator",
    "purpose": "asked to measure something, not to collect preferences",
    "empty": "an answer is empty",
    "identical": "the two answers are the same",
}


def judgment_row(record: JudgmentRecord) -> Row:
    """Everything about one judgment, flat: the answers as ``a_...`` and ``b_...``, in the order they were shown.

    ``sampling`` is JSON text, because its keys may differ from row to row and columns may not.
    """
    row = _plain(record, leave=("a", "b"))
    row["preferred"] = record.preferred.id if record.preferred else None
    return row | _answer("a_", record.a) | _answer("b_", record.b)


def rating_row(record: RatingRecord) -> Row:
    """Everything about one rating, flat: the answer as ``answer_...``."""
    return _plain(record, leave=("answer",)) | _answer("answer_", record.answer)


def dpo_row(record: JudgmentRecord) -> Row | str:
    """TRL's explicit, conversational preference ``{prompt, chosen, rejected}``, or why there is none.

    Ties never: some loaders (NeMo RL's for HelpSteer3) would make them chosen = rejected. Source of the shape:
    https://huggingface.co/docs/trl/dataset_formats
    """
    reason = _left_out(record)
    if reason:
        return reason
    if record.preferred is None or record.other is None:
        return record.choice
    return {
        "prompt": record.messages,
        "chosen": _said(record.preferred),
        "rejected": _said(record.other),
    }


def kto_rows(record: RatingRecord | JudgmentRecord) -> list[Row] | str:
    """TRL's unpaired preference ``{prompt, completion, label}``: one row of a rating, two of a judgment, or why none.

    A judged pair is taken apart into the preferred answer (label true) and the other one (false). "Both bad" says
    something about single answers, so that it makes two rows with label false.
    """
    if isinstance(record, RatingRecord):
        if record.value == "skip":
            return "skip"
        if not record.answer.text.strip():
            return "empty"
        return [_judged(record.messages, record.answer, label=record.value == "up")]
    reason = _left_out(record)
    if reason:
        return reason
    if record.choice not in ("A", "B", "both_bad"):
        return record.choice
    return [_judged(record.messages, answer, label=answer is record.preferred) for answer in (record.a, record.b)]


def _left_out(record: JudgmentRecord) -> str:
    if record.purpose != "collect":
        return "purpose"
    if not record.a.text.strip() or not record.b.text.strip():
        return "empty"
    return "identical" if record.a.text.strip() == record.b.text.strip() else ""


def _said(answer: Answer) -> list[Message]:
    return [{"role": "assistant", "content": answer.text}]


def _judged(messages: list[Message], answer: Answer, *, label: bool) -> Row:
    return {"prompt": messages, "completion": _said(answer), "label": label}


def _plain(record: JudgmentRecord | RatingRecord, *, leave: tuple[str, ...]) -> Row:
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
