"""Who may see what: a function returns the object or raises, so that a view cannot forget to ask.

A project that one is not a member of does not exist (404); a page above one's role is forbidden (403).
"""

from typing import cast

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.utils.translation import gettext_lazy as _

from annotate.models import Membership, Role, User

_FOR = {
    Role.OWNER: _("This page is for the project's owners."),
    Role.LEAD: _("This page is for the project's leads."),
}
# Each role may do what the ones after it may.
_RANK = {Role.OWNER: 0, Role.LEAD: 1, Role.ANNOTATOR: 2}


def may(membership: Membership, role: Role) -> bool:
    """May this member do what ``role`` may?"""
    return _RANK[Role(membership.role)] <= _RANK[role]


def membership_for(user: User | AnonymousUser, project_id: int, *, role: Role = Role.ANNOTATOR) -> Membership:
    """The user's membership of the project, with ``.project`` and ``.user`` at hand.

    Raises ``Http404`` for a stranger and ``PermissionDenied`` for a member whose role is below ``role``.
    """
    membership = (
        # Unordered: there is at most one, and the order of members would join the accounts.
        Membership.objects.select_related("project").filter(project_id=project_id, user_id=user.pk).order_by().first()
        if user.is_authenticated
        else None
    )
    if membership is None:
        raise Http404("There is no such project, or you are not a member of it.")
    if not may(membership, role):
        raise PermissionDenied(_FOR[role])
    membership.user = cast(User, user)
    return membership


def site_owner(user: User | AnonymousUser) -> User:
    """The user, who owns the site: its accounts and its own log are theirs. Raises ``PermissionDenied`` for others."""
    if not (isinstance(user, User) and user.is_active and user.is_superuser):
        raise PermissionDenied("This page is for the site's owners.")
    return user


class SignedInRequest(HttpRequest):
    """What a view behind ``login_required`` gets: its user is one of ours."""

    user: User
