"""The site's administrator sees accounts and the audit log here; everything else has its own page."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from annotate.deeds import meaning
from annotate.models import AuditEntry, User
from annotate.services.audit import record_deed


@admin.register(User)
class AccountAdmin(UserAdmin):  # type: ignore[type-arg]  # Generic in the stubs only.
    """What is done here is in the audit log. Accounts are closed, and given addresses, on a page of ours."""

    readonly_fields = ("is_active", "email", "last_login", "date_joined")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """The last owner of the site stays one."""
        open_owners = User.objects.filter(is_superuser=True, is_active=True).values_list("pk", flat=True)[:2]
        alone = obj is not None and list(open_owners) == [obj.pk]
        return (*self.readonly_fields, "is_superuser", "is_staff") if alone else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        self._record(request, obj, "account.created", message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        self._record(request, obj, "account.changed", message)
        return super().log_change(request, obj, message)

    def _record(self, request: HttpRequest, account: Model, verb: str, message: Any) -> None:
        if isinstance(account, User) and isinstance(request.user, User):
            fields = [name for change in message for part in change.values() for name in part.get("fields", [])]
            record_deed(project=None, actor=request.user, verb=verb, subject=account.username, fields=fields)


# What people may do follows from their memberships; groups would do nothing.
admin.site.unregister(Group)


@admin.register(AuditEntry)
class AuditAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Generic in the stubs only.
    list_display = ("created_at", "project", "actor", "deed", "verb", "subject")
    list_filter = ("verb", "project")
    list_select_related = ("project", "actor")
    date_hierarchy = "created_at"

    @admin.display(description=_("Meaning"))
    def deed(self, entry: AuditEntry) -> str:
        return str(meaning(entry.verb))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
