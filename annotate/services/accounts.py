"""What is done to accounts: closing and opening them again, ending sessions, a name.

Accounts are never deleted: their judgments stay, and so does who made them.
"""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.models import Invite, Membership, Project, Role, Slot, User
from annotate.services.assignments import release_assigned
from annotate.services.audit import record_deed
from annotate.services.people import NotAllowedError


@transaction.atomic
def deactivate_account(*, user: User, by: User | None, reason: str = "") -> bool:
    """Closes the account: every session ends at its next request, what they hold or were assigned is everybody's.

    Open invites that they made are revoked. Their judgments, memberships and second factors stay. ``by`` is an owner of
    the site, or None for the command line. False when the account was closed before. Raises ``NotAllowedError`` for the
    site's last owner, and for the last owner of a project.
    """
    _only_owners_of_the_site(by)
    _keep_owners(user)
    closed = User.objects.filter(pk=user.pk, is_active=True).update(
        is_active=False, session_epoch=F("session_epoch") + 1
    )
    if closed != 1:
        return False
    held = Slot.objects.filter(annotator=user, state=Slot.State.LEASED)
    released = held.update(state=Slot.State.OPEN, annotator=None, lease_until=None, shown_at=None)
    for project in Project.objects.filter(memberships__user=user):
        release_assigned(project=project, user=user)
    invites = Invite.objects.filter(created_by=user, used_at__isnull=True, revoked_at__isnull=True)
    revoked = invites.update(revoked_at=timezone.now())
    record_deed(
        project=None, actor=by, verb="account.deactivated", subject=user.username,
        reason=reason, leases_released=released, invites_revoked=revoked,
    )  # fmt: skip
    return True


@transaction.atomic
def reactivate_account(*, user: User, by: User | None) -> bool:
    """Opens a closed account again, as what it was in each project. Sessions from before stay ended."""
    _only_owners_of_the_site(by)
    opened = User.objects.filter(pk=user.pk, is_active=False).update(is_active=True)
    if opened:
        record_deed(project=None, actor=by, verb="account.reactivated", subject=user.username)
    return opened == 1


@transaction.atomic
def end_sessions(*, user: User, by: User | None) -> None:
    """Signs the person out everywhere, at each session's next request. Everybody may do it to themselves.

    ``user`` is as it is in the database after.
    """
    if by != user:
        _only_owners_of_the_site(by)
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    user.refresh_from_db()
    record_deed(project=None, actor=by, verb="account.sessions_ended", subject=user.username)


@transaction.atomic
def rename(*, user: User, first_name: str, last_name: str) -> None:
    """The name that others see. The user name, which one signs in with, stays."""
    if (user.first_name, user.last_name) == (first_name, last_name):
        return
    before = str(user)
    user.first_name, user.last_name = first_name, last_name
    user.save(update_fields=["first_name", "last_name"])
    record_deed(project=None, actor=user, verb="account.renamed", subject=user.username, before=before, after=str(user))


@transaction.atomic
def change_address(*, user: User, address: str, by: User | None) -> None:
    """The e-mail address by which a sign-in provider may recognise the person; empty: none.

    An owner of the site vouches for it, nobody for their own: it counts as verified. Raises ``NotAllowedError`` when
    somebody else has it.
    """
    _only_owners_of_the_site(by)
    address = address.strip().lower()
    if address == user.email:
        return
    if address and EmailAddress.objects.filter(email__iexact=address).exclude(user=user).exists():
        raise NotAllowedError(_("Another account has this address."))
    EmailAddress.objects.filter(user=user).delete()
    if address:
        EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
    user.email = address
    user.save(update_fields=["email"])
    record_deed(project=None, actor=by, verb="account.address_changed", subject=user.username, has_one=bool(address))


@transaction.atomic
def remove_factors(*, user: User, by: User | None) -> int:
    """Takes away the person's second factors, for whoever lost their phone and the recovery codes; how many it were."""
    _only_owners_of_the_site(by)
    removed: int = Authenticator.objects.filter(user=user).delete()[0]
    if removed:
        record_deed(project=None, actor=by, verb="account.mfa_removed", subject=user.username, kind="all")
    return removed


def _only_owners_of_the_site(by: User | None) -> None:
    if by is not None and not (by.is_superuser and by.is_active):
        raise NotAllowedError(_("Only an owner of the site can do that."))


def _keep_owners(user: User) -> None:
    # Locked, as in services.people: two owners who close each other's accounts must not both find the other one open.
    open_owners = User.objects.select_for_update().filter(is_superuser=True, is_active=True).order_by("pk")
    if [owner.pk for owner in open_owners] == [user.pk]:
        raise NotAllowedError(_("The site needs an owner: the last one's account stays open."))
    owned = Membership.objects.filter(user=user, role=Role.OWNER).values("project")
    owners = (
        Membership.objects.select_for_update(of=("self", "user"))
        .select_related("project", "user")
        .filter(project__in=owned, role=Role.OWNER, user__is_active=True)
        .order_by("pk")
    )
    by_project: dict[str, list[int]] = {}
    for owner in owners:
        by_project.setdefault(str(owner.project), []).append(owner.user_id)
    left_alone = [name for name, people in by_project.items() if people == [user.pk]]
    if left_alone:
        raise NotAllowedError(
            _("Make somebody else an owner first of: %(projects)s.") % {"projects": ", ".join(left_alone)}
        )
