"""Signing in by OpenID Connect: the whole code flow with PKCE, against a real provider on this machine."""

import html
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from annotate.models import AuditEntry, Invite, Membership, Project, Role, User
from annotate.services import accounts, people
from tests.cast import PASSWORD
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, running_provider
from tests.web.test_security import inline

COMES_BACK_TO = "http://testserver/accounts/provider/callback/"
NINA = {
    "sub": "0f6c",
    "email": "Nina@example.org",
    "email_verified": True,
    "preferred_username": "nina",
    "given_name": "Nina",
    "family_name": "Novak",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with running_provider(COMES_BACK_TO) as provider:
        yield provider


@pytest.fixture
def provider(server: Provider, settings: Settings) -> Provider:
    """The provider, and a site that is set up for it; Nina is at the keyboard."""
    server.at_the_keyboard, server.userinfo_says, server.id_token_says = dict(NINA), None, {}
    app = {
        "provider_id": "oidc",
        "name": "Example ID",
        "client_id": CLIENT_ID,
        "secret": CLIENT_SECRET,
        "settings": {"server_url": server.issuer, "oauth_pkce_enabled": True},
    }
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
    return server


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root")


def to_the_provider(client: Client, **sent: str) -> str:
    """The address that the page leads to."""
    answer = client.post(reverse("provider_sign_in"), sent)
    body = answer.content.decode()
    assert answer.status_code == 200, body
    assert "'self'" in answer["Content-Security-Policy"]
    assert [found for found in inline(body) if not found.endswith("not ours")] == []
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', body)
    assert found
    return html.unescape(found[1])


def back(client: Client, there: str) -> "tuple[int, str, str]":
    """Through the provider, and what the site says then: status, where to, body."""
    sent = httpx.get(there)
    assert sent.status_code == 302, sent.text
    assert sent.headers["Location"].startswith(COMES_BACK_TO)
    here = urlsplit(sent.headers["Location"])
    answer = client.get(f"{here.path}?{here.query}")
    return answer.status_code, answer.get("Location", ""), answer.content.decode()


def sign_in(client: Client, **sent: str) -> "tuple[int, str, str]":
    return back(client, to_the_provider(client, **sent))


def who(client: Client) -> str:
    """The user name of who is signed in; empty for nobody."""
    answer = client.get(reverse("annotate:account"))
    return str(answer.context["user"].username) if answer.status_code == 200 else ""


def invite_to(project: Project, role: Role = Role.ANNOTATOR) -> str:
    maker = project.memberships.select_related("project", "user").get(role=Role.OWNER)
    return reverse("annotate:invite", args=[people.create_invite(by=maker, role=role)[1]])


def test_the_button_is_there_only_where_the_site_has_a_provider(
    client: Client, db: None, provider: Provider, settings: Settings
) -> None:
    page = reverse("account_login")
    assert "Sign in with Example ID" in client.get(page).content.decode()
    settings.SOCIALACCOUNT_PROVIDERS = {}
    assert "Sign in with" not in client.get(page).content.decode().replace("Sign in with a", "")
    assert client.post(reverse("provider_sign_in")).status_code == 404


def test_the_way_there_carries_pkce_and_state_and_no_secret(client: Client, db: None, provider: Provider) -> None:
    there = urlsplit(to_the_provider(client))
    asked = {name: values[0] for name, values in parse_qs(there.query).items()}
    assert f"{there.scheme}://{there.netloc}" == provider.issuer
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert len(asked["code_challenge"]) == 43
    assert len(asked["state"]) >= 16
    assert {"openid", "email", "profile"} == set(asked["scope"].split())
    assert asked["redirect_uri"] == COMES_BACK_TO
    assert CLIENT_SECRET not in there.query


def test_a_stranger_is_let_in_by_nobody(client: Client, project: Project, provider: Provider) -> None:
    status, _, body = sign_in(client)
    assert status == 403
    assert "You have no account here yet" in body
    assert inline(body) == []
    assert not User.objects.filter(username="nina").exists()
    assert not SocialAccount.objects.exists()
    assert who(client) == ""


def test_an_invite_makes_an_account_without_a_password_once(
    client: Client, project: Project, provider: Provider
) -> None:
    path = invite_to(project, Role.LEAD)
    assert "Join with Example ID" in client.get(path).content.decode()
    status, where, _ = sign_in(client, next=path)
    assert (status, where) == (302, reverse("annotate:project", args=[project.pk]))
    nina = User.objects.get(username="nina")
    assert (str(nina), nina.email, nina.has_usable_password(), nina.is_staff) == (
        "Nina Novak", "nina@example.org", False, False,
    )  # fmt: skip
    assert project.memberships.get(user=nina).role == Role.LEAD
    assert Invite.objects.get().used_by == nina
    assert not SocialToken.objects.exists()
    assert project.audit_entries.filter(verb="invite.accepted", actor=nina).exists()
    noted = AuditEntry.objects.filter(project=None, subject="nina").order_by("id")
    assert [(entry.verb, entry.detail["by"]) for entry in noted] == [
        ("account.created", "provider"),
        ("account.signed_in", "socialaccount"),
    ]
    # She comes back without the invite, whatever her address is by then; nobody else comes with it.
    client.logout()
    provider.at_the_keyboard = NINA | {"email": "novak@example.org"}
    assert sign_in(client)[:2] == (302, "/")
    assert who(client) == "nina"
    client.logout()
    provider.at_the_keyboard = {"sub": "other", "preferred_username": "other"}
    assert sign_in(client, next=path)[0] == 403
    assert not User.objects.filter(username="other").exists()
    # Without a password there is none to change.
    provider.at_the_keyboard = dict(NINA)
    sign_in(client)
    assert client.get(reverse("account_change_password"))["Location"] == reverse("annotate:account")


@pytest.mark.parametrize("change", ["revoked", "expired", "used"])
def test_a_dead_invite_lets_nobody_in(client: Client, project: Project, provider: Provider, change: str) -> None:
    path = invite_to(project)
    there = to_the_provider(client, next=path)
    invite = Invite.objects.get()
    if change == "used":
        people.accept_invite(invite=invite, user=User.objects.create_user("first"))
    elif change == "revoked":
        Invite.objects.update(revoked_at=invite.created_at)
    else:
        Invite.objects.update(expires_at=invite.created_at)
    assert back(client, there)[0] == 403
    assert not User.objects.filter(username="nina").exists()


def test_an_address_that_an_owner_of_the_site_wrote_down_finds_its_account(
    client: Client, project: Project, provider: Provider, root: User, lea: User
) -> None:
    accounts.change_address(user=lea, address="nina@example.org", by=root)
    status, where, _ = sign_in(client, next=reverse("annotate:people", args=[project.pk]))
    assert (status, where) == (302, reverse("annotate:people", args=[project.pk]))
    assert who(client) == "lea"
    lea.refresh_from_db()
    assert lea.check_password(PASSWORD)
    assert SocialAccount.objects.get().user == lea
    assert AuditEntry.objects.filter(verb="account.connected", subject="lea").exists()


@pytest.mark.parametrize("verified", [False, "false", None, 0, ""])
def test_an_address_that_the_provider_has_not_verified_finds_nobody(
    client: Client, project: Project, provider: Provider, root: User, lea: User, verified: object
) -> None:
    accounts.change_address(user=lea, address="nina@example.org", by=root)
    provider.at_the_keyboard = NINA | {"email_verified": verified}
    assert sign_in(client)[0] == 403
    # Not by an invite either: it makes an account of its own, which does not get the address.
    sign_in(client, next=invite_to(project))
    assert who(client) == "nina"
    assert User.objects.get(username="nina").email == ""
    assert EmailAddress.objects.get().user == lea


def test_an_address_that_nobody_vouched_for_finds_nobody(client: Client, project: Project, provider: Provider) -> None:
    User.objects.filter(username="lea").update(email="nina@example.org")
    assert sign_in(client)[0] == 403
    assert sign_in(client, next=invite_to(project))[0] == 403
    assert Invite.objects.get().used_at is None


def test_a_name_that_is_taken_gets_a_number(client: Client, project: Project, provider: Provider) -> None:
    provider.at_the_keyboard = NINA | {"preferred_username": "alice"}
    sign_in(client, next=invite_to(project))
    assert who(client).startswith(("nina", "alice", "novak"))
    assert who(client) != "alice"
    assert User.objects.get(username="alice").is_staff


def test_a_domain_of_the_settings_needs_no_invite_and_sees_no_project(
    client: Client, project: Project, provider: Provider, settings: Settings
) -> None:
    settings.OIDC_DOMAINS = ["example.org"]
    for said in (
        {"email": "nina@evil-example.org"},
        {"email": "nina@sub.example.org"},
        {"email": ""},
        {"email_verified": False},
    ):
        provider.at_the_keyboard = NINA | said
        assert sign_in(client)[0] == 403
    provider.at_the_keyboard = dict(NINA)
    assert sign_in(client)[:2] == (302, "/")
    assert who(client) == "nina"
    assert not Membership.objects.filter(user__username="nina").exists()
    assert client.get(reverse("annotate:project", args=[project.pk])).status_code == 404


def test_a_closed_account_stays_closed(client: Client, project: Project, provider: Provider, root: User) -> None:
    sign_in(client, next=invite_to(project))
    nina = User.objects.get(username="nina")
    client.logout()
    accounts.deactivate_account(user=nina, by=root)
    assert sign_in(client)[1] == reverse("account_inactive")
    assert who(client) == ""
    SocialAccount.objects.all().delete()
    assert sign_in(client)[0] == 403
    assert not SocialAccount.objects.exists()


def test_a_second_factor_is_asked_for_after_the_provider_too(
    client: Client, project: Project, provider: Provider, root: User, lea: User
) -> None:
    Authenticator.objects.create(user=lea, type=Authenticator.Type.TOTP, data={"secret": "JBSWY3DPEHPK3PXP"})
    accounts.change_address(user=lea, address="nina@example.org", by=root)
    assert sign_in(client)[1] == reverse("mfa_authenticate")
    assert who(client) == ""


def test_people_connect_and_disconnect_it_themselves(client: Client, provider: Provider, bob: User) -> None:
    client.force_login(bob)
    page = reverse("socialaccount_connections")
    assert "Connect Example ID" in client.get(page).content.decode()
    status, confirm, _ = sign_in(client, process="connect")
    assert (status, confirm) == (302, reverse("account_reauthenticate"))
    assert not SocialAccount.objects.exists()
    assert client.post(confirm, {"password": PASSWORD})["Location"] == page
    connected = SocialAccount.objects.get()
    assert connected.user == bob
    body = client.get(page).content.decode()
    assert inline(body) == []
    assert "Disconnect" in body
    client.logout()
    assert sign_in(client)[:2] == (302, "/")
    assert who(client) == "bob"
    confirm = client.post(page, {"account": connected.pk})["Location"]
    assert confirm.startswith(reverse("account_reauthenticate"))
    client.post(confirm, {"password": PASSWORD})
    client.post(page, {"account": connected.pk})
    assert not SocialAccount.objects.exists()
    assert AuditEntry.objects.filter(verb="account.disconnected", subject="bob").exists()


def test_who_has_no_password_keeps_the_sign_in_and_nobody_takes_anothers(
    client: Client, project: Project, provider: Provider, bob: User
) -> None:
    sign_in(client, next=invite_to(project))
    page, nina = reverse("socialaccount_connections"), SocialAccount.objects.get()
    assert "you could not come back" in client.post(page, {"account": nina.pk}).content.decode()
    client.force_login(bob)
    client.post(page, {"account": nina.pk})
    confirm = sign_in(client, process="connect")[1]
    client.post(confirm, {"password": PASSWORD})
    nina.refresh_from_db()
    assert nina.user.username == "nina"


def test_an_answer_that_was_not_asked_for_or_is_used_twice_opens_nothing(
    client: Client, project: Project, provider: Provider
) -> None:
    sign_in(client, next=invite_to(project))
    client.logout()
    there = to_the_provider(client)
    answered = urlsplit(httpx.get(there).headers["Location"])
    victim = Client()
    assert victim.get(f"{answered.path}?{answered.query}").status_code == 502
    assert who(victim) == ""
    assert client.get(f"{answered.path}?{answered.query}").status_code == 302
    client.logout()
    assert client.get(f"{answered.path}?{answered.query}").status_code == 502
    assert client.get(reverse("openid_connect_callback")).status_code == 502
    assert who(client) == ""


def test_a_code_is_worth_nothing_without_its_verifier(client: Client, db: None, provider: Provider) -> None:
    answered = parse_qs(urlsplit(httpx.get(to_the_provider(client)).headers["Location"]).query)
    sent = {
        "grant_type": "authorization_code",
        "code": answered["code"][0],
        "redirect_uri": COMES_BACK_TO,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    refused = httpx.post(f"{provider.issuer}/token", data=sent)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    wrong = httpx.post(f"{provider.issuer}/token", data=sent | {"code_verifier": "x" * 43})
    assert wrong.json()["error"] == "invalid_grant"


def test_a_provider_that_contradicts_itself_opens_nothing(
    client: Client, project: Project, provider: Provider, root: User, lea: User
) -> None:
    accounts.change_address(user=lea, address="lea@example.org", by=root)
    provider.userinfo_says = {"sub": "someone-else", "email": "lea@example.org", "email_verified": True}
    status, _, body = sign_in(client)
    assert status == 502
    assert "did not work" in body
    assert who(client) == ""
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("said", [{"aud": ["another-site"]}, {"iss": "https://evil.example"}, {"exp": 1_000_000}])
def test_an_id_token_for_others_from_others_or_of_yesterday_opens_nothing(
    client: Client, project: Project, provider: Provider, root: User, lea: User, said: dict[str, object]
) -> None:
    accounts.change_address(user=lea, address="nina@example.org", by=root)
    provider.id_token_says = said
    assert sign_in(client)[0] == 502
    assert who(client) == ""


def test_cancelling_and_a_provider_that_is_away_are_said_calmly(
    client: Client, db: None, provider: Provider, settings: Settings
) -> None:
    provider.at_the_keyboard = None
    status, where, _ = sign_in(client)
    assert (status, where) == (302, reverse("account_login"))
    assert "it was cancelled" in client.get(where).content.decode()
    app = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
    app["settings"]["server_url"] = "http://127.0.0.1:9"
    answer = client.post(reverse("provider_sign_in"))
    assert answer.status_code == 502
    assert inline(answer.content.decode()) == []


def test_the_way_there_never_leads_off_the_site_after(client: Client, project: Project, provider: Provider) -> None:
    sign_in(client, next=invite_to(project))
    client.logout()
    assert sign_in(client, next="https://evil.example/")[1] == "/"
