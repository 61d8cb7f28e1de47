"""What the pages of a trial show."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from annotate.models import Project
from annotate.said import Said
from training.models import Job, Policy, Run, Trial, TrialRow
from training.queries.runs import settings_shown

# A worker that is there hears the bell at once. After this long there is probably none.
PATIENCE = timedelta(seconds=20)


def trials_of(project: Project) -> QuerySet[Trial]:
    """The project's trials, newest first, with all that a list shows."""
    return project.trials.select_related("left", "right", "job", "created_by").order_by("-pk")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: ``active`` while something may still come, ``said`` in a sentence, ``alarm`` when somebody
    should look after the worker, ``seen`` a mark that changes with all of it."""

    active: bool
    failed: bool
    alarm: bool
    said: str

    @property
    def seen(self) -> str:
        return hashlib.sha256(json.dumps([self.active, self.failed, self.said]).encode()).hexdigest()[:16]


def progress_of(job: Job, *, now: datetime | None = None) -> Progress:
    """A job's state in words, and whether a worker is there at all."""
    now = now or timezone.now()
    if job.state == Job.State.DONE:
        return Progress(active=False, failed=False, alarm=False, said="")
    if job.state in (Job.State.FAILED, Job.State.CANCELLED):
        error = job.error or Said("It was cancelled.")
        return Progress(active=False, failed=True, alarm=True, said=error)
    if job.state == Job.State.RUNNING and job.lease_until is not None and job.lease_until > now:
        return Progress(active=True, failed=False, alarm=False, said=Said("A worker is at it."))
    busy = Job.objects.filter(state=Job.State.RUNNING, lease_until__gt=now).exclude(pk=job.pk).exists()
    if busy:
        said = Said("The worker is busy with another job; this one waits for it.")
        return Progress(active=True, failed=False, alarm=False, said=said)
    if job.state == Job.State.QUEUED and now - job.created_at < PATIENCE:
        return Progress(active=True, failed=False, alarm=False, said=Said("Waiting for a worker."))
    said = Said(
        "No worker answers. It goes on by itself as soon as one runs: `make up` starts one, and so does Celery."
    )
    return Progress(active=True, failed=False, alarm=True, said=said)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of two runs; “–” where one of them does not have it, or leaves it open."""

    name: str
    left: Any
    right: Any


def settings_of(left: Run | None, right: Run | None) -> tuple[list[Setting], list[Setting]]:
    """(what differs, what is the same) of the two runs' frozen settings; method and reference among them."""
    sides = [_settings(left), _settings(right)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    rows = [Setting(name, sides[0].get(name, "–"), sides[1].get(name, "–")) for name in names]
    return [row for row in rows if row.left != row.right], [row for row in rows if row.left == row.right]


def _settings(run: Run | None) -> Mapping[str, Any]:
    if run is None:
        return {}
    return {"method": run.method, "reference": run.reference if run.held_close_to else "–"} | {
        name: "–" if value in (None, "") else value for name, value in settings_shown(run)
    }


def row_of(project: Project, pk: int) -> TrialRow | None:
    """A row of one of the project's trials."""
    return TrialRow.objects.filter(pk=pk, trial__project=project).select_related("trial__project").first()


def two_newest(project: Project) -> tuple[Policy | None, Policy | None]:
    """What a comparison begins with: the newest policy's parent, and the newest policy itself."""
    newest = project.policies.select_related("parent").order_by("-number").first()
    if newest is None:
        return None, None
    return newest.parent or newest, newest
