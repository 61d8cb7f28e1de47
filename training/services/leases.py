"""The fenced lease on a job row: who works on it now, proven by a token that only rises.

Whoever claims a job gets a token that nobody had before. Renewing, finishing and publishing are UPDATEs filtered by
that token, so a worker that was presumed dead and comes back changes nothing. ``Now()`` is the database's clock; on
SQLite that is the host's, where a jump costs an extra attempt and never a second publication (docs/adr/0004).
"""

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from training.models import Job
from training.states import JOB_TERMINAL


class LeaseLostError(Exception):
    """Someone else holds the job now, or it has ended: stop, and discard what was made."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one job, as long as the row still carries ``token``."""

    job_id: uuid.UUID
    token: int
    owner: str
    # Which try this is, from 1. A lease that was given back does not count.
    attempt: int


def new_owner() -> str:
    """A name for this process that no other has had: host, process id, and a random part for reused ids."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def claimable() -> Q:
    """Queued, or running under a lease that has run out."""
    return Q(state=Job.State.QUEUED) | Q(state=Job.State.RUNNING, lease_until__lt=Now())


def in_line() -> list[uuid.UUID]:
    """The jobs that wait, the oldest first whichever project's: nobody's sampling can keep another's run waiting."""
    spent = Q(attempt__gte=settings.JOB_MAX_ATTEMPTS)
    waiting = Job.objects.filter(claimable()).exclude(spent).order_by("created_at", "pk")
    return list(waiting.values_list("pk", flat=True)[:20])


def claim(*, job_id: uuid.UUID | str, owner: str) -> Lease | None:
    """The lease on the job, or None: it is gone, has ended, is held by someone else, or has used up its attempts."""
    seen = Job.objects.filter(pk=job_id).values_list("token", "attempt").first()
    if seen is None or seen[1] >= settings.JOB_MAX_ATTEMPTS:
        return None
    token, attempt = seen
    won = (
        Job.objects.filter(pk=job_id, token=token)
        .filter(claimable())
        .update(
            state=Job.State.RUNNING,
            owner=owner,
            token=F("token") + 1,
            attempt=F("attempt") + 1,
            lease_until=Now() + timedelta(seconds=settings.JOB_LEASE_SECONDS),
            started_at=Coalesce(F("started_at"), Now()),
        )
    )
    return Lease(uuid.UUID(str(job_id)), token + 1, owner, attempt + 1) if won else None


def held(lease: Lease) -> QuerySet[Job]:
    """The job's row while the lease is still ours, else nothing. Every UPDATE under a lease starts here."""
    return Job.objects.filter(pk=lease.job_id, token=lease.token, state=Job.State.RUNNING)


def renew(lease: Lease) -> bool:
    """Moves the end of the lease on. False: it is lost, also where it had run out and nobody noticed yet but us."""
    until = Now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)
    return held(lease).update(lease_until=until) == 1


def finish(lease: Lease, *, state: str, error: str = "") -> None:
    """Ends the job. Raises ``LeaseLostError`` when it is not ours to end.

    Publishing is this UPDATE and what it publishes in one transaction: the row lock that it takes makes a thief wait
    until the job is done, and then there is nothing left to claim.
    """
    if state not in JOB_TERMINAL:
        raise ValueError(f"a job cannot end as {state!r}")
    if held(lease).update(state=state, error=error, lease_until=None, ended_at=Now()) != 1:
        raise LeaseLostError(f"job {lease.job_id} is no longer held with token {lease.token}")


def release(lease: Lease, *, counts: bool) -> bool:
    """Puts the job back in the queue for whoever comes next. False when the lease was lost anyway.

    ``counts=False`` is for a worker that was asked to stop: nobody's fault, so the attempt is not held against the job.
    """
    attempt = F("attempt") if counts else F("attempt") - 1
    return held(lease).update(state=Job.State.QUEUED, owner="", lease_until=None, rung_at=None, attempt=attempt) == 1
