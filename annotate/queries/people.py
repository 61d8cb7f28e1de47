"""Questions about the people of a project."""

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotate.models import COUNTS, Invite, Judgment, Membership, Project, Ranking, Rating


def members_of(project: Project) -> QuerySet[Membership]:
    """The members with ``judgments``, ``ratings`` and ``rankings``: how many they made that still count."""
    return (
        project.memberships.select_related("user", "paused_by")
        .annotate(
            judgments=_made_by_member(Judgment), ratings=_made_by_member(Rating), rankings=_made_by_member(Ranking)
        )
        .order_by("user__username")
    )


def open_invites(project: Project) -> list[Invite]:
    """Invites that can still be used, soonest to expire first."""
    return list(
        project.invites.select_related("created_by")
        .filter(used_at__isnull=True, revoked_at__isnull=True, expires_at__gt=timezone.now())
        .order_by("expires_at")
    )


def _made_by_member(model: type[Judgment] | type[Rating] | type[Ranking]) -> Coalesce:
    # A subquery each: joining both tables would multiply one count by the other.
    made = (
        model._default_manager.filter(COUNTS, project=OuterRef("project"), annotator=OuterRef("user"))
        .order_by()
        .values("annotator")
        .annotate(number=Count("pk"))
    )
    return Coalesce(Subquery(made.values("number")), 0)
