"""Runs: open one with its plan frozen, move it along, cancel it."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from annotate.models import User
from annotate.said import Said, packed
from annotate.services.audit import record_deed
from training.engine.checks import SpecError
from training.engine.methods import METHODS
from training.engine.profile import gib
from training.engine.spec import TrainSpec
from training.models import Job, Loop, Policy, RecipeRun, RewardModel, Round, Run, RunEvent
from training.queries.machines import profile_shown
from training.rows import shortcoming
from training.services.defaults import KNOBS, train_spec
from training.services.doorbell import ring_after_commit
from training.services.heldout import frozen_for_looks, frozen_for_reward_model
from training.services.snapshots import Selection, SnapshotChangedError, freeze, prompts_of, rows_like, select_rows
from training.services.text import storable
from training.states import JOB_ACTIVE, RUN_ACTIVE, RUN_MOVES, states_that_lead_to

# Lists in an engine's result with an entry per row: the snapshot's items say the same.
_LONG = ("used", "skipped")


class CannotStartError(Exception):
    """A run cannot be opened now; the message says why and what to do."""


class AlreadyRunningError(CannotStartError):
    """The project has a run under way: ``run``. A second press on Start ends here, harmlessly."""

    def __init__(self, run: Run) -> None:
        super().__init__(Said("Run %(run)s is under way. The next one can start when it has ended.", run=run.number))
        self.run = run


def spec_problems(error: SpecError) -> Said:
    """What the engine's spec refused, in one sentence."""
    problems = [Said("%(field)s: %(problem)s", field=name, problem=said) for name, said in error.problems.items()]
    return Said("%(problems)s", problems=problems)


