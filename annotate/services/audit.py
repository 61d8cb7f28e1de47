"""The audit log: who did what, when. Each entry is written in the transaction of its deed: both, or neither."""

from typing import Any

from annotate.models import AuditEntry, Project, User


def record_deed(
    *, project: Project | None, actor: User | None, verb: str, subject: str = "", **detail: Any
) -> AuditEntry:
    """Adds one entry: a verb such as ``prompts.imported``, what it was done to, and JSON values that a reader needs.

    ``actor`` is None for what the loop or the command line did by itself.
    """
    return AuditEntry.objects.create(project=project, actor=actor, verb=verb, subject=subject[:120], detail=detail)
