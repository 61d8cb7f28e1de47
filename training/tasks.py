"""Celery's doors. A task fetches by id, calls one service, returns; the tables know everything else."""

import logging
import time

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings

from training import launcher
from training.services import doorbell
from training.services.advance import advance, advance_all
from training.services.jobs import work_on_next
from training.services.leases import new_owner
from training.services.ticks import take_slot

logger = logging.getLogger(__name__)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery ships no types.
def _stop_the_engine(**_: object) -> None:
    """Heard inside the worker's signal handler, while a task runs: the solo pool has no children to tell."""
    launcher.stop_soon()


@shared_task(name=doorbell.RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    """Works on the job that has waited longest, then on what follows from it.

    A worker that was asked to stop takes nothing more: the bell it heard is lost, and the tick rings again.
    """
    if launcher.stopping_soon():
        return
    project_id = work_on_next(rung_for=job_id, owner=new_owner())
    if project_id is not None and not launcher.stopping_soon():
        advance(project_id=project_id)
        doorbell.ring_next()


@shared_task(name="training.tasks.tick")  # type: ignore[untyped-decorator]
def tick() -> None:
    """Looks at every project and does what is due. Two beats ring twice; the slot lets one of them in."""
    if take_slot(name="tick", slot=int(time.time() // settings.TICK_SECONDS)):
        doorbell.ring_due()
        advance_all()