def active_run(project_id: int) -> Run | None:
    """The project's run that has not ended, if there is one."""
    return Run.objects.filter(project_id=project_id, state__in=RUN_ACTIVE).first()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run is opened with, read and checked."""

    loop: Loop
    parent: Policy
    opened: Round
    spec: TrainSpec
    aggregation: str
    selection: Selection
    looked_at: Mapping[str, Any]
    reward_model: RewardModel | None = None


def plan_run(
    *,
    loop: Loop,
    parent: Policy | None,
    method: str,
    settings: Mapping[str, Any],
    aggregation: str = "",
    like: Run | None = None,
    reward_model: RewardModel | None = None,
) -> Plan:
    """What a run from ``parent`` would train on, and with what settings. Nothing is written.

    ``like`` is an earlier run whose decisions it trains on, whatever the ``aggregation`` is now. ``reward_model`` is
    what a method that wants one trains against: that of ``like``, or else the newest, where it is not given. A run on
    prompts takes those of what its reward model learned from.

    To be called outside a transaction: on SQLite one would keep every annotator waiting, and what is edited before the
    run opens is frozen as it was read. Raises ``SpecError`` (keyed by field) or ``CannotStartError``.
    """
    opened = Round.objects.filter(project=loop.project, closed_at__isnull=True).first()
    if parent is None or opened is None:
        raise CannotStartError(Said("The loop has no base policy yet. Save its settings once, then start the run."))
    reward_model = _reward_model_for(loop, method, reward_model, like)
    spec = train_spec(loop=loop, parent=parent, method=method, settings=settings, reward_model=reward_model)
    aggregation = aggregation or loop.aggregation
    if like is not None:
        selection = _rows_of(like, spec)
    elif reward_model is not None and spec.own.data == "prompts":
        with _unchanged_rows():
            selection = prompts_of(reward_model, method=method)
    else:
        selection = select_rows(
            project=loop.project,
            method=method,
            source=spec.source,
            parent=parent,
            replay_percent=loop.replay_percent,
            min_rows=spec.min_rows,
            rng=random.Random(spec.seed),
            aggregation=aggregation,
            ranking_pairs=loop.ranking_pairs,
        )
    if problem := shortcoming(method, selection.made, min_rows=spec.min_rows):
        raise CannotStartError(problem)
    looked_at = _looked_at(loop, like, spec)
    return Plan(loop, parent, opened, spec, aggregation, selection, looked_at, reward_model)


def open_run(
    plan: Plan, *, started_by: User | None, reason: str, recipe_run: RecipeRun | None = None, stage: int | None = None
) -> Run:
    """Freezes the plan's snapshot and spec and opens the run with its job, in one transaction; rings after the commit.

    A run of a recipe's ``stage``, or like an earlier one, leaves the loop's own settings alone. Raises
    ``AlreadyRunningError``.
    """
    loop, spec, selection = plan.loop, plan.spec, plan.selection
    frozen = selection.copied_from
    try:
        with transaction.atomic():
            run = Run.objects.create(
                project=loop.project,
                round=plan.opened,
                number=1 + (loop.project.runs.aggregate(Max("number"))["number__max"] or 0),
                snapshot=freeze(project=loop.project, selection=selection),
                method=spec.method,
                spec=spec.to_json(),
                reference=spec.reference,
                parent=plan.parent,
                reward_model=plan.reward_model,
                recipe_run=recipe_run,
                stage=stage,
                reason=reason,
                created_by=started_by,
            )
            job = Job.objects.create(project=loop.project, run=run, kind=Job.Kind.TRAIN, payload=plan.looked_at)
            if recipe_run is None and frozen is None:
                _keep_settings(plan)
            record_move(run, "queued", reason)
            record_profile(run)
            record_deed(
                project=loop.project,
                actor=started_by,
                verb="run.started",
                subject=f"run {run.number}",
                method=spec.method,
                snapshot=run.snapshot.sha256,
                selection=selection.name,
                replayed=selection.replayed,
                aggregation=selection.aggregation,
                reason=reason,
                **({} if frozen is None else {"rows_of": f"run {frozen.run.number}"}),
            )
            ring_after_commit(job.pk)
    except IntegrityError as error:
        # Two presses at the same instant: run_active_once let one of them through.
        if (running := active_run(loop.project_id)) is not None:
            raise AlreadyRunningError(running) from error
        raise
    return run


def _keep_settings(plan: Plan) -> None:
    """What was chosen is what rounds that start by themselves use from now on."""
    plain = plan.spec.to_json()
    # A single press on SFT must not turn them into SFT.
    own: dict[str, Any] = {"method": plan.spec.method, "settings": {knob: plain[knob] for knob in KNOBS}}
    kept = own if plan.spec.own.repeats else {}
    Loop.objects.filter(pk=plan.loop.pk).update(aggregation=plan.aggregation, **kept)


def refuse_if_busy(project_id: int) -> None:
    """Raises ``AlreadyRunningError`` while a run is under way, ``CannotStartError`` between two stages of a recipe."""
    if (running := active_run(project_id)) is not None:
        raise AlreadyRunningError(running)
    recipe_run = RecipeRun.objects.filter(project_id=project_id, state="running").first()
    if recipe_run is not None:
        raise CannotStartError(
            Said(
                "The recipe %(name)s is under way. Wait until its last stage has ended, or cancel it.",
                name=recipe_run.name,
            )
        )


@contextmanager
def one_at_a_time(project_id: int) -> Iterator[None]:
    """One transaction. Of two presses at the same instant the constraints let one through; the other hears which.

    Raises ``AlreadyRunningError`` or ``CannotStartError``.
    """
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        refuse_if_busy(project_id)
        raise


def start_run(
    *,
    loop: Loop,
    method: str,
    settings: Mapping[str, Any],
    started_by: User | None,
    reason: str,
    aggregation: str = "",
    like: Run | None = None,
    reward_model: RewardModel | None = None,
) -> Run:
    """A run from the policy that answers are sampled from, planned and opened.

    ``settings`` are some of ``defaults.KNOBS``; ``started_by`` is None when the loop starts it; ``aggregation`` is one
    of ``annotate.models.Aggregation``, the loop's where it is not given, and the loop keeps it. ``like`` is an earlier
    run of the project to be compared with: this one begins from the same policy and trains on the same decisions, its
    rule for several judgments included, and the loop's own settings stay. Raises ``SpecError`` (keyed by field),
    ``AlreadyRunningError`` or ``CannotStartError``.
    """
    refuse_if_busy(loop.project_id)
    parent = loop.sampler if like is None else like.parent
    plan = plan_run(
        loop=loop,
        parent=parent,
        method=method,
        settings=settings,
        aggregation=aggregation,
        like=like,
        reward_model=reward_model,
    )
    return open_run(plan, started_by=started_by, reason=reason)


def _rows_of(like: Run, spec: TrainSpec) -> Selection:
    with _unchanged_rows():
        return rows_like(like, method=spec.method, source=spec.source)


@contextmanager
def _unchanged_rows() -> Iterator[None]:
    try:
        yield
    except SnapshotChangedError as error:
        raise CannotStartError(error.args[0]) from error


def reward_model_named(*, loop: Loop, method: str, number: int | None) -> RewardModel | None:
    """The project's reward model of that number, for a run of ``method``; None where none is named.

    Raises ``CannotStartError`` where the project has none of that number, or the method trains against none.
    """
    if number is None:
        return None
    found = loop.project.reward_models.select_related("run__snapshot__project", "run__parent")
    if (named := found.filter(number=number).first()) is None:
        raise CannotStartError(
            Said(
                "The project has no reward model %(number)s. Name one that it has, or none for the newest.",
                number=number,
            )
        )
    return _reward_model_for(loop, method, named, None)


def _reward_model_for(loop: Loop, method: str, chosen: RewardModel | None, like: Run | None) -> RewardModel | None:
    """What the run trains against; None where its method trains against none."""
    if not METHODS[method].needs_reward_model:
        if chosen is not None:
            title = METHODS[method].title
            raise CannotStartError(Said("%(method)s trains against no reward model. Leave it out.", method=title))
        return None
    if chosen is None and like is not None:
        chosen = like.reward_model
    newest = RewardModel.objects.filter(project=loop.project).order_by("-number")
    found = chosen or newest.select_related("run__snapshot__project", "run__parent").first()
    if found is None:
        title = METHODS[method].title
        raise CannotStartError(
            Said("%(method)s needs a reward model. Train one first: choose “Reward model”.", method=title)
        )
    return found


def _looked_at(loop: Loop, like: Run | None, spec: TrainSpec) -> dict[str, Any]:
    """What the run looks at while it trains: the same as the one that it is compared with, if that looked."""
    measures_itself = spec.own.makes_reward_model
    if not (spec.look_every or measures_itself):
        return {}
    job = None if like is None else Job.objects.filter(run=like, kind=Job.Kind.TRAIN).first()
    if job is not None and job.payload and like is not None and (like.method == spec.method or not measures_itself):
        return dict(job.payload)
    return frozen_for_reward_model(loop) if measures_itself else frozen_for_looks(loop)


# --- Moves ------------------------------------------------------------------------------------------------------------


def record_move(run: Run, to: str, why: str, *, left: str = "") -> None:
    """The event row of a move: from, to, why, when."""
    data = {"from": left, "to": to, "why": str(why), "said": packed(why)}
    RunEvent.objects.create(run=run, kind="move", data=data, at=timezone.now())


def record_profile(run: Run) -> None:
    """What the run is thought to take, on which machine; nothing where no worker has told of itself."""
    base = run.parent.base_model
    if (shown := profile_shown(base_model=base, method=run.method, usual=run.spec, chosen=run.spec)) is None:
        return
    host, memory, limit = shown.where.machine.host, shown.fit.memory.total, shown.fit.limit
    sized = {"host": host, "size": gib(memory), "limit": gib(limit)}
    said = (
        Said("Made for %(host)s: about %(size)s of %(limit)s GiB of memory.", **sized)
        if shown.fit.fits
        else Said("Started although it will probably not fit: about %(size)s of %(limit)s GiB on %(host)s.", **sized)
    )
    data = {"message": str(said), "said": packed(said), "machine": shown.where.machine.to_json(), "bytes": memory}
    RunEvent.objects.create(run=run, kind="profile" if shown.fit.fits else "warning", data=data, at=timezone.now())


def move(run: Run, *, to: str, why: str, **fields: Any) -> bool:
    """Moves the run if it is still where the move may begin; False when someone else was first."""
    left = Run.objects.filter(pk=run.pk).values_list("state", flat=True).first()
    if left is None or left not in states_that_lead_to(to, RUN_MOVES):
        return False
    if Run.objects.filter(pk=run.pk, state=left).update(state=to, **fields) != 1:
        return False
    record_move(run, to, why, left=left)
    return True


def mark_training(run: Run) -> None:
    """A worker took the run's job up; a later attempt finds it moved already."""
    move(run, to="training", why=Said("a worker took it up"), started_at=timezone.now())


