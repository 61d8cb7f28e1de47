"""Questions about assignments and groups."""

from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from annotate.models import AnnotatorGroup, Assignment, Project, Slot


def assignments_of(project: Project) -> QuerySet[Assignment]:
    """Newest first, each with ``waiting``: how many of its slots are not decided yet."""
    return project.assignments.select_related("created_by", "undone_by").annotate(waiting=_active("assignment"))


def groups_of(project: Project) -> QuerySet[AnnotatorGroup]:
    """By name, each with its members and ``waiting``: how many slots are the group's and not decided yet."""
    return project.groups.prefetch_related("memberships__user").annotate(waiting=_active("only_for_group"))


def waiting_in(project: Project) -> dict[str, int]:
    """What is not decided yet: ``total``; of it ``held`` by somebody now, and for a ``person`` or ``group`` alone."""
    waiting = Slot.objects.filter(project=project, state__in=Slot.ACTIVE)
    return waiting.aggregate(
        total=Count("pk"),
        held=Count("pk", filter=Q(state=Slot.State.LEASED)),
        person=Count("pk", filter=Q(only_for__isnull=False)),
        group=Count("pk", filter=Q(only_for_group__isnull=False)),
    )


def _active(column: str) -> Coalesce:
    found = Slot.objects.filter(**{column: OuterRef("pk")}, state__in=Slot.ACTIVE).order_by().values(column)
    return Coalesce(Subquery(found.annotate(number=Count("pk")).values("number"), output_field=IntegerField()), 0)
