"""The frozen list of decisions that one run trains on, and what became of each."""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from annotate.aggregation import EXCLUDED, Decision
from annotate.models import Aggregation, Project, RankingPairs
from annotate.orders import OrderDecision, PairDecision
from annotate.queries.aggregated import (
    decided_lineups,
    decided_records,
    excluded_judgments,
    excluded_rankings,
    lineup_records,
    pair_records,
)
from annotate.queries.records import judgment_records, ranking_records, rating_records
from annotate.records import JudgmentRecord, LineupRecord, PairRecord, RankingRecord
from annotate.said import Said
from training.engine.methods import METHODS
from training.models import (
    Outcome,
    Policy,
    RewardModel,
    Run,
    Snapshot,
    SnapshotComparison,
    SnapshotItem,
    SnapshotLineup,
)
from training.rows import SKIP_REASONS, Item, Rows, maker, shortcoming

BATCH = 500

# A judgment, a rating or a ranking: its kind and its id.
Key = tuple[str, int]


class Selection(NamedTuple):
    """The rows of a run, and how its decisions were chosen: "new" (with ``replayed`` old ones), or "all"."""

    made: Rows
    name: str
    replayed: int
    aggregation: str = Aggregation.SINGLE
    ranking_pairs: str = RankingPairs.ALL
    copied_from: Snapshot | None = None


def select_rows(
    *,
    project: Project,
    method: str,
    parent: Policy,
    replay_percent: int,
    min_rows: int,
    rng: random.Random,
    aggregation: str = Aggregation.SINGLE,
    ranking_pairs: str = RankingPairs.ALL,
    source: str = "",
) -> Selection:
    """The decisions that ``parent`` has not learnt from, and for every hundred of them ``replay_percent`` that it has.

    Replaying some keeps a policy from forgetting earlier rounds. Replaying all over-trains it: with the starter, three
    rounds of 100 judgments took the KL to 22 nats and the true reward down again (docs/simulate.md). Where the new ones
    alone cannot be trained on, every current decision is taken: a lead who presses Start again means just that.

    A reward model begins anew each time, and takes every current decision too.

    Under an ``aggregation`` other than "single" a decision is a comparison's, or a lineup's: new as well when a
    judgment or a ranking was added to it, or when a verdict changed what it says.
    """
    everything = _build(project, maker(method, source), aggregation, ranking_pairs)
    if METHODS[method].makes_reward_model:  # it continues nothing
        return Selection(everything, "all", 0, aggregation, ranking_pairs)
    learnt = _learnt(parent, method)
    fresh = [item for item in everything.items if learnt.lacks(item)]
    new = {(item.kind, item.id) for item in fresh}
    old = [item for item in everything.items if (item.kind, item.id) not in new and learnt.has(item)]
    wanted = round(sum(bool(item.row_ids) for item in fresh) * replay_percent / 100)
    replayed = rng.sample(old, min(wanted, len(old)))
    made = _only(everything, {*new, *((item.kind, item.id) for item in replayed)})
    if shortcoming(method, made, min_rows=min_rows):
        return Selection(everything, "all", 0, aggregation, ranking_pairs)
    return Selection(made, "new", len(replayed), aggregation, ranking_pairs)


def _build(project: Project, made_by: Callable[..., Rows], aggregation: str, ranking_pairs: str) -> Rows:
    """Rows of the project's current decisions."""
    judged: Iterable[JudgmentRecord | PairRecord]
    rankings: Iterable[RankingRecord | LineupRecord]
    if aggregation == Aggregation.SINGLE:
        judged, rankings = judgment_records(project), ranking_records(project)
    else:
        judged, rankings = pair_records(project, rule=aggregation), lineup_records(project, rule=aggregation)
    return made_by(
        judged,
        rating_records(project),
        rankings,
        excluded=excluded_judgments(project),
        excluded_rankings=excluded_rankings(project),
        ranking_pairs=ranking_pairs,
    )


def _only(made: Rows, chosen: Collection[Key]) -> Rows:
    items = [item for item in made.items if (item.kind, item.id) in chosen]
    wanted = {row for item in items for row in item.row_ids}
    return Rows([row for row in made.rows if row["id"] in wanted], items)


