"""Runs, and what happened in them. The states and their moves are described in ``training.states``."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models import Project, User
from annotate.models.said import SaidField
from annotate.telling import told
from training.engine.methods import METHODS
from training.models.loop import Round
from training.models.method import Reference, method_choices
from training.models.policy import Policy, RewardModel
from training.models.recipe import RecipeRun
from training.models.snapshot import Snapshot


class Run(models.Model):
    """One training job: method, settings, snapshot, events, result. Its state moves as ``training.states`` draws."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        TRAINING = "training", _("Training")
        SCORING = "scoring", _("Scoring")
        FINISHED = "finished", _("Finished")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    round = models.ForeignKey(Round, on_delete=models.PROTECT, related_name="runs")
    number = models.PositiveIntegerField()
    snapshot = models.OneToOneField(Snapshot, on_delete=models.PROTECT, related_name="run")
    method = models.CharField(max_length=20, choices=method_choices)
    # The engine's whole TrainSpec, frozen when the run opens.
    spec = models.JSONField()
    reference = models.CharField(max_length=10, choices=Reference, default=Reference.BASE)
    parent = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    # The recipe that it is a stage of, and which; a stage that did not end well may have several runs.
    recipe_run = models.ForeignKey(RecipeRun, on_delete=models.PROTECT, null=True, blank=True, related_name="runs")
    stage = models.PositiveSmallIntegerField(null=True, blank=True)
    # What gives its answers their rewards, where the method wants that.
    reward_model = models.ForeignKey(
        RewardModel, on_delete=models.PROTECT, null=True, blank=True, related_name="used_by"
    )
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    # A wish, not a state: the launcher polls it.
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    # Another: end early and publish what has been learnt. A cancel comes before it.
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    # The newest metrics, and once it has ended the engine's result.
    latest = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    code = models.CharField(max_length=40, blank=True)
    message = SaidField(blank=True)
    # Why it started: "Lea pressed Start", "50 new judgments".
    reason = SaidField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="run_number_once"),
            # One run at a time in a project: the next round samples from its result.
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=["queued", "training", "scoring"]), name="run_active_once"
            ),
            models.CheckConstraint(
                condition=Q(recipe_run__isnull=True, stage__isnull=True)
                | Q(recipe_run__isnull=False, stage__isnull=False),
                name="run_of_a_recipe_names_its_stage",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.number}"

    @property
    def held_close_to(self) -> str:
        """The reference in words; empty where the method has none."""
        method = METHODS.get(self.method)
        return "" if method is not None and not method.has_reference else self.get_reference_display()

    @property
    def method_title(self) -> str:
        """The method as people write it."""
        return told(METHODS[self.method].title) if self.method in METHODS else self.method.upper()


class RunEvent(models.Model):
    """One thing that happened in a run: a move (from, to, why), a metric, a warning, a checkpoint."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20)
    step = models.PositiveIntegerField(null=True, blank=True)
    data = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["run", "kind", "id"], name="run_event_by_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of run {self.run_id}"
