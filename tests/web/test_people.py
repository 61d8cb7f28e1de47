"""People: invites that work once, roles that nobody can climb by themselves, pausing and leaving."""

import hashlib
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import AuditEntry, Invite, Membership, Project, Role, User
from annotate.services import people
from tests.cast import join, make_comparison, make_judgment, make_prompt, make_rating, make_user

NEW_ACCOUNT = {"username": "nina", "password1": "a long enough sentence", "password2": "a long enough sentence"}


def member(project: Project, user: User) -> Membership:
    return project.memberships.select_related("project", "user").get(user=user)


def make_link(client: Client, project: Project, by: User, **values: str) -> str:
    """Makes an invite on the page and returns the path of its link."""
    client.force_login(by)
    url = reverse("annotate:new_invite", args=[project.pk])
    body = client.post(url, {"role": "annotator", "days": "7", **values}).content.decode()
    found = re.search(r'value="http://testserver(/invite/[^"]+/)"', body)
    assert found
    client.logout()
    return found[1]


def test_the_link_is_shown_once_and_only_its_hash_is_kept(client: Client, project: Project, lea: User) -> None:
    path = make_link(client, project, lea, note="for Nina")
    token = path.split("/")[2]
    invite = Invite.objects.get()
    assert invite.token_sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(list(AuditEntry.objects.values()))
    client.force_login(lea)
    body = client.get(reverse("annotate:people", args=[project.pk])).content.decode()
    assert "for Nina" in body
    assert token not in body


def test_an_invite_makes_an_account_signs_it_in_and_works_once(client: Client, project: Project, lea: User) -> None:
    path = make_link(client, project, lea, role="lead")
    assert "Join Parcel support" in client.get(path).content.decode()
    response = client.post(path, NEW_ACCOUNT)
    assert response.url == reverse("annotate:project", args=[project.pk])  # type: ignore[attr-defined]
    nina = User.objects.get(username="nina")
    assert nina.check_password("a long enough sentence")
    assert not nina.is_staff
    assert member(project, nina).role == Role.LEAD
    assert client.get(reverse("annotate:home")).status_code == 200
    client.logout()
    assert client.get(path).status_code == 404
    assert client.post(path, NEW_ACCOUNT | {"username": "second"}).status_code == 404
    assert not User.objects.filter(username="second").exists()


def test_a_signed_in_person_joins_as_who_they_are(client: Client, project: Project, lea: User, charlie: User) -> None:
    path = make_link(client, project, lea)
    client.force_login(charlie)
    assert "Join as charlie" in client.get(path).content.decode()
    assert not project.memberships.filter(user=charlie).exists()
    assert client.post(path).status_code == 302
    assert member(project, charlie).role == Role.ANNOTATOR
    assert Invite.objects.get().used_by == charlie


def test_a_member_who_opens_an_invite_stays_what_they_are_and_leaves_it_for_others(
    client: Client, project: Project, alice: User, lea: User
) -> None:
    path = make_link(client, project, lea)
    client.force_login(alice)
    assert client.post(path).status_code == 302
    assert member(project, alice).role == Role.OWNER
    assert Invite.objects.get().used_at is None


@pytest.mark.parametrize("change", [{"revoked_at": 0}, {"expires_at": -1}, {"used_at": 0}])
def test_a_dead_invite_opens_nothing(client: Client, project: Project, lea: User, change: dict[str, int]) -> None:
    path = make_link(client, project, lea)
    Invite.objects.update(**{name: timezone.now() + timedelta(seconds=delay) for name, delay in change.items()})
    assert client.get(path).status_code == 404
    assert client.post(path, NEW_ACCOUNT).status_code == 404
    assert not User.objects.filter(username="nina").exists()
    assert client.get("/invite/no-such-token/").status_code == 404


def test_of_two_people_with_one_link_the_second_gets_neither_place_nor_account(
    client: Client, project: Project, lea: User, charlie: User
) -> None:
    make_link(client, project, lea)
    seen_by_both = Invite.objects.select_related("project").get()
    people.accept_invite(invite=seen_by_both, user=charlie)
    with pytest.raises(people.InviteGoneError):
        people.join_with_new_account(invite=seen_by_both, username="nina", password="a long enough sentence")
    assert not User.objects.filter(username="nina").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"password1": "short", "password2": "short"},
        {"password2": "another sentence altogether"},
        {"username": "bob"},
        {"username": "white space"},
        {"username": ""},
    ],
)
def test_an_account_needs_a_free_name_and_a_good_password(
    client: Client, project: Project, lea: User, values: dict[str, str]
) -> None:
    path = make_link(client, project, lea)
    assert client.post(path, NEW_ACCOUNT | values).status_code == 422
    assert Invite.objects.get().used_at is None
    assert not User.objects.filter(username="nina").exists()


def test_a_revoked_invite_leaves_the_list(client: Client, project: Project, lea: User) -> None:
    path = make_link(client, project, lea)
    client.force_login(lea)
    client.post(reverse("annotate:revoke_invite", args=[project.pk, Invite.objects.get().pk]))
    assert "Revoke" not in client.get(reverse("annotate:people", args=[project.pk])).content.decode()
    client.logout()
    assert client.get(path).status_code == 404


