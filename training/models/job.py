"""The leased jobs behind runs, samplings and trials, and the proof that a periodic thing was done."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models import Project
from annotate.models.said import SaidField
from training.models.policy import Policy
from training.models.run import Run


class Job(models.Model):
    """A piece of engine work with a fenced lease. The row is the truth; the broker's message carries its id only.

    Every UPDATE that renews, finishes or publishes is filtered by the token, so that whoever lost the lease changes
    nothing (docs/adr/0004).
    """

    class Kind(models.TextChoices):
        SAMPLE = "sample", _("Sample answers")
        TRAIN = "train", _("Train")
        SCORE = "score", _("Score")
        TRIAL = "trial", _("Let two policies answer")
        MERGE = "merge", _("Merge an adapter into its base")
        PUSH = "push", _("Push to the Hub")

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    kind = models.CharField(max_length=10, choices=Kind)
    # The frozen plan: the engine's spec, and the ids of its rows where they are not the run's snapshot.
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    owner = models.CharField(max_length=120, blank=True)
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    rung_at = models.DateTimeField(null=True, blank=True)
    error = SaidField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["created_at"]
        indexes: ClassVar = [
            models.Index(fields=["state", "lease_until"], condition=Q(state__in=["queued", "running"]), name="job_due"),
        ]
        constraints: ClassVar = [
            # Two ticks at once may both decide to sample; one of them finds the job there.
            models.UniqueConstraint(
                fields=["project", "kind"],
                condition=Q(state__in=["queued", "running"], kind__in=["sample", "train", "score"]),
                name="job_active_once",
            ),
            # Two presses on the same button.
            models.UniqueConstraint(
                fields=["policy", "kind"],
                condition=Q(state__in=["queued", "running"], kind__in=["merge", "push"]),
                name="job_active_once_for_policy",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} job {self.pk}"


class TickSlot(models.Model):
    """Proof that a periodic thing was done in its slot of time: two beats insert the same row and one of them loses."""

    name = models.CharField(max_length=40)
    slot = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["name", "slot"], name="tick_slot_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.slot}"
