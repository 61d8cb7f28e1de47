"""PURE: what a project's loop does next, and why. Facts in, one decision with a sentence for people out.

Knows nothing of the database, of Celery, or of the time of day: the clock is one of the facts. The tick gathers facts,
asks ``decide``, acts, and asks again until the answer is to wait.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

Action = Literal["wait", "sample", "train", "score"]

# After a sampling that failed, or that made nothing new, the loop leaves the model alone for this long.
RETRY_SAMPLING_AFTER = timedelta(minutes=10)
# A scheduled round with fewer new judgments than this teaches nothing worth a policy.
FEWEST_FOR_A_SCHEDULED_ROUND = 8


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """The run that is under way. ``scoring_job``: is its scoring queued, running, or over?"""

    number: int
    state: str
    step: int = 0
    total_steps: int = 0
    scoring_job: bool = False


@dataclass(frozen=True, slots=True)
class LastSampling:
    """The newest sampling job that has ended: when, how many queue items it made, and its error if it failed."""

    ended_at: datetime
    made: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class LoopFacts:
    """Everything the decision depends on, read at one moment.

    ``open_items`` counts what waits for annotators of the open round, in the scarcer of the modes that the project
    asks for. ``new_judgments`` counts what came in since the last run was frozen and can be trained on.
    """

    now: datetime
    paused: bool
    train_prompts: int
    open_items: int
    queue_target: int
    sampling: bool
    new_judgments: int
    train_after: int | None = None
    train_every: timedelta | None = None
    # When the last run was frozen, or the loop began where there was none.
    last_round_at: datetime | None = None
    last_sampling: LastSampling | None = None
    run: ActiveRun | None = None
    # The sampler's folder or hub id could not be used at all: a sentence, or nothing.
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    reason: str


def decide(facts: LoopFacts) -> Decision:  # noqa: PLR0911  (a ladder of cases, read from the top)
    """The next thing to do.

    Finishing a run comes first, also while paused: pausing starts nothing new and abandons nothing. Sampling comes
    before training, because annotators must not wait for a round.
    """
    run = facts.run
    if run and run.state == "scoring" and not run.scoring_job:
        return Decision("score", f"training run {run.number} made a policy: scoring it")
    if facts.paused:
        return Decision("wait", _run_in_words(run) if run else "paused: nothing starts by itself")
    if facts.train_prompts == 0:
        return Decision("wait", "waiting: import prompts to begin")
    if facts.obstacle:
        return Decision("wait", f"waiting: {facts.obstacle}")
    if facts.open_items < facts.queue_target and not facts.sampling and not _sampling_rests(facts):
        return Decision("sample", f"queue low: {facts.open_items} of {facts.queue_target} open items")
    if run:
        return Decision("wait", _run_in_words(run))
    if (why := _due(facts)) is not None:
        return Decision("train", why)
    return Decision("wait", _waiting_for(facts))


def _sampling_rests(facts: LoopFacts) -> bool:
    last = facts.last_sampling
    return last is not None and last.made == 0 and facts.now < last.ended_at + RETRY_SAMPLING_AFTER


def _run_in_words(run: ActiveRun) -> str:
    if run.state == "queued":
        return f"training run {run.number}: waiting for a worker"
    if run.state == "scoring":
        return f"training run {run.number}: scoring the new policy"
    if run.total_steps:
        return f"training run {run.number}: step {run.step} of {run.total_steps}"
    return f"training run {run.number}: starting"


def _due(facts: LoopFacts) -> str | None:
    """Why a round starts now, or None."""
    if facts.train_after is not None and facts.new_judgments >= facts.train_after:
        return f"{facts.new_judgments} new judgments"
    if facts.train_every is not None and facts.last_round_at is not None:
        over = facts.now >= facts.last_round_at + facts.train_every
        if over and facts.new_judgments >= FEWEST_FOR_A_SCHEDULED_ROUND:
            return f"every {_hours(facts.train_every)}: {facts.new_judgments} new judgments"
    return None


def _waiting_for(facts: LoopFacts) -> str:  # noqa: PLR0911  (likewise)
    if facts.sampling:
        return f"sampling: {facts.open_items} of {facts.queue_target} open items"
    last = facts.last_sampling
    if last and facts.open_items < facts.queue_target and _sampling_rests(facts):
        again = f"{last.ended_at + RETRY_SAMPLING_AFTER:%H:%M} UTC"
        if last.error:
            return f"waiting: sampling failed, trying again at {again}"
        return f"waiting: the last sampling made nothing new, trying again at {again}"
    if facts.train_after is not None:
        return f"waiting: {facts.new_judgments} of {facts.train_after} new judgments"
    if facts.train_every is not None and facts.last_round_at is not None:
        due = facts.last_round_at + facts.train_every
        if facts.now < due:
            return f"waiting: next round at {due:%Y-%m-%d %H:%M} UTC"
        return (
            f"waiting: a round is due, with {facts.new_judgments} of at least "
            f"{FEWEST_FOR_A_SCHEDULED_ROUND} new judgments"
        )
    return f"waiting: a lead starts the next round ({facts.new_judgments} new judgments)"


def _hours(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return "hour" if hours == 1 else f"{hours:g} hours"


# --- Guards: may a scored policy be sampled from? ---------------------------------------------------------------------

# A policy that answers nothing, or the same words over and over, fills the queue with work that nobody can judge.
MAX_EMPTY_SHARE = 0.10
MAX_REPETITION_SHARE = 0.25
# Nats per response against the base. Measured on the starter: good rounds stay below 10, a run-away policy passes 100
# (facts: KL 33 is the top of the reward curve, 158 is ruin). Generous, because people judge what it says anyway.
MAX_KL_PER_RESPONSE = 60.0
# Answers this many times as long (or short) as the base's are a policy that games the judges, or has fallen silent.
MAX_LENGTH_RATIO = 4.0


def guards(metrics: Mapping[str, Any], previous: Mapping[str, Any]) -> list[str]:
    """Reasons, in sentences, why a scored policy is not sampled from; none means that it may be.

    ``metrics`` are the engine's score metrics of the policy, ``previous`` those of the policy it was trained from
    (empty for the base). A share that the previous policy had as well is not held against the new one: it cannot be the
    run's doing, and refusing it would stop the loop for ever.
    """
    failures = []
    for key, limit, what in (
        ("empty_share", MAX_EMPTY_SHARE, "empty answers"),
        ("repetition_share", MAX_REPETITION_SHARE, "repetitive answers"),
    ):
        share = _number(metrics.get(key))
        before = _number(previous.get(key)) or 0.0
        if share is not None and share > max(limit, before):
            failures.append(f"{share:.0%} {what}, at most {max(limit, before):.0%} allowed")
    if "kl_per_response" in metrics and metrics["kl_per_response"] is not None:
        kl = _number(metrics["kl_per_response"])
        if kl is None:
            failures.append("the KL to the base is not a finite number")
        elif kl > MAX_KL_PER_RESPONSE:
            failures.append(f"KL to the base {kl:.1f} nats per answer, at most {MAX_KL_PER_RESPONSE:g} allowed")
    length, base = _number(metrics.get("mean_tokens")), _number(metrics.get("mean_tokens_base"))
    if length is not None and base:
        ratio = length / base
        if ratio > MAX_LENGTH_RATIO or ratio < 1 / MAX_LENGTH_RATIO:
            failures.append(
                f"answers {ratio:.2g} times as long as the base's, at most {MAX_LENGTH_RATIO:g} times allowed"
            )
    return failures


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
