"""PURE: decisions become training rows, or are skipped for a reason. Used + skipped = all of them.

Under the rule ``single`` a judgment is a row; under the others a comparison is, made of all its judgments, and the row
names them. Likewise a ranking makes rows, or a lineup does, made of all its rankings. Which decisions a run takes is
chosen elsewhere (``services.snapshots``): the new ones, and some old ones for replay. A skipped one is in the snapshot
with its reason.

``chosen`` and ``rejected`` begin to exist here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from annotate.aggregation import EXCLUDED, UNDECIDED, Decision
from annotate.orders import ALL, UNCHOSEN, OrderDecision, choose_pairs
from annotate.records import Answer, JudgmentRecord, LineupRecord, Pair, PairRecord, RankingRecord, RatingRecord
from annotate.said import Said
from training.engine.methods import METHODS

Kind = Literal["judgment", "rating", "ranking", "comparison", "lineup"]
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
    UNDECIDED: Said("people disagree and no rule or reviewer decides"),
    EXCLUDED: Said("excluded from training by a reviewer"),
    "no_messages": Said("the prompt is empty"),
    "needs_pairs": Said("a single rating: DPO learns from pairs"),
    "other_source": Said("not of the kind that this run learns from"),
    "no_demonstration": Said("no answer to imitate: nobody improved it"),
    "rated_down": Said("rated down"),
    "needs_singles": Said("a ranking says which answer is better, not which is good"),
    UNCHOSEN: Said("another pair of the ranking was chosen"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one decision: the ids of its rows, or the reason why it has none.

    ``decided`` is there for a comparison: its label, and the judgments that went into it or abstained. ``order`` is the
    same for a lineup, with ``fates`` beside it: (first, second, why the two make no row, or nothing).
    """

    kind: Kind
    id: int
    row_ids: tuple[str, ...] = ()
    skip_reason: str = ""
    decided: Decision | None = None
    order: OrderDecision | None = None
    fates: tuple[tuple[int, int, str], ...] = ()


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


def dpo_rows(
    judged: Iterable[JudgmentRecord | PairRecord],
    ratings: Iterable[RatingRecord] = (),
    rankings: Iterable[RankingRecord | LineupRecord] = (),
    *,
    excluded: Collection[int] = (),
    excluded_rankings: Collection[int] = (),
    ranking_pairs: str = ALL,
    graded: bool = False,
) -> Rows:
    """One row ``{id, messages, chosen, rejected}`` for each judgment (``j7``), or decided comparison (``c3``), that
    prefers one of two answers, and one for each answer that was edited: the edit is better than the original (``j7e``,
    ``c3e7``). One for each pair of a ranking (``k7-12-15``: 12 is the better), or of a decided lineup (``l3-12-15``),
    that ``ranking_pairs`` chooses (``annotate.orders``): each counts as much as a judgment.

    A comparison's row also names its ``judgments``, a lineup's its ``rankings``. ``excluded`` are judgments, and
    ``excluded_rankings`` rankings, that a reviewer took out. Ratings make no pairs. They are items all the same when a
    project collects both, so that the accounting is whole. ``graded``: with ``strength``, how much better a judged
    answer was said to be, None where nobody said.
    """
    made = Rows()
    for record in judged:
        reason = _nothing_to_learn(record, excluded)
        pairs = [] if reason else record.pairs
        ids = []
        for pair in pairs:
            if pair.flaw:
                continue
            ids.append(_row_id(record) + (_edit_mark(pair) if pair.source == "edit" else ""))
            row = {"messages": record.messages, "chosen": pair.better.text, "rejected": pair.worse.text}
            grade = {"strength": record.strength if pair.source == "judgment" else None} if graded else {}
            made.rows.append({"id": ids[-1]} | row | grade | _sources(record, pair))
        flaw = pairs[0].flaw if pairs else record.choice
        made.items.append(_item(record, *ids, skip_reason="" if ids else reason or flaw))
    made.items.extend(Item("rating", rating.id, skip_reason="needs_pairs") for rating in ratings)
    for ranking in rankings:
        made.items.append(_add_ranking(made.rows, ranking, excluded_rankings, ranking_pairs))
    return made


