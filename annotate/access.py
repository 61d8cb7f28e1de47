"""Who may see what: a function returns the object or raises, so that a view cannot forget to ask.

A project that one is not a member of does not exist (404); a page above one's role is forbidden (403).
"""

from collections.abc import Mapping
from typing import Any, cast

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _

from annotate.models import Membership, Role, User
from annotate.queries.judging import Seat, seat_of, seat_of_session
from annotate.sessions import SessionStore

# The one of Django's own that asks nothing but whether the account is active.
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"

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


def seat_for(request: HttpRequest, project_id: int, kind: str, *, slot_id: int | None = None) -> Seat | None:
    """The seat of who is signed in at the judging pages of this kind; None when nobody is. Sets ``request.user``.

    Raises ``Http404`` for a stranger. Where nothing is out of the ordinary, session and account are checked as
    ``django.contrib.auth.get_user`` does, but on the one statement that reads the seat.
    """
    session = cast(SessionStore, request.session)
    if session.session_key and not session.is_read:
        seat = seat_of_session(session_key=session.session_key, project_id=project_id, kind=kind, slot_id=slot_id)
        if seat is not None and _is_of(seat, session.read_from(seat.session or "")):
            request.user = seat.membership.user
            return seat
    # A stranger, a session that was ended, a key that was changed since: Django says who it is.
    if not isinstance(request.user, User):
        return None
    return seat_of(membership_for(request.user, project_id), kind, slot_id=slot_id)


def _is_of(seat: Seat, session: Mapping[str, Any]) -> bool:
    user = seat.membership.user
    return (
        user.is_active
        and session.get(SESSION_KEY) == str(user.pk)
        and session.get(BACKEND_SESSION_KEY) == MODEL_BACKEND
        and constant_time_compare(session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    )


def site_owner(user: User | AnonymousUser) -> User:
    """The user, who owns the site: its accounts and its own log are theirs. Raises ``PermissionDenied`` for others."""
    if not (isinstance(user, User) and user.is_active and user.is_superuser):
        raise PermissionDenied("This page is for the site's owners.")
    return user


class SignedInRequest(HttpRequest):
    """What a view behind ``login_required`` gets: its user is one of ours."""

    user: User
