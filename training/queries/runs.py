"""What the pages about runs show."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from annotate.aggregation import UNDECIDED
from annotate.models import Aggregation, Project
from annotate.said import Said
from annotate.telling import told
from training.advice import Advice, advice
from training.engine.methods import METHODS, foreign_knobs
from training.models import Outcome, Policy, RewardModel, Run, RunEvent
from training.queries.curves import SERIES
from training.rows import SKIP_REASONS
from training.states import RUN_ACTIVE


def runs_of(project: Project) -> QuerySet[Run]:
    """The project's runs, newest first, with all that a list shows."""
    return project.runs.select_related("policy", "parent", "created_by", "round").order_by("-number")


@dataclass(frozen=True, slots=True)
class Share:
    """Some items of a snapshot that met the same end."""

    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Accounting:
    """What became of a snapshot: used + skipped (+ pending, until the run has ended) = total.

    It counts every decision where a judgment is a row ("single"), else comparisons, ratings and lineups: then
    ``judgments`` says how many judgments and rankings went into them, and ``abstained`` how many had skipped them.
    ``lineup_pairs`` are the pairs of the lineups, all of them and those that are rows. ``undecided``: the comparisons
    that the rule left open, of all of them.
    """

    total: int
    used: int
    pending: int
    skipped: list[Share]
    by_comparison: bool
    judgments: int
    abstained: int
    lineup_pairs: tuple[int, int] = (0, 0)
    undecided: tuple[int, int] = (0, 0)

    @property
    def undecided_percent(self) -> int:
        undecided, comparisons = self.undecided
        return round(100 * undecided / comparisons) if comparisons else 0

    @property
    def skipped_total(self) -> int:
        return sum(share.count for share in self.skipped)


def accounting(run: Run) -> Accounting:
    """The snapshot's rows by outcome and reason."""
    items, comparisons, lineups = (
        run.snapshot.items.all(),
        run.snapshot.comparisons.all(),
        run.snapshot.lineups.all(),
    )
    by_comparison = run.snapshot.aggregation != Aggregation.SINGLE
    counts: Counter[tuple[str, str]] = Counter()
    for rows in (items.filter(rating__isnull=False), comparisons, lineups) if by_comparison else (items,):
        for outcome, reason, count in rows.order_by().values_list("outcome", "reason").annotate(rows=Count("id")):
            counts[outcome, reason] += count
    skipped = [
        # What the engine refuses are fixed phrases of its own.
        Share(told(SKIP_REASONS.get(reason) or Said(reason)), count)
        for (outcome, reason), count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        if outcome == Outcome.SKIPPED
    ]
    return Accounting(
        total=counts.total(),
        used=counts[Outcome.USED, ""],
        pending=counts[Outcome.PENDING, ""],
        skipped=skipped,
        by_comparison=by_comparison,
        judgments=items.exclude(_ALONE).count() if by_comparison else 0,
        abstained=items.filter(_ALONE, rating__isnull=True).count() if by_comparison else 0,
        lineup_pairs=_lineup_pairs(run) if by_comparison else (0, 0),
        undecided=(comparisons.filter(label=UNDECIDED).count(), comparisons.count()) if by_comparison else (0, 0),
    )


_ALONE = Q(counted_in__isnull=True, counted_in_lineup__isnull=True)


def _lineup_pairs(run: Run) -> tuple[int, int]:
    """Of the snapshot's lineups: how many pairs they have, and how many of those are rows."""
    reasons = [why for pairs in run.snapshot.lineups.values_list("pairs", flat=True) for *_, why in pairs]
    return len(reasons), reasons.count("")


ROW_COLUMNS = ("kind", "id", "label", "support", "decided_by", "outcome", "reason", "judgments")


