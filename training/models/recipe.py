"""Recipes, and what became of each time that one was run."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models import Project, User
from annotate.models.said import SaidField
from training.models.policy import Policy


class Recipe(models.Model):
    """A named sequence of stages, run as one. Each run of it keeps a copy, so it may change at any time."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="recipes")
    name = models.CharField(max_length=80)
    # In order, as ``training.recipes.Stage`` writes itself.
    stages = models.JSONField(default=list, blank=True)
    # Grows with each change: a form that was opened before somebody else's change is refused.
    version = models.PositiveIntegerField(default=1)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(archived_at__isnull=True), name="recipe_name_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RecipeRun(models.Model):
    """A recipe under way, or what became of it: its stages as they were when it began; ``runs`` is what was done."""

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        STOPPED = "stopped", _("Stopped")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="recipe_runs")
    number = models.PositiveIntegerField()
    recipe = models.ForeignKey(Recipe, on_delete=models.PROTECT, related_name="runs")
    name = models.CharField(max_length=80)
    version = models.PositiveIntegerField()
    stages = models.JSONField()
    start = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    # The stage that is under way, or at which it stopped; from 1.
    at = models.PositiveSmallIntegerField(default=1)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    message = SaidField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="recipe_run_number_once"),
            models.UniqueConstraint(fields=["project"], condition=Q(state="running"), name="recipe_run_active_once"),
        ]

    def __str__(self) -> str:
        return f"recipe run {self.number}"
