"""Who did what, when. Append-only: the model refuses changes, and so do triggers in the database (migration 0005)."""

from typing import Any, ClassVar, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

from annotate.models.people import Project, User


class AppendOnlyError(Exception):
    """Somebody tried to change or delete an entry of the audit log."""

    def __init__(self) -> None:
        super().__init__("The audit log is append-only: add an entry that says what is different now.")


class AuditEntries(models.QuerySet["AuditEntry"]):
    def update(self, **values: Any) -> NoReturn:
        raise AppendOnlyError

    def delete(self) -> NoReturn:
        raise AppendOnlyError


class AuditEntry(models.Model):
    """One deed: a verb from the code (``prompts.imported``), what it was done to, and what a reader needs to know."""

    # Null for what concerns the site and not one project: sign-ins, accounts.
    project = models.ForeignKey(
        Project,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="audit_entries",
        verbose_name=_("Project"),
    )
    # Null when the loop or the command line did it, and when nobody was signed in.
    actor = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("Who")
    )
    verb = models.CharField(_("What"), max_length=60)
    subject = models.CharField(_("About"), max_length=120, blank=True)
    detail = models.JSONField(_("Detail"), default=dict, blank=True)
    created_at = models.DateTimeField(_("When"), auto_now_add=True)

    objects = AuditEntries.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name = _("entry of the audit log")
        verbose_name_plural = _("Audit log")
        indexes: ClassVar = [models.Index(fields=["project", "-id"], name="audit_by_project")]

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}".strip()

    def save(self, *args: Any, **options: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> NoReturn:
        raise AppendOnlyError
