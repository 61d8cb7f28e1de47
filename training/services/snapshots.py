"""The frozen list of decisions that one run trains on, and what became of each."""

import random
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from annotate.models import Project
from annotate.queries.records import judgment_records, rating_records
from training.models import Method, Policy, Snapshot, SnapshotItem
from training.rows import Item, Rows, dpo_rows, kto_rows, shortcoming

Outcome = SnapshotItem.Outcome
BATCH = 500


class Selection(NamedTuple):
    """The rows of a run, and how its decisions were chosen: "new" (with ``replayed`` old ones), or "all"."""

    made: Rows
    name: str
    replayed: int


def select_rows(
    *, project: Project, method: str, parent: Policy, replay_percent: int, min_rows: int, rng: random.Random
) -> Selection:
    """The decisions that ``parent`` has not learnt from, and for every hundred of them ``replay_percent`` that it has.

    Replaying some keeps a policy from forgetting earlier rounds. Replaying all over-trains it: with the starter, three
    rounds of 100 judgments took the KL to 22 nats and the true reward down again (docs/simulate.md). Where the new ones
    alone cannot be trained on, every current decision is taken: a lead who presses Start again means just that.
    """
    used, settled = _learnt(parent, method)
    everything = _build(project, method)
    fresh = [item for item in everything.items if (item.kind, item.id) not in used | settled]
    old = [item for item in everything.items if (item.kind, item.id) in used and item.row_ids]
    wanted = round(sum(bool(item.row_ids) for item in fresh) * replay_percent / 100)
    replayed = rng.sample(old, min(wanted, len(old)))
    chosen = {(item.kind, item.id) for item in (*fresh, *replayed)}
    made = _build(project, method, chosen)
    if shortcoming(method, made, min_rows=min_rows):
        return Selection(everything, "all", 0)
    return Selection(made, "new", len(replayed))


def _build(project: Project, method: str, chosen: Collection[tuple[str, int]] | None = None) -> Rows:
    """Rows of the project's current decisions, or of the chosen ones among them."""
    build = kto_rows if method == Method.KTO else dpo_rows
    if chosen is None:
        return build(judgment_records(project), rating_records(project))
    return build(
        judgment_records(project, judgment_ids=[pk for kind, pk in chosen if kind == "judgment"]),
        rating_records(project, rating_ids=[pk for kind, pk in chosen if kind == "rating"]),
    )


def _learnt(parent: Policy, method: str) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """What the policy and its ancestors were trained on; and what was skipped then for a reason that still holds.

    The reasons depend on the method: a rating that DPO had to leave is new to KTO.
    """
    runs: dict[int, str] = {}
    policy: Policy | None = parent
    while policy is not None and policy.run is not None:
        runs[policy.run.snapshot_id] = policy.run.method
        policy = policy.parent
    used: set[tuple[str, int]] = set()
    settled: set[tuple[str, int]] = set()
    items = SnapshotItem.objects.filter(snapshot__in=runs).exclude(outcome=Outcome.PENDING)
    for snapshot, judgment, rating, outcome in items.values_list("snapshot", "judgment", "rating", "outcome"):
        key = ("judgment", judgment) if judgment is not None else ("rating", rating)
        if outcome == Outcome.USED:
            used.add(key)
        elif runs[snapshot] == method:
            settled.add(key)
    return used, settled


def freeze(*, project: Project, selection: Selection) -> Snapshot:
    """Stores the snapshot. What is skipped now is settled now; the rest is pending until the run has ended."""
    made = selection.made
    snapshot = Snapshot.objects.create(
        project=project, sha256=made.sha256, selection=selection.name, replayed=selection.replayed
    )
    SnapshotItem.objects.bulk_create((_item(snapshot, item) for item in made.items), batch_size=BATCH)
    return snapshot


def _item(snapshot: Snapshot, item: Item) -> SnapshotItem:
    return SnapshotItem(
        snapshot=snapshot,
        judgment_id=item.id if item.kind == "judgment" else None,
        rating_id=item.id if item.kind == "rating" else None,
        outcome=Outcome.SKIPPED if item.skip_reason else Outcome.PENDING,
        reason=item.skip_reason,
    )


class SnapshotChangedError(Exception):
    """The rows that a snapshot stands for are not the ones that were frozen."""


def frozen_rows(snapshot: Snapshot, method: str) -> Rows:
    """The snapshot's rows again, byte for byte. Raises ``SnapshotChangedError`` when the hash differs.

    Decisions are never overwritten, so only a hand in the database can change them. An edit since the freeze supersedes
    a judgment and leaves its row; the run trains on what was frozen.
    """
    items = snapshot.items.values_list("judgment_id", "rating_id")
    judgments = [judgment for judgment, _ in items if judgment is not None]
    ratings = [rating for _, rating in items if rating is not None]
    build = kto_rows if method == Method.KTO else dpo_rows
    made = build(
        judgment_records(snapshot.project, judgment_ids=judgments, include_inactive=True),
        rating_records(snapshot.project, rating_ids=ratings, include_inactive=True),
    )
    if made.sha256 != snapshot.sha256:
        raise SnapshotChangedError(
            f"The rows of snapshot {snapshot.pk} changed since it was frozen. Start a new run from today's judgments."
        )
    return made


def settle(*, snapshot: Snapshot, made: Rows, used: Iterable[str], skipped: Iterable[Mapping[str, Any]]) -> None:
    """Writes each pending item's outcome: used when any of its rows was, else skipped with the engine's reason.

    Raises ``ValueError`` when the engine left a row unaccounted for: then nothing it says can be trusted.
    """
    used_ids = set(used)
    reasons = {str(row["id"]): str(row["reason"])[:60] or "skipped" for row in skipped}
    outcomes: dict[tuple[str, int], str] = {}
    for item in made.items:
        if item.skip_reason:
            continue
        missing = [row for row in item.row_ids if row not in used_ids and row not in reasons]
        if missing:
            raise ValueError(f"the engine did not account for row {missing[0]}")
        outcomes[item.kind, item.id] = "" if used_ids & set(item.row_ids) else reasons[item.row_ids[0]]
    changed = []
    for row in snapshot.items.filter(outcome=Outcome.PENDING):
        key = ("judgment", row.judgment_id) if row.judgment_id is not None else ("rating", row.rating_id or 0)
        row.reason = outcomes[key]
        row.outcome = Outcome.SKIPPED if row.reason else Outcome.USED
        changed.append(row)
    SnapshotItem.objects.bulk_update(changed, ["outcome", "reason"], batch_size=BATCH)
