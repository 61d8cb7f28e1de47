"""The site's administrator sees accounts and the audit log here; everything else has its own page."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from annotate.models import AuditEntry, User

admin.site.register(User, UserAdmin)
# What people may do follows from their memberships; groups would do nothing.
admin.site.unregister(Group)


@admin.register(AuditEntry)
class AuditAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Generic in the stubs only.
    list_display = ("created_at", "project", "actor", "verb", "subject")
    list_filter = ("verb", "project")
    list_select_related = ("project", "actor")
    date_hierarchy = "created_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
