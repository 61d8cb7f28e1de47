"""What reviewers do: resolve reports, retract judgments and take that back."""

from datetime import datetime
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.models import (
    COUNTS,
    Judgment,
    Project,
    Prompt,
    PromptReport,
    Ranking,
    Rating,
    Retraction,
    Slot,
    User,
)
from annotate.services.audit import record_deed
from annotate.services.content import clean_text
from annotate.services.requeue import ask_again

_M = TypeVar("_M", Judgment, Rating, Ranking)


# --- Reports ----------------------------------------------------------------------------------------------------------


def report_prompt(*, project: Project, prompt: Prompt, reporter: User, reason: str, note: str = "") -> PromptReport:
    """The annotator says that the prompt is not fit to be judged. Saying it twice is saying it once."""
    if reason not in PromptReport.Reason.values:
        raise ValueError(f"{reason!r} is no reason; give one of {', '.join(PromptReport.Reason.values)}")
    try:
        with transaction.atomic():
            return PromptReport.objects.create(
                project=project, prompt=prompt, reporter=reporter, reason=reason, note=clean_text(note)[:500]
            )
    except IntegrityError:
        return PromptReport.objects.get(prompt=prompt, reporter=reporter, resolved_at__isnull=True)


@transaction.atomic
def resolve_reports(*, project: Project, prompt: Prompt, resolution: str, reviewer: User) -> int:
    """Resolves every open report of the prompt; ``withdrawn`` also takes its open slots out of the queue, and
    ``kept`` asks somebody else what was skipped beside a report.

    Returns how many reports were resolved; 0 when somebody else was first.
    """
    if resolution not in PromptReport.Resolution.values:
        raise ValueError(f"{resolution!r} is no resolution; give one of {', '.join(PromptReport.Resolution.values)}")
    resolved = PromptReport.objects.filter(project=project, prompt=prompt, resolved_at__isnull=True).update(
        resolution=resolution, resolved_by=reviewer, resolved_at=timezone.now()
    )
    if resolved and resolution == PromptReport.Resolution.WITHDRAWN:
        Slot.objects.filter(
            Q(comparison__prompt=prompt) | Q(response__prompt=prompt) | Q(lineup__prompt=prompt),
            state__in=Slot.ACTIVE,
            project=project,
        ).update(state=Slot.State.WITHDRAWN)
    elif resolved:
        ask_again(prompt)
    if resolved:
        record_deed(project=project, actor=reviewer, verb="report.resolved", subject=f"prompt {prompt.pk}",
                    resolution=resolution, reports=resolved)  # fmt: skip
    return resolved


# --- Retraction -------------------------------------------------------------------------------------------------------


class NothingToRetractError(ValueError):
    """Nothing matches, so nothing was recorded."""


@transaction.atomic
def retract(
    *,
    project: Project,
    actor: User,
    reason: str,
    annotator: User | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Retraction:
    """Takes a person's, or a period's, decisions out of all future training. Raises ``ValueError``.

    The rows stay, with what retracted them. Policies that were trained on them are found by their snapshots.
    """
    if not reason.strip():
        raise ValueError(_("Say why: the reason is kept with the retraction."))
    if annotator is None and since is None and until is None:
        raise ValueError(_("Choose a person, a period, or both."))
    # Changes of mind take the same lock: without it one that is saved at this moment would slip through.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    retraction = Retraction.objects.create(
        project=project, annotator=annotator, since=since, until=until, reason=reason.strip()[:300], created_by=actor
    )
    now = timezone.now()
    counts = {
        "judgments": _matching(Judgment.objects.all(), retraction).update(retracted_at=now, retraction=retraction),
        "ratings": _matching(Rating.objects.all(), retraction).update(retracted_at=now, retraction=retraction),
        "rankings": _matching(Ranking.objects.all(), retraction).update(retracted_at=now, retraction=retraction),
    }
    if not any(counts.values()):
        raise NothingToRetractError(_("Nobody judged anything that matches, or it is retracted already."))
    Retraction.objects.filter(pk=retraction.pk).update(**counts)
    retraction.refresh_from_db()
    record_deed(project=project, actor=actor, verb="judgments.retracted", subject=str(annotator or "a period"),
                retraction=retraction.pk, reason=retraction.reason, **counts)  # fmt: skip
    return retraction


def _matching(rows: "QuerySet[_M]", retraction: Retraction) -> "QuerySet[_M]":
    rows = rows.filter(COUNTS, project=retraction.project)
    if retraction.annotator is not None:
        rows = rows.filter(annotator=retraction.annotator)
    if retraction.since is not None:
        rows = rows.filter(created_at__gte=retraction.since)
    if retraction.until is not None:
        rows = rows.filter(created_at__lt=retraction.until)
    return rows


@transaction.atomic
def reverse_retraction(*, retraction: Retraction, actor: User) -> bool:
    """Puts back what the retraction took out. False when that was done before."""
    won = Retraction.objects.filter(pk=retraction.pk, reversed_at__isnull=True).update(
        reversed_at=timezone.now(), reversed_by=actor
    )
    if not won:
        return False
    for model in (Judgment, Rating, Ranking):
        model.objects.filter(retraction=retraction).update(retracted_at=None, retraction=None)
    record_deed(
        project=retraction.project, actor=actor, verb="retraction.reversed", subject=f"retraction {retraction.pk}"
    )
    return True
