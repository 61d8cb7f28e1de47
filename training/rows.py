"""PURE: judgments and ratings become training rows, or are skipped for a reason. Used + skipped = all of them.

Which decisions a run takes is chosen elsewhere (``services.snapshots``): the new ones, and some old ones for replay. A
skipped one is in the snapshot with its reason.

``chosen`` and ``rejected`` begin to exist here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from annotate.records import JudgmentRecord, Pair, RatingRecord
from annotate.said import Said

Kind = Literal["judgment", "rating"]
Row = dict[str, Any]

# Why a decision makes no row, in words that a lead reads in the accounting of a run.
SKIP_REASONS: dict[str, Said] = {
    "tie": Said("judged a tie"),
    "both_bad": Said("both answers judged bad"),
    "skip": Said("skipped by the annotator"),
    "reserved": Said("on a reserved prompt: kept to measure the policies"),
    "duel": Said("part of a duel: kept to compare policies"),
    "gold": Said("a gold question: its answer was known"),
    "recheck": Said("a repeated question: kept to measure consistency"),
    "empty": Said("an answer is empty"),
    "identical": Said("the two answers are the same"),
    "no_messages": Said("the prompt is empty"),
    "needs_pairs": Said("a single rating: DPO learns from pairs"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one decision: the ids of its rows, or the reason why it has none."""

    kind: Kind
    id: int
    row_ids: tuple[str, ...] = ()
    skip_reason: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows in order, and one item for each decision that was looked at."""

    rows: list[Row] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """Of the canonical rows, one a line: what the run trains on, to the byte."""
        return rows_sha256(self.rows)

    @property
    def skipped(self) -> Counter[str]:
        """How many decisions were skipped for each reason."""
        return Counter(item.skip_reason for item in self.items if item.skip_reason)


def rows_sha256(rows: Iterable[Row]) -> str:
    """sha256 over the rows as canonical JSON lines (sorted keys, ASCII)."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, allow_nan=False).encode() + b"\n")
    return digest.hexdigest()


def dpo_rows(judgments: Iterable[JudgmentRecord], ratings: Iterable[RatingRecord] = ()) -> Rows:
    """One row ``{id, messages, chosen, rejected}`` for each judgment that prefers one of two answers (``j7``), and one
    for each answer that was edited: the edit is better than the original (``j7e``).

    Ratings make no pairs. They are items all the same when a project collects both, so that the accounting is whole.
    """
    made = Rows()
    for judgment in judgments:
        reason = _judgment_skip(judgment)
        if reason:
            made.items.append(Item("judgment", judgment.id, skip_reason=reason))
            continue
        ids = []
        for pair in judgment.pairs:
            if pair.flaw:
                continue
            ids.append(f"j{judgment.id}{'e' if pair.source == 'edit' else ''}")
            made.rows.append(
                {
                    "id": ids[-1],
                    "messages": judgment.messages,
                    "chosen": pair.better.text,
                    "rejected": pair.worse.text,
                }
            )
        flaw = "" if ids else judgment.pairs[0].flaw
        made.items.append(Item("judgment", judgment.id, tuple(ids), skip_reason=flaw))
    made.items.extend(Item("rating", rating.id, skip_reason="needs_pairs") for rating in ratings)
    return made


def kto_rows(judgments: Iterable[JudgmentRecord], ratings: Iterable[RatingRecord]) -> Rows:
    """Rows ``{id, messages, completion, label}``: one for each thumb, and two for each pair that was judged.

    A judged pair is taken apart into its preferred answer (label true) and the other one (label false). "Both bad" says
    something about single answers, so here it makes two rows with label false, where DPO can only skip it. An edited
    answer is one more good one (``j7e``).
    """
    made = Rows()
    for rating in ratings:
        reason = _rating_skip(rating)
        if reason:
            made.items.append(Item("rating", rating.id, skip_reason=reason))
            continue
        row_id = f"r{rating.id}"
        made.rows.append(_single(row_id, rating.messages, rating.answer.text, label=rating.value == "up"))
        made.items.append(Item("rating", rating.id, (row_id,)))
    for judgment in judgments:
        reason = _judgment_skip(judgment, both_bad_counts=True) or Pair("judgment", judgment.a, judgment.b).flaw
        if reason:
            made.items.append(Item("judgment", judgment.id, skip_reason=reason))
            continue
        answers = {f"j{judgment.id}a": judgment.a, f"j{judgment.id}b": judgment.b}
        if judgment.edited is not None:
            answers[f"j{judgment.id}e"] = judgment.edited
        for row_id, answer in answers.items():
            label = answer is judgment.preferred or answer is judgment.edited
            made.rows.append(_single(row_id, judgment.messages, answer.text, label=label))
        made.items.append(Item("judgment", judgment.id, tuple(answers)))
    return made


def _single(row_id: str, messages: list[dict[str, str]], text: str, *, label: bool) -> Row:
    return {"id": row_id, "messages": messages, "completion": text, "label": label}


def _judgment_skip(judgment: JudgmentRecord, *, both_bad_counts: bool = False) -> str:
    """Why it teaches nothing, whatever its answers say."""
    if judgment.purpose in ("duel", "gold", "recheck"):
        return judgment.purpose
    if judgment.split != "train":
        return "reserved"
    if judgment.choice in ("tie", "skip") or (judgment.choice == "both_bad" and not both_bad_counts):
        return judgment.choice
    return "" if judgment.messages else "no_messages"


def _rating_skip(rating: RatingRecord) -> str:
    if rating.split != "train":
        return "reserved"
    if rating.value == "skip":
        return "skip"
    if not rating.messages:
        return "no_messages"
    return "" if rating.answer.text.strip() else "empty"


# --- Is there enough to start? ----------------------------------------------------------------------------------------


def shortcoming(method: str, made: Rows, *, min_rows: int) -> str:
    """Why these rows cannot be trained on, in sentences that say what to do (``Said``); empty when they can."""
    if len(made.rows) < min_rows:
        left_out = [
            Said("%(count)s %(reason)s", count=count, reason=SKIP_REASONS[reason])
            for reason, count in made.skipped.most_common(3)
        ]
        return Said(
            "Too few rows to train on: %(rows)s of at least %(least)s.%(left_out)s Judge at least %(missing)s more, or "
            "lower “Fewest rows” below.",
            rows=len(made.rows),
            least=min_rows,
            left_out=Said(" Left out: %(counts)s.", counts=left_out) if left_out else "",
            missing=min_rows - len(made.rows),
        )
    if method == "kto":
        labels = Counter(bool(row["label"]) for row in made.rows)
        if not labels[True]:
            return Said("KTO needs good and bad answers, and every answer so far is bad. Rate some answers up first.")
        if not labels[False]:
            return Said(
                "KTO needs good and bad answers, and every answer so far is good. Rate some answers down first."
            )
    return ""
