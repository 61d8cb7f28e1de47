"""What is done to people in a project: invite, join, change a role, pause, remove. Leads never touch owners."""

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.models import Invite, Membership, Project, Role, Slot, User
from annotate.services.assignments import release_assigned
from annotate.services.audit import record_deed


class NotAllowedError(Exception):
    """The actor may not do this, or the project would be left without an owner; the message says which."""


class InviteGoneError(Exception):
    """The invite was used, revoked or has expired."""


def roles_given_by(actor: Membership) -> list[Role]:
    """The roles that this member may give to others: owners any, leads what is not above them."""
    return [Role.OWNER, Role.LEAD, Role.ANNOTATOR] if actor.role == Role.OWNER else [Role.LEAD, Role.ANNOTATOR]


def may_change(actor: Membership, member: Membership) -> bool:
    """Leads manage leads and annotators; owners manage everybody."""
    return actor.leads and (actor.role == Role.OWNER or member.role != Role.OWNER)


@transaction.atomic
def create_invite(*, by: Membership, role: str, note: str = "", days: int = 7) -> tuple[Invite, str]:
    """A new invite and its token, which is kept nowhere: only its sha256 is."""
    _check_role(by, role)
    token = secrets.token_urlsafe(32)
    invite = Invite.objects.create(
        project=by.project,
        role=role,
        note=note,
        token_sha256=_token_sha256(token),
        created_by=by.user,
        expires_at=timezone.now() + timedelta(days=days),
    )
    record_deed(project=by.project, actor=by.user, verb="invite.created", subject=f"invite {invite.pk}", role=role)
    return invite, token


@transaction.atomic
def revoke_invite(*, by: Membership, invite: Invite) -> bool:
    """Makes the link useless. False when it was used or revoked before."""
    if invite.role == Role.OWNER and by.role != Role.OWNER:
        raise NotAllowedError(_("Only an owner can revoke an owner's invite."))
    done = Invite.objects.filter(
        pk=invite.pk, project=by.project, used_at__isnull=True, revoked_at__isnull=True
    ).update(revoked_at=timezone.now())
    if done:
        record_deed(project=by.project, actor=by.user, verb="invite.revoked", subject=f"invite {invite.pk}")
    return done == 1


def open_invite(token: str) -> Invite:
    """The invite that the token opens. Raises ``InviteGoneError`` when there is none that can still be used."""
    invite = (
        Invite.objects.select_related("project", "created_by")
        .filter(token_sha256=_token_sha256(token), used_at__isnull=True, revoked_at__isnull=True)
        .filter(expires_at__gt=timezone.now())
        .first()
    )
    if invite is None:
        raise InviteGoneError
    return invite


@transaction.atomic
def accept_invite(*, invite: Invite, user: User) -> Membership:
    """Joins the project with the invite's role and uses the invite up.

    Whoever is a member already stays what they are and leaves the invite as it was. Raises ``InviteGoneError`` when
    someone else was first: the single UPDATE below lets one person through.
    """
    member = Membership.objects.filter(project=invite.project, user=user).first()
    if member is not None:
        return member
    now = timezone.now()
    won = Invite.objects.filter(pk=invite.pk, used_at__isnull=True, revoked_at__isnull=True, expires_at__gt=now).update(
        used_at=now, used_by=user
    )
    if won != 1:
        raise InviteGoneError
    record_deed(
        project=invite.project,
        actor=user,
        verb="invite.accepted",
        subject=f"invite {invite.pk}",
        role=invite.role,
        person=user.username,
    )
    return Membership.objects.create(project=invite.project, user=user, role=invite.role)


@transaction.atomic
def join_with_new_account(*, invite: Invite, username: str, password: str) -> Membership:
    """Makes an account and joins with it: both or neither, so that a used invite leaves no account behind."""
    user = User.objects.create_user(username=username, password=password)
    return accept_invite(invite=invite, user=user)


@transaction.atomic
def change_role(*, by: Membership, member: Membership, role: str) -> None:
    """Raises ``NotAllowedError`` where the actor may not, or when nobody would own the project any more."""
    _check_may_change(by, member)
    if role == member.role:
        return
    _check_role(by, role)
    _keep_an_owner(member)
    if Membership.objects.filter(pk=member.pk, role=member.role).update(role=role) != 1:
        raise NotAllowedError(_("Someone else changed this person's role just now. Look again."))
    before, member.role = member.role, role
    revoked = _revoke_invites(member, keep=roles_given_by(member) if member.leads else [])
    _record(by, member, "member.role_changed", before=before, after=role, invites_revoked=revoked)