def _add_ranking(rows: list[Row], ranking: RankingRecord | LineupRecord, excluded: Collection[int], which: str) -> Item:
    """Adds a row for each chosen pair of it that can be learnt from."""
    reason = _ranking_skip(ranking, excluded)
    pairs = {} if reason else {(pair.better.id, pair.worse.id): pair for pair in ranking.pairs}
    chosen = choose_pairs([ids for ids, pair in pairs.items() if not pair.flaw], which)
    mark = f"l{ranking.id}" if isinstance(ranking, LineupRecord) else f"k{ranking.id}"
    made = []
    for better, worse in chosen:
        pair = pairs[better, worse]
        made.append(f"{mark}-{better}-{worse}")
        row = {"id": made[-1], "messages": ranking.messages, "chosen": pair.better.text, "rejected": pair.worse.text}
        rows.append(row | ({"rankings": list(ranking.decision.votes)} if isinstance(ranking, LineupRecord) else {}))
    reason = "" if made else reason or next(iter(pairs.values())).flaw
    if isinstance(ranking, RankingRecord):
        return Item("ranking", ranking.id, tuple(made), skip_reason=reason)
    fates = tuple(
        (first, second, _fate(label, pairs.get((first, second)) or pairs.get((second, first)), reason, chosen))
        for first, second, label in ((pair.first, pair.second, pair.label) for pair in ranking.decision.pairs)
    )
    return Item("lineup", ranking.id, tuple(made), skip_reason=reason, order=ranking.decision, fates=fates)


def _fate(label: str, pair: Pair | None, reason: str, chosen: Collection[tuple[int, int]]) -> str:
    """Why two answers of a lineup make no row; nothing when they make one."""
    if label not in ("first", "second"):
        return label
    if pair is None:
        return reason
    return pair.flaw or ("" if (pair.better.id, pair.worse.id) in chosen else UNCHOSEN)


def kto_rows(
    judged: Iterable[JudgmentRecord | PairRecord],
    ratings: Iterable[RatingRecord],
    rankings: Iterable[RankingRecord | LineupRecord] = (),
    *,
    excluded: Collection[int] = (),
    excluded_rankings: Collection[int] = (),
    ranking_pairs: str = ALL,
    source: str = "all",
) -> Rows:
    """Rows ``{id, messages, completion, label}``: one for each thumb, and two for each pair that was judged.

    A judged pair is taken apart into its preferred answer (label true) and the other one (label false). "Both bad" says
    something about single answers, so here it makes two rows with label false, where DPO can only skip it. An edited
    answer is one more good one (``j7e``). An order says which answer is better, not which is good: rankings make no
    rows. ``source``: "ratings" or "judgments" leaves out the others. Otherwise as ``dpo_rows``.
    """
    made = Rows()
    for rating in ratings:
        reason = "other_source" if source == "judgments" else _rating_skip(rating)
        if reason:
            made.items.append(Item("rating", rating.id, skip_reason=reason))
            continue
        row_id = f"r{rating.id}"
        made.rows.append(_single(row_id, rating.messages, rating.answer.text, label=rating.value == "up"))
        made.items.append(Item("rating", rating.id, (row_id,)))
    for record in judged:
        reason = "other_source" if source == "ratings" else _nothing_to_learn(record, excluded)
        pairs = [] if reason else record.pairs
        undecided = "" if record.preferred is not None or record.choice == "both_bad" else record.choice
        reason = reason or undecided or Pair("judgment", record.a, record.b).flaw
        ids = []
        if not reason:
            for side, answer in (("a", record.a), ("b", record.b)):
                ids.append(_row_id(record) + side)
                row = _single(ids[-1], record.messages, answer.text, label=answer is record.preferred)
                made.rows.append(row | _sources(record))
        for pair in pairs:
            if pair.source == "edit" and not pair.flaw:
                ids.append(_row_id(record) + _edit_mark(pair))
                row = _single(ids[-1], record.messages, pair.better.text, label=True)
                made.rows.append(row | _sources(record, pair))
        made.items.append(_item(record, *ids, skip_reason="" if ids else reason))
    made.items.extend(_no_single(ranking) for ranking in rankings)
    return made