def snapshot_rows(run: Run) -> Iterator[tuple[object, ...]]:
    """Each row of the accounting with the judgments that went into it, as ``ROW_COLUMNS``; comparisons first.

    A lineup is followed by its pairs (``12>15``: response 12 is better than 15); its ``judgments`` are rankings.
    """
    votes: dict[int, list[str]] = defaultdict(list)
    items = run.snapshot.items.order_by("judgment_id", "rating_id", "ranking_id")
    for counted_in, judgment in items.filter(counted_in__isnull=False).values_list("counted_in", "judgment"):
        votes[counted_in or 0].append(str(judgment))
    for row in run.snapshot.comparisons.all():
        by = "" if row.label in ("undecided", "skip") else "reviewer" if row.adjudication_id else "votes"
        about = (row.label, row.support, by, row.outcome, row.reason)
        yield "comparison", row.comparison_id, *about, " ".join(votes[row.pk])
    yield from _lineup_rows(run)
    single = run.snapshot.aggregation == Aggregation.SINGLE
    for item in items if single else items.filter(rating__isnull=False):
        named = (("judgment", item.judgment_id), ("rating", item.rating_id), ("ranking", item.ranking_id))
        kind, pk = next(entry for entry in named if entry[1] is not None)
        yield kind, pk, "", None, "", item.outcome, item.reason, item.judgment_id


def _lineup_rows(run: Run) -> Iterator[tuple[object, ...]]:
    votes: dict[int, list[str]] = defaultdict(list)
    counted = run.snapshot.items.filter(counted_in_lineup__isnull=False).order_by("ranking_id")
    for lineup, ranking in counted.values_list("counted_in_lineup", "ranking"):
        votes[lineup or 0].append(str(ranking))
    for row in run.snapshot.lineups.all():
        by = "reviewer" if row.verdict_id else "votes"
        yield "lineup", row.lineup_id, "", None, by, row.outcome, row.reason, " ".join(votes[row.pk])
        for first, second, label, support, why in row.pairs:
            said = f"{first}{ {'first': '>', 'second': '<', 'tie': '='}.get(label, '?') }{second}"
            outcome = Outcome.SKIPPED if why else row.outcome
            yield "lineup pair", said, label, support, by, outcome, why or row.reason, ""


# --- May it go on? ---------------------------------------------------------------------------------------------------


# Ends after which the same plan may well succeed; the others would end the same way again.
WORTH_ANOTHER_TRY = frozenset(
    {"cancelled", "poison", "no_space", "out_of_memory", "internal", "bad_result", "no_device"}
)


def why_not_resumable(run: Run) -> Said | None:
    """Why the run cannot be resumed, or None when it can."""
    if run.state not in ("cancelled", "failed"):
        return Said("Only a run that was cancelled or failed can be resumed.")
    if Policy.objects.filter(run=run).exists():
        return Said("Its policy was trained already; there is nothing to resume.")
    if run.code not in WORTH_ANOTHER_TRY:
        return Said("With the same settings it would end the same way. Start one like it, with other settings.")
    if Run.objects.filter(project=run.project_id, number__gt=run.number).exists():
        return Said("A later run has begun, so its checkpoints are gone. Start one like it.")
    return None


def why_not_scorable(run: Run) -> Said | None:
    """Why its policy cannot be scored again, or None when it can."""
    if run.state not in ("cancelled", "failed"):
        return Said("Only a run whose scoring failed or was cancelled can be scored again.")
    if not Policy.objects.filter(run=run, scored_at__isnull=True).exists():
        return Said("It made no policy that could be scored.")
    return None


# --- The live part ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Live:
    """A run as it stands, and ``seen``: a mark that changes with everything that is shown of it."""

    run: Run
    policy: Policy | None
    # What a run made that makes no policy.
    reward_model: RewardModel | None
    active: bool
    can_cancel: bool
    can_stop: bool
    # Why it ended and what to do; whether it can go on, and from which step.
    can_resume: bool
    resume_from: int | None
    # Its policy was never scored.
    can_score: bool
    advice: Advice | None
    # Does it learn from rewards, so that they say more than its loss?
    raises_rewards: bool
    stopped_early: str
    eta_seconds: float | None
    # The newest step's, in training: of the rows of that step only.
    accuracy: float | None
    margin: float | None
    # Of the newest look at held-out judgments.
    heldout: float | None
    # The pace of the newest step, and the most memory so far in MiB.
    tokens_per_second: float | None
    memory: float | None
    phase: str
    seen: str
    # The same for the results below the curve, which change far less often.
    results_seen: str