@transaction.atomic
def pause_member(*, by: Membership, member: Membership, reason: str) -> None:
    """Keeps the person from judging until resumed; the reason is shown to both. Their judgments stay."""
    _check_may_change(by, member)
    changed = Membership.objects.filter(pk=member.pk, paused_at__isnull=True).update(
        paused_at=timezone.now(), paused_reason=reason, paused_by=by.user
    )
    if changed:
        _record(by, member, "member.paused", reason=reason)


@transaction.atomic
def resume_member(*, by: Membership, member: Membership) -> None:
    """Lets the person judge again. The project's limits begin anew, so that they are not paused again at once."""
    _check_may_change(by, member)
    changed = Membership.objects.filter(pk=member.pk, paused_at__isnull=False).update(
        paused_at=None, paused_reason="", paused_by=None, resumed_at=timezone.now()
    )
    if changed:
        _record(by, member, "member.resumed")


@transaction.atomic
def change_quota(*, by: Membership, member: Membership, daily_quota: int | None) -> None:
    """The most judgments and ratings that the person may make here in a day; None: as many as they like."""
    _check_may_change(by, member)
    if daily_quota is not None and daily_quota < 1:
        raise ValueError(_("A quota is at least 1; pause somebody who shall not judge at all."))
    changed = Membership.objects.filter(pk=member.pk).exclude(daily_quota=daily_quota).update(daily_quota=daily_quota)
    if changed:
        _record(by, member, "member.quota_changed", daily_quota=daily_quota)


@transaction.atomic
def remove_member(*, by: Membership, member: Membership) -> None:
    """Takes the person out of the project: what they hold goes back, the invites they made are revoked.

    Their account and their judgments stay.
    """
    _check_may_change(by, member)
    _keep_an_owner(member)
    revoked = _revoke_invites(member, keep=[])
    held = Slot.objects.filter(project=member.project_id, annotator=member.user_id, state=Slot.State.LEASED)
    held.update(state=Slot.State.OPEN, annotator=None, lease_until=None, shown_at=None)
    release_assigned(project=member.project, user=member.user)
    _record(by, member, "member.removed", role=member.role, invites_revoked=revoked)
    Membership.objects.filter(pk=member.pk).delete()


def add_member(*, project: Project, user: User, role: str, actor: User | None) -> Membership:
    """Puts an account into a project, or gives it another role there: the command line's way, without an invite."""
    with transaction.atomic():
        member, created = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
        if not created and member.role != role:
            _keep_an_owner(member)
            Membership.objects.filter(pk=member.pk).update(role=role)
            member.role = role
            _revoke_invites(member, keep=roles_given_by(member) if member.leads else [])
        record_deed(project=project, actor=actor, verb="member.added", subject=user.username, role=role)
        return member


def _check_may_change(by: Membership, member: Membership) -> None:
    if member.project_id != by.project_id or not may_change(by, member):
        raise NotAllowedError(_("Only an owner can change an owner."))


def _check_role(by: Membership, role: str) -> None:
    if not by.leads or role not in roles_given_by(by):
        raise NotAllowedError(_("You cannot give a role above your own."))


def _keep_an_owner(member: Membership) -> None:
    if member.role != Role.OWNER:
        return
    # Locked, so that two owners who demote each other at the same moment cannot both find the other one there.
    owners = (
        Membership.objects.select_for_update(of=("self", "user"))
        .select_related("user")
        .filter(project_id=member.project_id, role=Role.OWNER, user__is_active=True)
    )
    if [owner.pk for owner in owners.order_by("pk")] == [member.pk]:
        raise NotAllowedError(_("A project needs an owner. Make somebody else an owner first."))


def _revoke_invites(member: Membership, *, keep: list[Role]) -> int:
    """Revokes the links that the member made, but for these roles: none must bring them back as more than they are."""
    links = Invite.objects.filter(project=member.project_id, created_by=member.user_id, used_at=None, revoked_at=None)
    return links.exclude(role__in=keep).update(revoked_at=timezone.now())


def _record(by: Membership, member: Membership, verb: str, **detail: str | int | None) -> None:
    record_deed(project=by.project, actor=by.user, verb=verb, subject=member.user.username, **detail)


def _token_sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