def _no_single(ranking: RankingRecord | LineupRecord) -> Item:
    if isinstance(ranking, RankingRecord):
        return Item("ranking", ranking.id, skip_reason="needs_singles")
    fates = tuple((pair.first, pair.second, "needs_singles") for pair in ranking.decision.pairs)
    return Item("lineup", ranking.id, skip_reason="needs_singles", order=ranking.decision, fates=fates)


def sft_rows(
    judged: Iterable[JudgmentRecord | PairRecord],
    ratings: Iterable[RatingRecord] = (),
    rankings: Iterable[RankingRecord | LineupRecord] = (),
    *,
    excluded: Collection[int] = (),
    excluded_rankings: Collection[int] = (),
    ranking_pairs: str = ALL,
    source: str = "demonstrations",
) -> Rows:
    """Rows ``{id, messages, completion}``, one for each answer (``a12``) that is worth imitating.

    ``source`` "demonstrations": what people wrote as an edit of the answer they preferred. "chosen": that, the
    preferred answers that nobody edited, and those rated up. An answer that several decisions speak for is one row, and
    each of them is an item with that row. Otherwise as ``kto_rows``.
    """
    made = Rows()
    seen: set[str] = set()
    every = source == "chosen"

    def add(messages: list[dict[str, str]], answer: Answer) -> str:
        row_id = f"a{answer.id}"
        if row_id not in seen:
            seen.add(row_id)
            made.rows.append({"id": row_id, "messages": messages, "completion": answer.text})
        return row_id

    for record in judged:
        reason = _nothing_to_learn(record, excluded)
        better = [] if reason else [pair.better for pair in record.pairs if pair.source == "edit"]
        if not better and not reason and every and record.preferred is not None:
            better = [record.preferred]
        if not better and not reason:
            reason = "no_demonstration" if record.preferred is not None else record.choice
        ids = [add(record.messages, answer) for answer in better if answer.text.strip()]
        made.items.append(_item(record, *ids, skip_reason="" if ids else reason or "empty"))
    for rating in ratings:
        reason = _rating_skip(rating) if every else "no_demonstration"
        if not reason and rating.value != "up":
            reason = "rated_down"
        ids = [] if reason else [add(rating.messages, rating.answer)]
        made.items.append(Item("rating", rating.id, tuple(ids), skip_reason=reason))
    made.items.extend(_no_single(ranking) for ranking in rankings)
    # By answer: which decision spoke for it first must not matter when fewer of them are looked at again.
    made.rows.sort(key=lambda row: int(row["id"][1:]))
    return made


def prompt_rows(
    judged: Iterable[JudgmentRecord | PairRecord],
    ratings: Iterable[RatingRecord] = (),
    rankings: Iterable[RankingRecord | LineupRecord] = (),
    **chosen: Any,
) -> Rows:
    """Rows ``{id, messages}``, one for each prompt (``p5``) with a pair to learn from, by prompt.

    Each decision that would make rows of ``dpo_rows``, which takes the same arguments, is an item with its prompt.
    """
    judged, rankings = list(judged), list(rankings)
    about = {("comparison" if isinstance(record, PairRecord) else "judgment", record.id): record for record in judged}
    orders = {("lineup" if isinstance(record, LineupRecord) else "ranking", record.id): record for record in rankings}
    records: dict[Any, Any] = about | orders
    messages: dict[int, list[dict[str, str]]] = {}
    items = []
    for item in dpo_rows(judged, ratings, rankings, **chosen).items:
        if item.row_ids:
            record = records[item.kind, item.id]
            messages[record.prompt] = record.messages
            item = replace(item, row_ids=(f"p{record.prompt}",))  # noqa: PLW2901
        items.append(item)
    return Rows([{"id": f"p{prompt}", "messages": messages[prompt]} for prompt in sorted(messages)], items)