# --- What a policy has learnt -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Learnt:
    """What a policy and its ancestors were trained on, and why they were not trained on the rest."""

    used: set[Key] = field(default_factory=set)
    # The newest reason of each. Those depend on the method: a rating that DPO had to leave is new to KTO.
    reasons: dict[Key, str] = field(default_factory=dict)
    # By comparison: what was learnt of it last, or "" where its rows contradicted each other.
    labels: dict[int, str] = field(default_factory=dict)
    # By lineup: what was learnt of it last, as ``OrderDecision.said``; not there where each ranking was a row.
    orders: dict[int, str] = field(default_factory=dict)

    def lacks(self, item: Item) -> bool:
        """Is there anything in it that the policy does not know yet, be it why it is left out?"""
        if not item.row_ids:
            return any(self.reasons.get(key) != item.skip_reason for key in _keys(item))
        if item.decided is not None and self.labels.get(item.id, item.decided.label) != item.decided.label:
            return True
        if item.order is not None and self.orders.get(item.id, item.order.said) != item.order.said:
            return True
        # What the engine refused (too long, say) it would refuse again; what a rule left out may be decided by now.
        return any(
            key not in self.used and (key not in self.reasons or self.reasons[key] in SKIP_REASONS)
            for key in _keys(item)
        )

    def has(self, item: Item) -> bool:
        """Can it be replayed?"""
        return bool(item.row_ids) and all(key in self.used for key in _keys(item))


def _keys(item: Item) -> list[Key]:
    """The judgments, the rating or the rankings behind it, abstentions apart unless nobody decided."""
    if item.order is not None:
        return [("ranking", pk) for pk in item.order.votes or item.order.abstained]
    if item.decided is None:
        return [(item.kind, item.id)]
    return [("judgment", pk) for pk in item.decided.votes or item.decided.abstained]


def _key(judgment: int | None, rating: int | None, ranking: int | None) -> Key:
    """What an item is about."""
    if judgment is not None:
        return "judgment", judgment
    return ("rating", rating) if rating is not None else ("ranking", ranking or 0)


def _learnt(parent: Policy, method: str) -> Learnt:
    runs: dict[int, str] = {}
    policy: Policy | None = parent
    while policy is not None and policy.run is not None:
        if METHODS[policy.run.method].imitates == METHODS[method].imitates:
            runs[policy.run.snapshot_id] = policy.run.method
        policy = policy.parent
    found = Learnt()
    # A parent's snapshot is older than its child's.
    items = (
        SnapshotItem.objects.filter(snapshot__in=runs).exclude(outcome=Outcome.PENDING).order_by("snapshot_id", "id")
    )
    said: dict[int, tuple[int, set[str]]] = {}
    columns = (
        "snapshot",
        "rating",
        "ranking",
        "judgment",
        "outcome",
        "reason",
        "counted_in__label",
        "judgment__comparison",
        "judgment__comparison__first",
        "judgment__preferred",
    )
    for snapshot, rating, ranking, judgment, outcome, reason, label, *pair in items.values_list(*columns):
        key, (comparison, first, preferred) = _key(judgment, rating, ranking), pair
        if outcome != Outcome.USED:
            if runs[snapshot] == method:
                found.reasons[key] = reason
            continue
        found.used.add(key)
        if comparison is not None:
            own = "both_bad" if preferred is None else "first" if preferred == first else "second"
            since, labels = said.get(comparison, (0, set()))
            said[comparison] = (snapshot, (labels if since == snapshot else set()) | {label or own})
    found.labels = {
        comparison: next(iter(labels)) if len(labels) == 1 else "" for comparison, (_, labels) in said.items()
    }
    used = SnapshotLineup.objects.filter(snapshot__in=runs, outcome=Outcome.USED).order_by("snapshot_id")
    for lineup in used:
        found.orders[lineup.lineup_id] = _decision(lineup, ()).said
    return found


# --- Freezing ---------------------------------------------------------------------------------------------------------