def live(run: Run) -> Live:
    """Everything that the moving part of the run page shows."""
    policy = Policy.objects.filter(run=run).first()
    reward_model = RewardModel.objects.filter(run=run).first()
    active = run.state in RUN_ACTIVE
    phase = run.events.filter(kind="phase").order_by("-pk").values_list("data", flat=True).first() if active else None
    doing = told(phase.get("said") or phase.get("message", "")) if phase else ""
    eta = _eta(run) if run.state == Run.State.TRAINING else None
    marks = [run.state, run.step, run.total_steps, run.latest, run.message, str(run.cancel_requested_at), doing]
    marks.append(str(run.stop_requested_at))
    return Live(
        run=run,
        policy=policy,
        reward_model=reward_model,
        active=active,
        can_cancel=active and run.cancel_requested_at is None,
        can_stop=run.state == Run.State.TRAINING and not (run.cancel_requested_at or run.stop_requested_at),
        can_resume=not active and why_not_resumable(run) is None,
        resume_from=_last_checkpoint(run),
        can_score=not active and why_not_scorable(run) is None,
        advice=None if active or run.code in ("", "ok") else advice(run.code, run.spec),
        raises_rewards=run.method in METHODS and METHODS[run.method].data == "prompts",
        stopped_early=stopped_early(run),
        eta_seconds=eta,
        accuracy=run.latest.get(SERIES["accuracy"]),
        margin=run.latest.get(SERIES["margin"]),
        heldout=_newest_heldout(run),
        tokens_per_second=run.latest.get(SERIES["tokens_per_second"]),
        memory=run.latest.get(SERIES["memory"]),
        phase=doing,
        seen=_mark(marks),
        results_seen=_mark([run.state, None if policy is None else policy.pk]),
    )


def stopped_early(run: Run) -> str:
    """Why training ended before its last step, in words; empty where it did not."""
    kept = run.result.get("about", {}).get("stopped_early")
    return told(kept) if kept else ""


def _newest_heldout(run: Run) -> float | None:
    newest = run.events.filter(kind="look").order_by("-pk").values_list("data", flat=True).first()
    return None if newest is None else newest.get("values", {}).get(SERIES["heldout"])


def _last_checkpoint(run: Run) -> int | None:
    return run.events.filter(kind="checkpoint").order_by("-pk").values_list("step", flat=True).first()


def _mark(shown: list[Any]) -> str:
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def _eta(run: Run) -> float | None:
    metrics = run.events.filter(kind="metric", step__isnull=False)
    last = metrics.order_by("-pk").first()
    if last is None:
        return None
    # The steps of an earlier attempt say nothing about the time that passed between the attempts.
    first = metrics.filter(data__attempt=last.data.get("attempt")).order_by("pk").first()
    return None if first is None else eta_seconds(_place(first), _place(last), total=run.total_steps)


def _place(event: RunEvent) -> tuple[int, datetime]:
    return event.step or 0, event.at


def eta_seconds(first: tuple[int, datetime], last: tuple[int, datetime], *, total: int) -> float | None:
    """Seconds until step ``total`` at the pace between two (step, time); None while there is no pace."""
    steps = last[0] - first[0]
    if steps <= 0 or total < last[0]:
        return None
    return (last[1] - first[1]).total_seconds() / steps * (total - last[0])


def history(run: Run) -> QuerySet[RunEvent]:
    """What happened in words: moves, phases, warnings, checkpoints. Newest last."""
    return run.events.filter(kind__in=["move", "phase", "warning", "checkpoint", "profile"]).order_by("pk")[:200]


# --- Results ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """One reserved prompt with the answers of the policy before and of the new one."""

    prompt: list[dict[str, str]]
    before: str
    after: str


def before_after(run: Run) -> list[BeforeAfter]:
    """The side-by-side answers that scoring kept; a prompt that was deleted since is left out."""
    kept = run.result.get("before_after", [])
    ids = {int(str(row["id"]).removeprefix("p")): row for row in kept}
    prompts = dict(run.project.prompts.filter(pk__in=ids).values_list("pk", "messages"))
    return [BeforeAfter(prompts[pk], row["before"], row["after"]) for pk, row in ids.items() if pk in prompts]


def settings_shown(run: Run) -> list[tuple[str, Any]]:
    """The frozen spec as name and value, without what names folders of this machine, or means nothing in its method."""
    hidden = {"kind", "format", "method", "resume_from", "start_adapter", "model", "revision", "reference"}
    hidden |= {
        "reward_model",
        "reference_cache",
        "reference_cache_mb",
        "trackers",
        "tracker_project",
        "tracker_run",
    }  # the worker's
    hidden |= foreign_knobs(run.method)
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else value)
        for name, value in run.spec.items()
        if name not in hidden
    ]
