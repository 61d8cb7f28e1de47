"""Who has read which version of the guideline."""

from annotate.models import GuidelineAcknowledgement, Project, User


def acknowledge_guideline(*, project: Project, user: User, version: int) -> bool:
    """The user says that they read this version; saying it twice is saying it once. False for no such version."""
    guideline = project.guidelines.filter(version=version).first()
    if guideline is None:
        return False
    GuidelineAcknowledgement.objects.get_or_create(guideline=guideline, user=user)
    return True