def freeze(*, project: Project, selection: Selection) -> Snapshot:
    """Stores the snapshot. What is skipped now is settled now; the rest is pending until the run has ended."""
    made = selection.made
    snapshot = Snapshot.objects.create(
        project=project,
        sha256=made.sha256,
        aggregation=selection.aggregation,
        ranking_pairs=selection.ranking_pairs,
        selection=selection.name,
        replayed=selection.replayed,
        copied_from=selection.copied_from,
    )
    decided = [
        SnapshotComparison(
            snapshot=snapshot,
            comparison_id=item.id,
            label=item.decided.label,
            support=item.decided.support,
            adjudication_id=item.decided.adjudication,
            outcome=Outcome.SKIPPED if item.skip_reason else Outcome.PENDING,
            reason=item.skip_reason,
        )
        for item in made.items
        if item.decided is not None
    ]
    SnapshotComparison.objects.bulk_create(decided, batch_size=BATCH)
    lineups = [_frozen_lineup(snapshot, item, item.order) for item in made.items if item.order is not None]
    SnapshotLineup.objects.bulk_create(lineups, batch_size=BATCH)
    counted_in = {row.comparison_id: row for row in decided}
    lineup_of = {row.lineup_id: row for row in lineups}
    items = (
        row
        for item in made.items
        for row in (
            _items(snapshot, item, counted_in.get(item.id))
            if item.order is None
            else _ranking_items(lineup_of[item.id], item, item.order)
        )
    )
    SnapshotItem.objects.bulk_create(items, batch_size=BATCH)
    return snapshot


def _frozen_lineup(snapshot: Snapshot, item: Item, order: OrderDecision) -> SnapshotLineup:
    fates = {(first, second): reason for first, second, reason in item.fates}
    return SnapshotLineup(
        snapshot=snapshot,
        lineup_id=item.id,
        pairs=[
            [pair.first, pair.second, pair.label, pair.support, fates[pair.first, pair.second]] for pair in order.pairs
        ],
        verdict_id=order.verdict,
        outcome=Outcome.SKIPPED if item.skip_reason else Outcome.PENDING,
        reason=item.skip_reason,
    )


def _ranking_items(lineup: SnapshotLineup, item: Item, order: OrderDecision) -> list[SnapshotItem]:
    said = {"snapshot": lineup.snapshot, "outcome": lineup.outcome, "reason": item.skip_reason}
    votes = [SnapshotItem(ranking_id=pk, counted_in_lineup=lineup, **said) for pk in order.votes]
    skips = {"snapshot": lineup.snapshot, "outcome": Outcome.SKIPPED, "reason": "skip"}
    return votes + [SnapshotItem(ranking_id=pk, **skips) for pk in order.abstained]


def _items(snapshot: Snapshot, item: Item, counted_in: SnapshotComparison | None) -> list[SnapshotItem]:
    outcome = Outcome.SKIPPED if item.skip_reason else Outcome.PENDING
    if item.decided is None:
        about = {f"{item.kind}_id": item.id}
        return [SnapshotItem(snapshot=snapshot, outcome=outcome, reason=item.skip_reason, **about)]
    votes = [
        SnapshotItem(snapshot=snapshot, judgment_id=pk, counted_in=counted_in, outcome=outcome, reason=item.skip_reason)
        for pk in item.decided.votes
    ]
    abstained = [
        SnapshotItem(snapshot=snapshot, judgment_id=pk, outcome=Outcome.SKIPPED, reason="skip")
        for pk in item.decided.abstained
    ]
    return votes + abstained


class SnapshotChangedError(Exception):
    """The rows that a snapshot stands for are not the ones that were frozen."""


def frozen_rows(snapshot: Snapshot, method: str, source: str = "") -> Rows:
    """The snapshot's rows again, byte for byte. Raises ``SnapshotChangedError`` when the hash differs.

    Decisions are never overwritten, so only a hand in the database can change them. An edit since the freeze supersedes
    a judgment and leaves its row; the run trains on what was frozen.
    """
    made = _rows_again(snapshot, method, source)
    if made.sha256 != snapshot.sha256:
        raise SnapshotChangedError(
            Said(
                "The rows of snapshot %(number)s changed since it was frozen. Start a new run from today's judgments.",
                number=str(snapshot.pk),
            )
        )
    return made


