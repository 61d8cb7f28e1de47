"""The simulated people's accounts: `sim-1` to `sim-n` annotate, `sim-lead` starts the rounds.

They are the one thing that a simulation writes to the database itself, because nobody can sign up over HTTP. Each run
gives them a new random password that is never stored or shown, so that nobody else can sign in as them.
"""

import secrets
from dataclasses import dataclass

from django.db import transaction

from annotate.models import Membership, Project, Role, User
from annotate.services.audit import record_deed

LEAD = "sim-lead"
# Their last name, shown wherever people are: what tells them from a person who happens to be called sim-1.
MARK = "(simulated)"


class AccountsError(Exception):
    """A name that the simulation needs belongs to someone else."""


@dataclass(frozen=True)
class Account:
    username: str
    password: str


@transaction.atomic
def make_accounts(*, project: Project, annotators: int) -> tuple[list[Account], Account]:
    """The annotators' accounts and the lead's, members of the project, with passwords that hold for this run.

    Raises AccountsError rather than taking over an account that a person uses.
    """
    people = [_account(project, f"sim-{number}", Role.ANNOTATOR) for number in range(1, annotators + 1)]
    lead = _account(project, LEAD, Role.LEAD)
    record_deed(
        project=project, actor=None, verb="simulation.joined", subject=f"{annotators} simulated annotators and a lead"
    )
    return people, lead


def _account(project: Project, username: str, role: Role) -> Account:
    password = secrets.token_urlsafe(24)
    user, _ = User.objects.get_or_create(username=username, defaults={"first_name": username, "last_name": MARK})
    if user.is_staff or user.is_superuser or user.last_name != MARK:
        raise AccountsError(f"There is a person's account named {username}. Rename it, or simulate on another site.")
    user.set_password(password)
    user.is_active = True
    user.save(update_fields=["password", "is_active"])
    membership, _ = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if membership.role != role or membership.paused_at is not None:
        membership.role, membership.paused_at, membership.paused_reason = role, None, ""
        membership.save(update_fields=["role", "paused_at", "paused_reason"])
    return Account(username, password)
