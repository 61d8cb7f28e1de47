"""The trainer's tables for the site's staff: to look at, and never to edit by hand what the loop decides by."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from training.models import Job, Loop, Policy, Recipe, RecipeRun, Round, Run, RunEvent, Snapshot


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # django-stubs' ModelAdmin is generic, Django's is not.
    """Rows that services write and people read."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Loop)
class LoopAdmin(ReadOnly):
    list_display = ("project", "base_model", "decision", "reason", "decided_at", "paused_at")


@admin.register(Round)
class RoundAdmin(ReadOnly):
    list_display = ("project", "number", "policy", "opened_at", "closed_at")
    list_select_related = ("project", "policy")


@admin.register(Policy)
class PolicyAdmin(ReadOnly):
    list_display = ("project", "number", "parent", "run", "manifest_sha256", "created_at")
    list_select_related = ("project", "parent", "run")


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnly):
    list_display = ("id", "project", "aggregation", "selection", "sha256", "created_at")
    list_select_related = ("project",)


@admin.register(Run)
class RunAdmin(ReadOnly):
    list_display = ("project", "number", "method", "state", "step", "total_steps", "code", "created_at")
    list_filter = ("state", "method")
    list_select_related = ("project",)


@admin.register(Recipe)
class RecipeAdmin(ReadOnly):
    list_display = ("project", "name", "version", "archived_at", "created_at")
    list_select_related = ("project",)


@admin.register(RecipeRun)
class RecipeRunAdmin(ReadOnly):
    list_display = ("project", "number", "name", "at", "state", "message", "created_at")
    list_filter = ("state",)
    list_select_related = ("project",)


@admin.register(RunEvent)
class RunEventAdmin(ReadOnly):
    list_display = ("run", "kind", "step", "at")
    list_filter = ("kind",)
    list_select_related = ("run",)


@admin.register(Job)
class JobAdmin(ReadOnly):
    list_display = ("id", "kind", "project", "state", "owner", "token", "attempt", "lease_until", "created_at")
    list_filter = ("state", "kind")
    list_select_related = ("project",)