def _rows_again(snapshot: Snapshot, method: str, source: str) -> Rows:
    project = snapshot.project
    items = list(snapshot.items.values_list("judgment_id", "rating_id", "ranking_id", "reason"))
    ratings = [rating for _, rating, _, _ in items if rating is not None]
    judged: Iterable[JudgmentRecord | PairRecord]
    rankings: Iterable[RankingRecord | LineupRecord]
    if snapshot.aggregation == Aggregation.SINGLE:
        ids = [judgment for judgment, _, _, _ in items if judgment is not None]
        judged = judgment_records(project, judgment_ids=ids, include_inactive=True)
        ids = [ranking for _, _, ranking, _ in items if ranking is not None]
        rankings = ranking_records(project, ranking_ids=ids, include_inactive=True)
    else:
        judged = decided_records(project, _frozen_decisions(snapshot))
        rankings = decided_lineups(project, _frozen_orders(snapshot))
    excluded = [(judgment, ranking) for judgment, _, ranking, reason in items if reason == EXCLUDED]
    return maker(method, source)(
        judged,
        rating_records(project, rating_ids=ratings, include_inactive=True),
        rankings,
        excluded={judgment for judgment, _ in excluded if judgment is not None},
        excluded_rankings={ranking for _, ranking in excluded if ranking is not None},
        ranking_pairs=snapshot.ranking_pairs,
    )


def run_rows(run: Run) -> Rows:
    """The rows that the run's plan was made of. Raises ``SnapshotChangedError``."""
    return frozen_rows(run.snapshot, run.method, str(run.spec.get("source", "")))


def rows_like(run: Run, *, method: str, source: str = "") -> Selection:
    """The decisions that ``run`` was opened with once more: the same rows to the byte, where ``method`` and ``source``
    are the run's own; else what those make of the same decisions. Raises ``SnapshotChangedError``.
    """
    frozen, made = run.snapshot, run_rows(run)
    if (method, source) != (run.method, str(run.spec.get("source", ""))):
        made = _rows_again(frozen, method, source)
    return Selection(made, frozen.selection, frozen.replayed, frozen.aggregation, frozen.ranking_pairs, frozen)


def prompts_of(reward_model: RewardModel, *, method: str) -> Selection:
    """The decisions that the reward model learned from, for their prompts: what it knows to judge. Raises
    ``SnapshotChangedError``."""
    frozen = reward_model.run.snapshot
    made = rows_like(reward_model.run, method=method).made
    used = frozen.items.filter(outcome=Outcome.USED).values_list("judgment_id", "rating_id", "ranking_id")
    learnt = {_key(*item) for item in used}
    kept = {(item.kind, item.id) for item in made.items if item.row_ids and not learnt.isdisjoint(_keys(item))}
    return Selection(_only(made, kept), "reward", 0, frozen.aggregation, frozen.ranking_pairs)


def _frozen_decisions(snapshot: Snapshot) -> dict[int, Decision]:
    votes: dict[int, list[int]] = defaultdict(list)
    abstained: dict[int, list[int]] = defaultdict(list)
    judged = snapshot.items.filter(judgment__isnull=False).order_by("judgment_id")
    for comparison, counted, judgment in judged.values_list("judgment__comparison", "counted_in", "judgment"):
        (abstained if counted is None else votes)[comparison or 0].append(judgment or 0)
    return {
        row.comparison_id: Decision(
            row.label,
            tuple(votes[row.comparison_id]),
            tuple(abstained[row.comparison_id]),
            support=row.support,
            adjudication=row.adjudication_id,
        )
        for row in snapshot.comparisons.all()
    }


