"""What management commands read alike."""

from django.core.management.base import CommandError

from annotate.models import Project


def project_of(number: int) -> Project:
    """Raises ``CommandError``."""
    project = Project.objects.filter(pk=number).first()
    if project is None:
        raise CommandError(f"There is no project {number}.")
    return project
