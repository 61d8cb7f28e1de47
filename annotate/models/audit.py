"""Who did what, when. Append-only."""

from typing import ClassVar

from django.db import models

from annotate.models.people import Project, User


class AuditEntry(models.Model):
    """One deed: a verb from the code (``prompts.imported``), what it was done to, and what a reader needs to know."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True, related_name="audit_entries")
    # Null when the loop did it by itself.
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    verb = models.CharField(max_length=60)
    subject = models.CharField(max_length=120, blank=True)
    detail = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "audit entries"
        indexes: ClassVar = [models.Index(fields=["project", "-id"], name="audit_by_project")]

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}".strip()