def end_run(run: Run, *, state: str, code: str, message: str, result: Mapping[str, Any] | None = None) -> bool:
    """Moves the run to failed or cancelled, with what a person should know."""
    fields: dict[str, Any] = {"code": code, "message": message, "ended_at": timezone.now()}
    if result is not None:
        fields["result"] = brief(result)
    moved = move(run, to=state, why=message, **fields)
    if moved:
        Policy.objects.filter(run=run, scored_at__isnull=True).update(
            guard_failures=[packed(Said("it was never scored"))]
        )
    return moved


def brief(result: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's result as it is kept on the run: counts in place of lists with an entry per row."""
    kept = {key: value for key, value in result.items() if key not in _LONG}
    kept |= {f"{key}_rows": len(result.get(key, ())) for key in _LONG}
    return {key: storable(value) for key, value in kept.items()}


def cancel_run(*, run: Run, actor: User) -> None:
    """Asks the run to end. Idempotent: a queued one ends at once, a running one within a minute, an ended one stays."""
    with transaction.atomic():
        asked = Run.objects.filter(pk=run.pk, state__in=RUN_ACTIVE, cancel_requested_at__isnull=True).update(
            cancel_requested_at=timezone.now()
        )
        if asked:
            record_deed(project=run.project, actor=actor, verb="run.cancelled", subject=f"run {run.number}")
        ended = Job.objects.filter(run=run, state=Job.State.QUEUED).update(
            state=Job.State.CANCELLED, ended_at=timezone.now()
        )
        idle = not Job.objects.filter(run=run, state__in=JOB_ACTIVE).exists()
        if ended or idle:
            end_run(run, state="cancelled", code="cancelled", message=Said("Cancelled by %(who)s.", who=str(actor)))


def stop_run(*, run: Run, actor: User) -> bool:
    """Asks a run in training to end after its step and publish what it has learnt; the policy is marked as such.

    False, and nothing is asked: it does not train (yet, or any more), or its end was asked for before. A cancel that
    comes later wins, as long as nothing is published.
    """
    with transaction.atomic():
        asked = Run.objects.filter(
            pk=run.pk, state="training", cancel_requested_at__isnull=True, stop_requested_at__isnull=True
        ).update(stop_requested_at=timezone.now())
        if asked:
            record_deed(project=run.project, actor=actor, verb="run.stopped", subject=f"run {run.number}")
    return bool(asked)


def wish_for(run_id: int) -> Literal["", "cancel", "save"]:
    """What leads want of this run: its end, its end with what it has learnt, or that it goes on."""
    wishes = Run.objects.filter(pk=run_id).values_list("cancel_requested_at", "stop_requested_at").first()
    cancelled, stopped = wishes or (None, None)
    return "cancel" if cancelled is not None else "save" if stopped is not None else ""
