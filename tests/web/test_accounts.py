"""Accounts: closing them ends what they hold and keeps what they made, and somebody always owns site and projects."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.conf import LazySettings
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import Assignment, AuditEntry, Invite, Membership, Project, Role, Slot, User
from annotate.services import accounts, people
from tests.cast import PASSWORD, join, make_comparison, make_judgment, make_prompt, make_user
from tests.web.test_security import inline


@pytest.fixture
def root(db: None) -> User:
    """Owns the site."""
    return User.objects.create_superuser("root")


def hold_a_slot(project: Project, user: User) -> Slot:
    slot = project.slots.filter(state=Slot.State.OPEN).earliest("id")
    slot.state, slot.annotator, slot.lease_until = Slot.State.LEASED, user, timezone.now() + timedelta(minutes=5)
    slot.save()
    return slot


def membership(project: Project, user: User) -> Membership:
    return project.memberships.select_related("project", "user").get(user=user)


def test_a_closed_account_is_out_at_once_and_leaves_its_judgments(
    client: Client, project: Project, root: User, lea: User
) -> None:
    judgment = make_judgment(make_comparison(make_prompt(project)), lea)
    slot = hold_a_slot(project, lea)
    assigned = project.slots.filter(state=Slot.State.OPEN).latest("id")
    given = Assignment.objects.create(project=project, user=lea, to="lea", what="Pair", created_by=lea)
    Slot.objects.filter(pk=assigned.pk).update(only_for=lea, assignment=given)
    people.create_invite(by=membership(project, lea), role=Role.LEAD)
    client.force_login(lea)
    assert client.get(reverse("annotate:home")).status_code == 200
    assert accounts.deactivate_account(user=lea, by=root, reason="left the team")
    assert client.get(reverse("annotate:home")).status_code == 302
    slot.refresh_from_db()
    assert (slot.state, slot.annotator, slot.lease_until) == (Slot.State.OPEN, None, None)
    assigned.refresh_from_db()
    assert assigned.only_for is None
    assert Invite.objects.get().revoked_at is not None
    assert project.judgments.get(pk=judgment.pk).annotator == lea
    assert project.memberships.get(user=lea).role == Role.LEAD
    noted = AuditEntry.objects.get(verb="account.deactivated")
    assert (noted.actor, noted.subject) == (root, "lea")
    assert noted.detail == {"reason": "left the team", "leases_released": 1, "invites_revoked": 1}
    assert not accounts.deactivate_account(user=lea, by=root)


def test_an_opened_account_is_what_it_was_but_must_sign_in_again(
    client: Client, project: Project, root: User, bob: User
) -> None:
    client.force_login(bob)
    accounts.deactivate_account(user=bob, by=root)
    assert accounts.reactivate_account(user=bob, by=root)
    assert not accounts.reactivate_account(user=bob, by=root)
    assert client.get(reverse("annotate:home")).status_code == 302
    bob.refresh_from_db()
    client.force_login(bob)
    assert client.get(reverse("annotate:judge", args=[project.pk])).status_code == 200
    assert list(AuditEntry.objects.filter(subject="bob").values_list("verb", flat=True))[1:3] == [
        "account.reactivated",
        "account.deactivated",
    ]


def test_only_owners_of_the_site_close_accounts(project: Project, alice: User, lea: User, bob: User) -> None:
    for by in (alice, lea, bob):
        with pytest.raises(people.NotAllowedError):
            accounts.deactivate_account(user=bob, by=by)
        with pytest.raises(people.NotAllowedError):
            accounts.reactivate_account(user=bob, by=by)
    bob.refresh_from_db()
    assert bob.is_active


def test_the_last_owner_of_the_site_cannot_be_closed(root: User) -> None:
    second = User.objects.create_superuser("second")
    assert accounts.deactivate_account(user=second, by=root)
    with pytest.raises(people.NotAllowedError, match="site needs an owner"):
        accounts.deactivate_account(user=root, by=root)
    with pytest.raises(people.NotAllowedError, match="site needs an owner"):
        accounts.deactivate_account(user=root, by=None)
    root.refresh_from_db()
    assert root.is_active


def test_the_last_owner_of_a_project_cannot_be_closed(project: Project, root: User, alice: User, lea: User) -> None:
    with pytest.raises(people.NotAllowedError, match="Parcel support"):
        accounts.deactivate_account(user=alice, by=root)
    oskar = make_user("oskar")
    join(project, oskar, Role.OWNER)
    assert accounts.deactivate_account(user=oskar, by=root)
    # An owner whose account is closed does not count: alice is the last again, here and on the people page.
    with pytest.raises(people.NotAllowedError, match="Parcel support"):
        accounts.deactivate_account(user=alice, by=root)
    owner = membership(project, alice)
    with pytest.raises(people.NotAllowedError, match="needs an owner"):
        people.change_role(by=owner, member=owner, role=Role.LEAD)


def test_signing_out_everywhere_ends_every_session_but_this_one(bob: User) -> None:
    phone, desk = Client(), Client()
    for device in (phone, desk):
        device.force_login(bob)
    assert phone.post(reverse("annotate:sign_out_everywhere")).status_code == 302
    assert phone.get(reverse("annotate:home")).status_code == 200
    assert desk.get(reverse("annotate:home")).status_code == 302


def test_a_changed_password_ends_every_session_but_this_one(bob: User) -> None:
    phone, desk = Client(), Client()
    for device in (phone, desk):
        device.force_login(bob)
    new = {"password1": "another long sentence", "password2": "another long sentence"}
    phone.post(reverse("account_change_password"), {"oldpassword": PASSWORD, **new})
    assert phone.get(reverse("annotate:home")).status_code == 200
    assert desk.get(reverse("annotate:home")).status_code == 302


def test_the_owners_of_the_site_do_it_all_on_the_page(client: Client, project: Project, root: User, bob: User) -> None:
    Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={})
    device = Client()
    device.force_login(bob)
    client.force_login(root)

    def post(name: str, **values: str) -> str:
        answer = client.post(reverse(f"annotate:{name}", args=[bob.pk]), values, follow=True)
        assert answer.status_code == 200
        assert inline(answer.content.decode()) == []
        return answer.content.decode()

    post("end_sessions")
    assert device.get(reverse("annotate:home")).status_code == 302
    assert "Remove the second factor" not in post("remove_factors")
    assert not Authenticator.objects.filter(user=bob).exists()
    assert "bob@example.org" in post("change_address", address="Bob@Example.org")
    assert EmailAddress.objects.get(user=bob).verified
    assert "Open the account again" in post("deactivate", reason="left")
    assert "Close the account" in post("reactivate")
    assert list(AuditEntry.objects.filter(actor=root, subject="bob").order_by("id").values_list("verb", flat=True)) == [
        "account.sessions_ended",
        "account.mfa_removed",
        "account.address_changed",
        "account.deactivated",
        "account.reactivated",
    ]


def test_the_list_of_accounts_is_found_by_name_and_costs_the_same_for_any_number(client: Client, root: User) -> None:
    client.force_login(root)
    url = reverse("annotate:accounts")
    for number in range(10):
        make_user(f"person{number}")
    with CaptureQueriesContext(connection) as ten:
        body = client.get(url).content.decode()
    assert inline(body) == []
    for number in range(10, 20):
        make_user(f"person{number}", email=f"p{number}@example.org")
    with CaptureQueriesContext(connection) as twenty:
        client.get(url)
    assert len(twenty) == len(ten)
    found = client.get(url, {"name": "P17@"}).content.decode()
    assert "person17" in found
    assert "person16" not in found


def test_an_address_belongs_to_one_account(client: Client, root: User, bob: User, lea: User) -> None:
    client.force_login(root)
    accounts.change_address(user=lea, address="team@example.org", by=root)
    url = reverse("annotate:change_address", args=[bob.pk])
    assert (
        "Another account has this address"
        in client.post(url, {"address": "TEAM@example.org"}, follow=True).content.decode()
    )
    assert client.post(url, {"address": "nonsense"}).status_code == 422
    bob.refresh_from_db()
    assert bob.email == ""
    accounts.change_address(user=lea, address="", by=root)
    accounts.change_address(user=bob, address="team@example.org", by=root)
    assert EmailAddress.objects.get().user == bob


def test_nobody_but_oneself_and_the_sites_owners_ends_sessions_or_vouches(root: User, alice: User, bob: User) -> None:
    for deed in (
        lambda: accounts.end_sessions(user=bob, by=alice),
        lambda: accounts.change_address(user=bob, address="bob@example.org", by=bob),
        lambda: accounts.remove_factors(user=bob, by=alice),
    ):
        with pytest.raises(people.NotAllowedError):
            deed()


def test_people_change_their_own_name_and_nothing_else(client: Client, project: Project, bob: User) -> None:
    client.force_login(bob)
    url = reverse("annotate:account")
    body = client.get(url).content.decode()
    assert inline(body) == []
    assert bob.pseudonym in body
    answer = client.post(
        url, {"first_name": "Bob", "last_name": "Builder", "is_superuser": "1", "email": "x@example.org"}
    )
    assert answer.status_code == 302
    bob.refresh_from_db()
    assert (str(bob), bob.username, bob.is_superuser, bob.email) == ("Bob Builder", "bob", False, "")
    assert AuditEntry.objects.get(verb="account.renamed").detail == {"before": "bob", "after": "Bob Builder"}
    assert client.post(url, {"first_name": "x" * 151}).status_code == 422


def test_a_removed_member_holds_nothing_and_their_links_are_dead(project: Project, alice: User, lea: User) -> None:
    slot = hold_a_slot(project, lea)
    for role in (Role.LEAD, Role.ANNOTATOR):
        people.create_invite(by=membership(project, lea), role=role)
    people.remove_member(by=membership(project, alice), member=membership(project, lea))
    slot.refresh_from_db()
    assert (slot.state, slot.annotator) == (Slot.State.OPEN, None)
    assert not Invite.objects.filter(revoked_at=None).exists()


def test_who_may_do_less_keeps_only_the_links_they_could_make_now(project: Project, alice: User) -> None:
    oskar = make_user("oskar")
    join(project, oskar, Role.OWNER)
    for role in (Role.OWNER, Role.LEAD, Role.ANNOTATOR):
        people.create_invite(by=membership(project, oskar), role=role)
    people.change_role(by=membership(project, alice), member=membership(project, oskar), role=Role.LEAD)
    assert set(Invite.objects.filter(revoked_at=None).values_list("role", flat=True)) == {"lead", "annotator"}
    people.change_role(by=membership(project, alice), member=membership(project, oskar), role=Role.ANNOTATOR)
    assert not Invite.objects.filter(revoked_at=None).exists()


def test_who_confirms_a_password_that_is_hashed_anew_stays_signed_in(
    client: Client, lea: User, settings: LazySettings
) -> None:
    """Each release of Django hashes harder than the one before, and does so when a password is next seen."""
    settings.PASSWORD_HASHERS = [*settings.PASSWORD_HASHERS, "django.contrib.auth.hashers.ScryptPasswordHasher"]
    lea.password = make_password(PASSWORD, hasher="scrypt")
    lea.save()
    client.force_login(lea)
    answer = client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert answer.status_code == 302
    old = lea.password
    lea.refresh_from_db()
    assert lea.password != old
    assert client.get(reverse("annotate:home")).status_code == 200
