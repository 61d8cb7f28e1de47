"""How much somebody may still judge, and when the project's own limits pause them."""

from datetime import datetime
from typing import TypeVar

from django.db import transaction
from django.db.models import QuerySet

from annotate.models import COUNTS, Judgment, Membership, Project, Ranking, Rating, User
from annotate.queries import quality, ranked
from annotate.queries.projects import midnight
from annotate.said import Said
from annotate.services.audit import record_deed
from annotate.stats.intervals import Share, cautious_share, wilson

_D = TypeVar("_D", Judgment, Ranking)

# Limits look at so many of somebody's newest answers: who was careful for a year and now clicks through is noticed
# within a day, and the queries stay as cheap as on their first day.
WINDOW = 200


def quota_left(membership: Membership, now: datetime) -> int | None:
    """How many decisions the member may still make today; None when there is no quota. Never negative.

    An edited decision counts once. A retracted one counts: it was made.
    """
    if membership.daily_quota is None:
        return None
    made = sum(
        model._default_manager.filter(
            annotator=membership.user_id,
            project=membership.project_id,
            created_at__gte=midnight(now),
            superseded_at__isnull=True,
        ).count()
        for model in (Judgment, Rating, Ranking)
    )
    return max(0, membership.daily_quota - made)


def has_limits(project: Project) -> bool:
    """May a judgment pause whoever made it?"""
    return project.pause_below_gold_percent is not None or project.pause_above_fast_percent is not None


def apply_limits(*, project: Project, annotator: User, now: datetime) -> Membership | None:
    """Pauses the annotator when what they judged is beyond a limit of the project; call it after a judgment.

    Judged means what the project asks now: rankings, or pairs. Returns the membership as paused, or None when nothing
    changed. It takes ``project.pause_after`` gold questions (timed judgments for the other limit) since they were last
    resumed, and a 95% Wilson interval that lies wholly on the wrong side: nobody is paused for bad luck with a few.
    Without limits it asks the database nothing, with both it asks three times.
    """
    if not has_limits(project):
        return None
    membership = Membership.objects.filter(project=project, user=annotator, paused_at__isnull=True).first()
    if membership is None:
        return None
    reason = _beyond_gold(project, membership) or _beyond_fast(project, membership)
    return _pause(membership, annotator, reason, now=now) if reason else None


def _beyond_gold(project: Project, membership: Membership) -> str:
    limit = project.pause_below_gold_percent
    if limit is None:
        return ""
    if project.asks_rankings:
        answers = ranked.gold_answers(_since_resumed(Ranking, membership), most=WINDOW)
    else:
        answers = quality.gold_answers(_since_resumed(Judgment, membership), most=WINDOW)
    share = cautious_share(counts for _who, counts in answers)
    if len(answers) < project.pause_after or share.high is None or 100 * share.high >= limit:
        return ""
    if project.asks_rankings:
        return Said(
            "%(hits)s of %(n)s known orders right in %(questions)s gold questions (%(low)s–%(high)s%%); "
            "the limit is %(limit)s%%.",
            questions=len(answers),
            **_figures(share, limit),
        )
    return Said(
        "%(hits)s of %(n)s gold questions right (%(low)s–%(high)s%%); the limit is %(limit)s%%.",
        **_figures(share, limit),
    )


def _beyond_fast(project: Project, membership: Membership) -> str:
    limit = project.pause_above_fast_percent
    if limit is None:
        return ""
    made = _since_resumed(Ranking, membership) if project.asks_rankings else _since_resumed(Judgment, membership)
    timed = made.filter(active_ms__isnull=False).values_list("active_ms", flat=True)[:WINDOW]
    fast = [ms < 1000 * project.fast_seconds for ms in timed if ms is not None]
    share = wilson(sum(fast), len(fast))
    if share.n < project.pause_after or share.low is None or 100 * share.low <= limit:
        return ""
    return Said(
        "%(hits)s of %(n)s judgments took under %(seconds)s seconds (%(low)s–%(high)s%%); the limit is %(limit)s%%.",
        seconds=float(project.fast_seconds),
        **_figures(share, limit),
    )


def _since_resumed(model: type[_D], membership: Membership) -> QuerySet[_D]:
    """The member's decisions that count, newest first; a skip says nothing about care."""
    made = model._default_manager.filter(
        COUNTS, annotator=membership.user_id, project=membership.project_id, skip_reason=""
    )
    if membership.resumed_at is not None:
        made = made.filter(created_at__gt=membership.resumed_at)
    return made.order_by("-created_at")


def _figures(share: Share, limit: int) -> dict[str, int]:
    low, high = (100 * (bound or 0) for bound in (share.low, share.high))
    return {"hits": share.hits, "n": share.n, "low": round(low), "high": round(high), "limit": limit}


@transaction.atomic
def _pause(membership: Membership, annotator: User, reason: str, *, now: datetime) -> Membership | None:
    paused = Membership.objects.filter(pk=membership.pk, paused_at__isnull=True)
    if paused.update(paused_at=now, paused_reason=reason, paused_by=None) != 1:
        return None
    record_deed(project=membership.project, actor=None, verb="member.paused", subject=annotator.username, reason=reason)
    membership.paused_at, membership.paused_reason = now, reason
    return membership
