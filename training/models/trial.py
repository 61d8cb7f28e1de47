"""Trials: two policies answer the same messages for a lead to look at."""

from typing import ClassVar

from django.db import models

from annotate.models import Project, Prompt, User
from training.models.job import Job
from training.models.policy import Policy


class Trial(models.Model):
    """Two policies answer the same prompts, with the same settings and seed, for a lead to look at.

    Nothing of it is judged or trained on. Its job holds the frozen spec, and says how far it is.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="trials")
    left = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    right = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="trial")
    # {"temperature", "top_p", "max_new_tokens", "seed"}: the same for both sides.
    sampling = models.JSONField()
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"trial {self.pk}"


class TrialRow(models.Model):
    """One conversation of a trial, frozen, and both answers once they are there."""

    trial = models.ForeignKey(Trial, on_delete=models.CASCADE, related_name="rows")
    place = models.PositiveSmallIntegerField()
    # The project's prompt it came from, or was turned into; none for what a lead typed.
    prompt = models.ForeignKey(Prompt, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    messages = models.JSONField()
    # {"text", "tokens", "finish_reason"}; empty until answered, and where the engine skipped it (`skipped` says why).
    left = models.JSONField(default=dict, blank=True)
    right = models.JSONField(default=dict, blank=True)
    skipped = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["place"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["trial", "place"], name="trial_row_once"),
        ]

    def __str__(self) -> str:
        return f"row {self.place} of trial {self.trial_id}"
