"""A run that was cancelled or failed goes on: the same snapshot, the same plan, from its last checkpoint."""

from django.db import IntegrityError, transaction

from annotate.models import User
from annotate.said import Said
from annotate.services.audit import record_deed
from training.models import Job, RecipeRun, Run
from training.queries.runs import why_not_resumable
from training.services.doorbell import ring_after_commit
from training.services.runs import AlreadyRunningError, CannotStartError, active_run, move


def resume_run(*, run: Run, actor: User) -> None:
    """Queues the run again; rings after the commit. Raises ``CannotStartError``, or ``AlreadyRunningError``.

    Its job is the same, so the next attempt finds the checkpoints of the last. On CPU the result is that of a run
    that nobody interrupted, bit for bit. Without a checkpoint it begins again.
    """
    if (problem := why_not_resumable(run)) is not None:
        raise CannotStartError(problem)
    cleared = {"cancel_requested_at": None, "stop_requested_at": None, "ended_at": None, "code": "", "message": ""}
    try:
        with transaction.atomic():
            _take_up_recipe(run)
            if not move(run, to="queued", why=Said("%(who)s resumed it", who=str(actor)), result={}, **cleared):
                raise CannotStartError(Said("Somebody else resumed it first."))
            job = Job.objects.get(run=run, kind=Job.Kind.TRAIN)
            Job.objects.filter(pk=job.pk, state__in=[Job.State.CANCELLED, Job.State.FAILED]).update(
                state=Job.State.QUEUED, attempt=0, owner="", lease_until=None, rung_at=None, ended_at=None, error=""
            )
            record_deed(project=run.project, actor=actor, verb="run.resumed", subject=f"run {run.number}")
            ring_after_commit(job.pk)
    except IntegrityError as error:
        # Another run of the project, or another training job of it, is under way.
        if (running := active_run(run.project_id)) is not None:
            raise AlreadyRunningError(running) from error
        raise


def _take_up_recipe(run: Run) -> None:
    """The recipe that stopped with this run goes on with it.

    It touches the row also where it has not stopped yet, so that whoever is about to stop it waits, and sees the run
    active.
    """
    if run.recipe_run_id is not None and run.stage is not None:
        stopped = RecipeRun.objects.filter(pk=run.recipe_run_id, at=run.stage, state__in=["running", "stopped"])
        stopped.update(state="running", message="", ended_at=None)
