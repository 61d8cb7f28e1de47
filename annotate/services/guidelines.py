"""Who has read which version of the guideline."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotate.models import Guideline, GuidelineAcknowledgement, Project, Slot, User


def acknowledge_guideline(*, project: Project, user: User, version: int) -> bool:
    """The user says that they read this version; saying it twice is saying it once. False for no such version.

    What they hold is shown anew after it, and so judged under this version.
    """
    guideline = project.guidelines.filter(version=version).first()
    if guideline is None:
        return False
    with transaction.atomic():
        _, first = GuidelineAcknowledgement.objects.get_or_create(guideline=guideline, user=user)
        if first:
            held = Slot.objects.filter(project=project, annotator=user, state=Slot.State.LEASED)
            held.update(shown_at=timezone.now())
    return True


def guideline_read(*, project: Project, user_id: int, now: datetime) -> Guideline | None:
    """The newest version that the user has read or written, or the newest one where the project does not ask."""
    versions = project.guidelines.filter(created_at__lte=now)
    if project.acknowledge_guideline:
        versions = versions.filter(Q(created_by=user_id) | Q(acknowledgements__user=user_id))
    return versions.first()
