"""PURE: what a project's loop does next, and why. Facts in, one decision with a sentence (``Said``) for people out.

Knows nothing of the database, of Celery, or of the time of day: the clock is one of the facts. The tick gathers facts,
asks ``decide``, acts, and asks again until the answer is to wait.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from annotate.said import Clock, Said, counted
from annotate.stats.intervals import wilson

Action = Literal["wait", "sample", "train", "score", "stage"]

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
class ActiveRecipe:
    """The recipe that is under way, and the stage that was begun last."""

    name: str
    at: int
    stages: int


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
    recipe: ActiveRecipe | None = None
    # The sampler's folder or hub id could not be used at all: a sentence, or nothing.
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    reason: Said


def decide(facts: LoopFacts) -> Decision:  # noqa: PLR0911  (a ladder of cases, read from the top)
    """The next thing to do.

    Finishing a run comes first, and a recipe that was begun, also while paused: pausing starts nothing new and abandons
    nothing. Sampling comes before training, because annotators must not wait for a round.
    """
    run, recipe = facts.run, facts.recipe
    if run and run.state == "scoring" and not run.scoring_job:
        return Decision("score", Said("training run %(run)s made a policy: scoring it", run=run.number))
    if recipe and not run:
        over = Said(
            "recipe %(name)s: stage %(at)s of %(stages)s is over", name=recipe.name, at=recipe.at, stages=recipe.stages
        )
        return Decision("stage", over)
    if facts.paused:
        return Decision("wait", _run_in_words(run) if run else Said("paused: nothing starts by itself"))
    if facts.train_prompts == 0:
        return Decision("wait", Said("waiting: import prompts to begin"))
    if facts.obstacle:
        return Decision("wait", Said("waiting: %(why)s", why=facts.obstacle))
    if facts.open_items < facts.queue_target and not facts.sampling and not _sampling_rests(facts):
        low = Said("queue low: %(open)s of %(target)s open items", open=facts.open_items, target=facts.queue_target)
        return Decision("sample", low)
    if run:
        return Decision("wait", _run_in_words(run))
    if (why := _due(facts)) is not None:
        return Decision("train", why)
    return Decision("wait", _waiting_for(facts))


def _sampling_rests(facts: LoopFacts) -> bool:
    last = facts.last_sampling
    return last is not None and last.made == 0 and facts.now < last.ended_at + RETRY_SAMPLING_AFTER


def _run_in_words(run: ActiveRun) -> Said:
    if run.state == "queued":
        return Said("training run %(run)s: waiting for a worker", run=run.number)
    if run.state == "scoring":
        return Said("training run %(run)s: scoring the new policy", run=run.number)
    if run.total_steps:
        return Said(
            "training run %(run)s: step %(step)s of %(steps)s", run=run.number, step=run.step, steps=run.total_steps
        )
    return Said("training run %(run)s: starting", run=run.number)


def _due(facts: LoopFacts) -> Said | None:
    """Why a round starts now, or None."""
    if facts.train_after is not None and facts.new_judgments >= facts.train_after:
        return _new(facts)
    if facts.train_every is not None and facts.last_round_at is not None:
        over = facts.now >= facts.last_round_at + facts.train_every
        if over and facts.new_judgments >= FEWEST_FOR_A_SCHEDULED_ROUND:
            return Said("%(often)s: %(new)s", often=_every(facts.train_every), new=_new(facts))
    return None


def _waiting_for(facts: LoopFacts) -> Said:  # noqa: PLR0911  (likewise)
    if facts.sampling:
        return Said("sampling: %(open)s of %(target)s open items", open=facts.open_items, target=facts.queue_target)
    last = facts.last_sampling
    if last and facts.open_items < facts.queue_target and _sampling_rests(facts):
        again = Clock(last.ended_at + RETRY_SAMPLING_AFTER)
        if last.error:
            return Said("waiting: sampling failed, trying again at %(time)s", time=again)
        return Said("waiting: the last sampling made nothing new, trying again at %(time)s", time=again)
    if facts.train_after is not None:
        return Said("waiting: %(new)s of %(wanted)s new judgments", new=facts.new_judgments, wanted=facts.train_after)
    if facts.train_every is not None and facts.last_round_at is not None:
        due = facts.last_round_at + facts.train_every
        if facts.now < due:
            return Said("waiting: next round at %(time)s", time=due)
        return Said(
            "waiting: a round is due, with %(new)s of at least %(wanted)s new judgments",
            new=facts.new_judgments,
            wanted=FEWEST_FOR_A_SCHEDULED_ROUND,
        )
    return Said("waiting: a lead starts the next round (%(new)s)", new=_new(facts))


def _new(facts: LoopFacts) -> Said:
    return counted("%(n)s new judgment", "%(n)s new judgments", n=facts.new_judgments)


def _every(span: timedelta) -> Said:
    hours = span / timedelta(hours=1)
    return Said("every hour") if hours == 1 else Said("every %(hours)s hours", hours=hours)


# --- Guards: may a scored policy be sampled from? ---------------------------------------------------------------------

# A policy that answers nothing, or the same words over and over, fills the queue with work that nobody can judge.
MAX_EMPTY_SHARE = 0.10
MAX_REPETITION_SHARE = 0.25
# Nats per response against the base. Measured on the starter: good rounds stay below 10, a run-away policy passes 100
# (facts: KL 33 is the top of the reward curve, 158 is ruin). Generous, because people judge what it says anyway.
MAX_KL_PER_RESPONSE = 60.0
# Answers this many times as long (or short) as the base's are a policy that games the judges, or has fallen silent.
MAX_LENGTH_RATIO = 4.0


def _empty(share: int, limit: int) -> Said:
    return Said("%(share)s%% empty answers, at most %(limit)s%% allowed", share=share, limit=limit)


def _repetitive(share: int, limit: int) -> Said:
    return Said("%(share)s%% repetitive answers, at most %(limit)s%% allowed", share=share, limit=limit)


def guards(metrics: Mapping[str, Any]) -> list[Said]:
    """Reasons, in sentences, why a scored policy is not sampled from; none means that it may be.

    ``metrics`` are the policy's own, as ``training.services.scoring`` keeps them: the engine's, and the same shares of
    the previous policy's answers to the same prompts. A share fails when the whole of its 95% Wilson interval lies
    above the limit, so that one unlucky answer of six stops nobody's loop. What the previous policy did as often is not
    held against the new one: it cannot be the run's doing, and refusing it would stop the loop for ever.
    """
    failures = []
    for key, limit, sentence in (
        ("empty_share", MAX_EMPTY_SHARE, _empty),
        ("repetition_share", MAX_REPETITION_SHARE, _repetitive),
    ):
        share, n = _number(metrics.get(key)), metrics.get("samples_n")
        allowed = max(limit, _number(metrics.get(f"{key}_previous")) or 0.0)
        if share is not None and n and (wilson(round(share * n), n).low or 0.0) > allowed:
            failures.append(sentence(round(100 * share), round(100 * allowed)))
    if "kl_per_response" in metrics and metrics["kl_per_response"] is not None:
        kl = _number(metrics["kl_per_response"])
        if kl is None:
            failures.append(Said("the KL to the base is not a finite number"))
        elif kl > MAX_KL_PER_RESPONSE:
            failures.append(
                Said(
                    "KL to the base %(kl)s nats per answer, at most %(limit)s allowed",
                    kl=round(kl, 1),
                    limit=MAX_KL_PER_RESPONSE,
                )
            )
    length, base = _number(metrics.get("mean_tokens")), _number(metrics.get("mean_tokens_base"))
    if length is not None and base:
        ratio = length / base
        if ratio > MAX_LENGTH_RATIO or ratio < 1 / MAX_LENGTH_RATIO:
            failures.append(
                Said(
                    "answers %(ratio)s times as long as the base's, %(low)s to %(high)s times allowed",
                    ratio=float(f"{ratio:.2g}"),
                    low=1 / MAX_LENGTH_RATIO,
                    high=MAX_LENGTH_RATIO,
                )
            )
    return failures


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
