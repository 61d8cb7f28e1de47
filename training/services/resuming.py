"""A run that was cancelled or failed goes on: it trains from its last checkpoint, or its policy is scored again."""

from typing import Any

from annotate.models import User
from annotate.said import Said
from annotate.services.audit import record_deed
from training.models import Job, RecipeRun, Run
from training.queries.runs import why_not_resumable, why_not_scorable
from training.services.doorbell import ring_after_commit
from training.services.runs import CannotStartError, move, one_at_a_time
from training.services.scoring import start_scoring


def resume_run(*, run: Run, actor: User) -> None:
    """Queues the run again; rings after the commit. Raises ``CannotStartError``, or ``AlreadyRunningError``.

    Its job is the same, so the next attempt finds the checkpoints of the last. On CPU the result is that of a run
    that nobody interrupted, bit for bit. Without a checkpoint it begins again.
    """
    if (problem := why_not_resumable(run)) is not None:
        raise CannotStartError(problem)
    with one_at_a_time(run.project_id):
        _take_up_recipe(run)
        if not move(run, to="queued", why=Said("%(who)s resumed it", who=str(actor)), result={}, **_cleared()):
            raise CannotStartError(Said("Somebody else resumed it first."))
        job = Job.objects.get(run=run, kind=Job.Kind.TRAIN)
        Job.objects.filter(pk=job.pk, state__in=[Job.State.CANCELLED, Job.State.FAILED]).update(
            state=Job.State.QUEUED, attempt=0, owner="", lease_until=None, rung_at=None, ended_at=None, error=""
        )
        record_deed(project=run.project, actor=actor, verb="run.resumed", subject=f"run {run.number}")
        ring_after_commit(job.pk)


def score_again(*, run: Run, actor: User) -> None:
    """Has the policy of a run scored whose scoring failed or was cancelled; nothing is trained.

    What it is measured on is frozen anew: what failed for want of reserved prompts may work now. Raises
    ``CannotStartError``, or ``AlreadyRunningError``.
    """
    if (problem := why_not_scorable(run)) is not None:
        raise CannotStartError(problem)
    with one_at_a_time(run.project_id):
        _take_up_recipe(run)
        if not move(run, to="scoring", why=Said("%(who)s had it scored again", who=str(actor)), **_cleared()):
            raise CannotStartError(Said("Somebody else was first."))
        record_deed(project=run.project, actor=actor, verb="run.scored_again", subject=f"run {run.number}")
        start_scoring(run=run)


def _cleared() -> dict[str, Any]:
    return {"cancel_requested_at": None, "stop_requested_at": None, "ended_at": None, "code": "", "message": ""}


def _take_up_recipe(run: Run) -> None:
    """The recipe that stopped with this run goes on with it.

    It touches the row also where it has not stopped yet, so that whoever is about to stop it waits, and sees the run
    active.
    """
    if run.recipe_run_id is not None and run.stage is not None:
        stopped = RecipeRun.objects.filter(pk=run.recipe_run_id, at=run.stage, state__in=["running", "stopped"])
        stopped.update(state="running", message="", ended_at=None)