def _frozen_orders(snapshot: Snapshot) -> dict[int, OrderDecision]:
    votes: dict[int, list[int]] = defaultdict(list)
    abstained: dict[int, list[int]] = defaultdict(list)
    ranked = snapshot.items.filter(ranking__isnull=False).order_by("ranking_id")
    for lineup, counted, ranking in ranked.values_list("ranking__lineup", "counted_in_lineup", "ranking"):
        (abstained if counted is None else votes)[lineup or 0].append(ranking or 0)
    return {
        row.lineup_id: _decision(row, votes[row.lineup_id], abstained[row.lineup_id]) for row in snapshot.lineups.all()
    }


def _decision(row: SnapshotLineup, votes: Collection[int], abstained: Collection[int] = ()) -> OrderDecision:
    pairs = (PairDecision(first, second, label, support) for first, second, label, support, _ in row.pairs)
    return OrderDecision(tuple(pairs), tuple(votes), tuple(abstained), verdict=row.verdict_id)


# --- What became of it ------------------------------------------------------------------------------------------------


def settle(*, snapshot: Snapshot, made: Rows, used: Iterable[str], skipped: Iterable[Mapping[str, Any]]) -> None:
    """Writes each pending item's outcome: used when any of its rows was, else skipped with the engine's reason.

    Raises ``ValueError`` when the engine left a row unaccounted for: then nothing it says can be trusted.
    """
    used_ids = set(used)
    reasons = _reasons(skipped)
    outcomes: dict[Key, str] = {}
    for item in made.items:
        if item.skip_reason:
            continue
        missing = [row for row in item.row_ids if row not in used_ids and row not in reasons]
        if missing:
            raise ValueError(f"the engine did not account for row {missing[0]}")
        outcomes[item.kind, item.id] = "" if used_ids & set(item.row_ids) else reasons[item.row_ids[0]]
    _write(snapshot, outcomes)


def settle_refused(*, snapshot: Snapshot, made: Rows, skipped: Iterable[Mapping[str, Any]]) -> None:
    """A run that failed trained nothing, but which rows the engine refused may be why: those are settled."""
    reasons = _reasons(skipped)
    _write(
        snapshot,
        {
            (item.kind, item.id): reasons[item.row_ids[0]]
            for item in made.items
            if item.row_ids and all(row in reasons for row in item.row_ids)
        },
    )


def _reasons(skipped: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {str(row["id"]): str(row["reason"])[:60] or "skipped" for row in skipped}


def _write(snapshot: Snapshot, outcomes: Mapping[Key, str]) -> None:
    """The outcome of every pending item that ``outcomes`` names: "" is used, anything else the reason it was not."""
    comparisons = list(snapshot.comparisons.filter(outcome=Outcome.PENDING))
    lineups = list(snapshot.lineups.filter(outcome=Outcome.PENDING))
    items = list(snapshot.items.filter(outcome=Outcome.PENDING).select_related("counted_in", "counted_in_lineup"))
    settled_comparisons = [row for row in comparisons if _settled(row, ("comparison", row.comparison_id), outcomes)]
    SnapshotComparison.objects.bulk_update(settled_comparisons, ["outcome", "reason"], batch_size=BATCH)
    settled_lineups = [row for row in lineups if _settled(row, ("lineup", row.lineup_id), outcomes)]
    SnapshotLineup.objects.bulk_update(settled_lineups, ["outcome", "reason"], batch_size=BATCH)
    settled_items = [row for row in items if _settled(row, _key_of(row), outcomes)]
    SnapshotItem.objects.bulk_update(settled_items, ["outcome", "reason"], batch_size=BATCH)


def _key_of(item: SnapshotItem) -> Key:
    if item.counted_in is not None:
        return "comparison", item.counted_in.comparison_id
    if item.counted_in_lineup is not None:
        return "lineup", item.counted_in_lineup.lineup_id
    return _key(item.judgment_id, item.rating_id, item.ranking_id)


def _settled(row: SnapshotComparison | SnapshotLineup | SnapshotItem, key: Key, outcomes: Mapping[Key, str]) -> bool:
    if key not in outcomes:
        return False
    row.reason = outcomes[key]
    row.outcome = Outcome.SKIPPED if row.reason else Outcome.USED
    return True