def _single(row_id: str, messages: list[dict[str, str]], text: str, *, label: bool) -> Row:
    return {"id": row_id, "messages": messages, "completion": text, "label": label}


def _row_id(record: JudgmentRecord | PairRecord) -> str:
    return f"{'c' if isinstance(record, PairRecord) else 'j'}{record.id}"


def _edit_mark(pair: Pair) -> str:
    return "e" if pair.judgment is None else f"e{pair.judgment}"


def _sources(record: JudgmentRecord | PairRecord, pair: Pair | None = None) -> Row:
    """The judgments that went into a comparison's row; a judgment's own row has its id already."""
    if isinstance(record, JudgmentRecord):
        return {}
    own = pair.judgment if pair is not None else None
    return {"judgments": list(record.decision.votes) if own is None else [own]}


def _item(record: JudgmentRecord | PairRecord, *row_ids: str, skip_reason: str = "") -> Item:
    if isinstance(record, PairRecord):
        return Item("comparison", record.id, row_ids, skip_reason, record.decision)
    return Item("judgment", record.id, row_ids, skip_reason)


def _nothing_to_learn(record: JudgmentRecord | PairRecord, excluded: Collection[int]) -> str:
    """Why it teaches nothing, whatever was said of it."""
    if why := _asked_for_something_else(record):
        return why
    if record.choice == EXCLUDED or (isinstance(record, JudgmentRecord) and record.id in excluded):
        return EXCLUDED
    return "" if record.messages else "no_messages"


def _asked_for_something_else(record: JudgmentRecord | PairRecord | RankingRecord | LineupRecord) -> str:
    if record.purpose in ("duel", "gold", "recheck"):
        return record.purpose
    return "" if record.split == "train" else "reserved"


def _ranking_skip(ranking: RankingRecord | LineupRecord, excluded: Collection[int]) -> str:
    if why := _asked_for_something_else(ranking):
        return why
    if isinstance(ranking, LineupRecord):
        if not ranking.pairs:
            return ranking.decision.label
    elif ranking.id in excluded:
        return EXCLUDED
    elif ranking.value == "skip":
        return "skip"
    elif not ranking.pairs:
        return "tie"
    return "" if ranking.messages else "no_messages"


def _rating_skip(rating: RatingRecord) -> str:
    if rating.split != "train":
        return "reserved"
    if rating.value == "skip":
        return "skip"
    if not rating.messages:
        return "no_messages"
    return "" if rating.answer.text.strip() else "empty"


def maker(method: str, source: str = "") -> Callable[..., Rows]:
    """Who makes the rows for a method (``training.engine.methods``), and of which decisions where it has a choice."""
    own = METHODS[method]
    if own.data == "unpaired":
        return partial(kto_rows, source=source or next(iter(own.sources)))
    if own.data == "demonstrations":
        return partial(sft_rows, source=source or next(iter(own.sources)))
    if own.data == "prompts":
        return prompt_rows
    return partial(dpo_rows, graded=True) if own.data == "graded" else dpo_rows


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
    if METHODS[method].data == "unpaired":
        labels = Counter(bool(row["label"]) for row in made.rows)
        if not labels[True]:
            return Said("KTO needs good and bad answers, and every answer so far is bad. Rate some answers up first.")
        if not labels[False]:
            return Said(
                "KTO needs good and bad answers, and every answer so far is good. Rate some answers down first."
            )
    return ""