def test_a_lead_can_neither_invite_owners_nor_make_them_nor_touch_them(
    client: Client, project: Project, alice: User, lea: User, bob: User
) -> None:
    client.force_login(lea)
    url = reverse("annotate:new_invite", args=[project.pk])
    assert client.post(url, {"role": "owner", "days": "7"}).status_code == 422
    owner, lead, annotator = (member(project, user) for user in (alice, lea, bob))
    with pytest.raises(people.NotAllowedError):
        people.create_invite(by=lead, role=Role.OWNER)
    with pytest.raises(people.NotAllowedError):
        people.change_role(by=lead, member=annotator, role=Role.OWNER)
    with pytest.raises(people.NotAllowedError):
        people.change_role(by=lead, member=lead, role=Role.OWNER)
    with pytest.raises(people.NotAllowedError):
        people.change_role(by=lead, member=owner, role=Role.ANNOTATOR)
    with pytest.raises(people.NotAllowedError):
        people.pause_member(by=lead, member=owner, reason="no")
    with pytest.raises(people.NotAllowedError):
        people.remove_member(by=lead, member=owner)
    with pytest.raises(people.NotAllowedError):
        people.change_role(by=annotator, member=annotator, role=Role.LEAD)
    assert [member(project, user).role for user in (alice, lea, bob)] == ["owner", "lead", "annotator"]
    assert Invite.objects.count() == 0


def test_a_lead_cannot_revoke_an_owners_invite(project: Project, alice: User, lea: User) -> None:
    invite, _ = people.create_invite(by=member(project, alice), role=Role.OWNER)
    with pytest.raises(people.NotAllowedError):
        people.revoke_invite(by=member(project, lea), invite=invite)


def test_the_last_owner_can_neither_step_down_nor_leave(client: Client, project: Project, alice: User) -> None:
    owner = member(project, alice)
    client.force_login(alice)
    url = reverse("annotate:change_role", args=[project.pk, owner.pk])
    body = client.post(url, {"role": "lead"}, follow=True).content.decode()
    assert "A project needs an owner" in body
    with pytest.raises(people.NotAllowedError):
        people.remove_member(by=owner, member=owner)
    assert member(project, alice).role == Role.OWNER
    second = join(project, make_user("oskar"), Role.OWNER)
    people.change_role(by=owner, member=owner, role=Role.LEAD)
    assert member(project, alice).role == Role.LEAD
    with pytest.raises(people.NotAllowedError):
        people.change_role(by=second, member=second, role=Role.ANNOTATOR)


def test_roles_pauses_and_leaving_are_done_on_the_page_and_noted(
    client: Client, project: Project, lea: User, bob: User
) -> None:
    comparison = project.comparisons.first()
    assert comparison is not None
    make_judgment(comparison, bob)
    person = member(project, bob)
    client.force_login(lea)

    def post(name: str, **values: str) -> None:
        assert client.post(reverse(f"annotate:{name}", args=[project.pk, person.pk]), values).status_code == 302

    post("change_role", role="lead")
    assert member(project, bob).role == Role.LEAD
    post("pause", reason="Please read section 2")
    person.refresh_from_db()
    assert (person.paused_at is not None, person.paused_reason) == (True, "Please read section 2")
    assert "Please read section 2" in client.get(reverse("annotate:people", args=[project.pk])).content.decode()
    post("resume")
    person.refresh_from_db()
    assert (person.paused_at, person.paused_reason) == (None, "")
    post("remove")
    assert not project.memberships.filter(user=bob).exists()
    assert project.judgments.filter(annotator=bob).count() == 1
    client.force_login(bob)
    assert client.get(reverse("annotate:project", args=[project.pk])).status_code == 404
    noted = project.audit_entries.filter(actor=lea).order_by("id").values_list("verb", flat=True)
    assert list(noted) == ["member.role_changed", "member.paused", "member.resumed", "member.removed"]


def test_pausing_needs_a_reason(client: Client, project: Project, lea: User, bob: User) -> None:
    client.force_login(lea)
    url = reverse("annotate:pause", args=[project.pk, member(project, bob).pk])
    assert client.post(url, {"reason": " "}).status_code == 422
    assert member(project, bob).paused_at is None


def test_a_member_of_another_project_cannot_be_reached_through_this_one(
    client: Client, project: Project, lea: User, charlie: User
) -> None:
    elsewhere = Project.objects.create(name="Elsewhere", created_by=charlie)
    other = join(elsewhere, charlie, Role.LEAD)
    invite, _ = people.create_invite(by=other, role=Role.ANNOTATOR)
    client.force_login(lea)
    for name in ("member", "change_role", "pause", "resume", "remove"):
        url = reverse(f"annotate:{name}", args=[project.pk, other.pk])
        response = client.get(url) if name == "member" else client.post(url, {"role": "annotator", "reason": "x"})
        assert response.status_code == 404
    assert client.post(reverse("annotate:revoke_invite", args=[project.pk, invite.pk])).status_code == 404
    invite.refresh_from_db()
    assert invite.revoked_at is None


def test_the_list_counts_what_each_person_made_and_costs_the_same_for_ten_and_twenty(
    client: Client, project: Project, lea: User, bob: User
) -> None:
    for _ in range(3):
        comparison = make_comparison(make_prompt(project))
        make_judgment(comparison, bob)
        make_rating(comparison.first, bob)
        make_rating(comparison.second, bob)
    client.force_login(lea)
    url = reverse("annotate:people", args=[project.pk])
    counts = {person.user.username: person for person, *_ in client.get(url).context["members"]}
    assert (counts["bob"].judgments, counts["bob"].ratings, counts["lea"].judgments) == (3, 6, 0)
    for number in range(7):
        join(project, make_user(f"first{number}"))
        people.create_invite(by=member(project, lea), role=Role.ANNOTATOR)
    with CaptureQueriesContext(connection) as ten:
        client.get(url)
    for number in range(10):
        join(project, make_user(f"second{number}"))
        people.create_invite(by=member(project, lea), role=Role.ANNOTATOR)
    with CaptureQueriesContext(connection) as twenty:
        client.get(url)
    assert len(ten) == len(twenty)
