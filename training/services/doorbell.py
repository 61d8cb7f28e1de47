"""The doorbell: a broker message that carries a job's id, and whatever else it takes that somebody hears it.

A message may be lost, repeated or late; the row is the truth. So a broker that is down never turns a saved judgment
or a press on Start into an error: the tick's reconciler rings again.
"""

import logging
from datetime import timedelta
from functools import partial
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from training.models import Job
from training.services.leases import claimable

logger = logging.getLogger(__name__)

RUN_JOB = "training.tasks.run_job"
# The reconciler rings again after this long, then ever more rarely: a worker that is busy for hours must not come back
# to thousands of messages. It looks for queued jobs itself whenever it has finished one.
FIRST_REPEAT = timedelta(seconds=15)
LAST_REPEAT = timedelta(minutes=5)


def ring(job_id: UUID) -> bool:
    """Sends the message. False, with a line in the log, when the broker cannot be reached or is full."""
    try:
        current_app.send_task(RUN_JOB, args=[str(job_id)], retry=False, ignore_result=True)
    except (KombuError, RedisError, OSError) as error:
        logger.warning("The broker did not take the bell for job %s (%s); the tick rings again.", job_id, error)
        return False
    return True


def ring_after_commit(job_id: UUID) -> None:
    """Rings once the current transaction is committed, so that a worker finds the row."""
    transaction.on_commit(partial(ring, job_id), robust=True)


def ring_due() -> int:
    """The reconciler: rings for queued jobs that were not rung lately and for leases that ran out. Returns how many.

    Two reconcilers at once are harmless: ``rung_at`` moves by a filtered UPDATE, and a bell too many changes nothing.
    """
    now = timezone.now()
    # A lease that is over within seconds wants to be noticed within seconds.
    first = min(FIRST_REPEAT, timedelta(seconds=settings.JOB_LEASE_SECONDS / 2))
    rung = 0
    due = Job.objects.filter(claimable()).filter(Q(rung_at__isnull=True) | Q(rung_at__lt=now - first))
    for job in due.order_by("created_at")[:100]:
        age = now - (job.lease_until or job.created_at)
        pause = min(max(first, age / 4), LAST_REPEAT)
        if job.rung_at is not None and now - job.rung_at < pause:
            continue
        # The host's clock, not Now(): SQLite writes that with fewer digits than it is compared with, so the next filter
        # by this value would find nothing.
        if Job.objects.filter(pk=job.pk, rung_at=job.rung_at).update(rung_at=now) and ring(job.pk):
            rung += 1
    return rung


def ring_next() -> None:
    """A worker that has just finished looks for the oldest queued job, so that nothing waits for the reconciler."""
    waiting = Job.objects.filter(state=Job.State.QUEUED).order_by(F("created_at")).first()
    if waiting is not None:
        ring(waiting.pk)
