"""Headers, pages without inline script, sign-in limits, and Django's own deployment check."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import cache
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from annotate.models import User
from tests.cast import PASSWORD
from tests.web.test_access import TABLE, address, world

__all__ = ["world"]  # The fixture.


class Inline(HTMLParser):
    """Collects what a strict content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in values):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if name == "style" or name.startswith(("on", "hx-on")) or (value or "").strip().startswith("javascript:"):
                self.found.append(f"<{tag} {name}={value!r}>")
            if name in ("src", "href", "action") and (value or "").startswith(("http:", "https:", "//")):
                self.found.append(f"<{tag} {name}={value!r}>: not ours")


def inline(body: str) -> list[str]:
    parser = Inline()
    parser.feed(body)
    return parser.found


def test_no_page_needs_what_the_policy_forbids(world: dict[str, object]) -> None:
    alice = User.objects.get(username="alice")
    for name in [name for name, page in TABLE.items() if page.get]:
        client = Client()
        if name != "account_login":
            client.force_login(alice)
        response = client.get(address(name, world))
        if response.headers["Content-Type"].startswith("text/html"):
            assert (name, inline(response.content.decode())) == (name, [])
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, name
        assert "script-src 'self'" in policy, name
        assert "unsafe" not in policy, name
        assert response.headers["X-Content-Type-Options"] == "nosniff", name
        assert response.headers["X-Frame-Options"] == "DENY", name
        assert response.headers["Referrer-Policy"] == "same-origin", name


@pytest.mark.parametrize("template", ["403.html", "403_csrf.html", "404.html", "429.html", "500.html"])
def test_error_pages_stand_by_themselves(template: str, db: None) -> None:
    body = render_to_string(template)
    assert inline(body) == []
    assert "<h1>" in body


def test_the_inline_checker_sees_what_it_should() -> None:
    for bad in (
        "<style>a{}</style>",
        "<script>1</script>",
        '<p style="x">',
        '<a href="javascript:x">',
        '<b onclick="x">',
    ):
        assert inline(bad)
    assert not inline('<script src="/x.js" defer></script><p class="on">')


def test_missing_and_forbidden_pages_are_ours(client: Client, world: dict[str, object], charlie: User) -> None:
    client.force_login(charlie)
    missing = client.get(reverse("annotate:project", args=[world["project_id"]]))
    assert b"There is nothing here" in missing.content
    client.force_login(User.objects.get(username="bob"))
    forbidden = client.get(reverse("annotate:people", args=[world["project_id"]]))
    assert b"This page is for the project&#x27;s leads." in forbidden.content


def test_signing_in_works_and_a_wrong_password_says_so_without_saying_which(client: Client, bob: User) -> None:
    cache.clear()
    url = reverse("account_login")
    wrong = client.post(url, {"login": "bob", "password": "nonsense"}).content.decode()
    nobody = client.post(url, {"login": "nobody", "password": "nonsense"}).content.decode()
    assert "User name or password is wrong." in wrong
    assert "User name or password is wrong." in nobody
    response = client.post(url, {"login": "bob", "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/")
    cookie = response.cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_signing_in_leads_to_the_page_that_was_asked_for_and_never_off_the_site(client: Client, bob: User) -> None:
    cache.clear()
    url = reverse("account_login")
    for target, expected in (("/projects/1/", "/projects/1/"), ("https://evil.example/", "/"), ("//evil.example", "/")):
        response = client.post(url, {"login": "bob", "password": PASSWORD, "next": target})
        assert response["Location"] == expected
        client.logout()


def test_guessing_a_password_is_slowed_down(client: Client, bob: User) -> None:
    cache.clear()
    url = reverse("account_login")
    for _ in range(8):
        client.post(url, {"login": "bob", "password": "nonsense"})
    assert "Too many" in client.post(url, {"login": "bob", "password": PASSWORD}).content.decode()
    assert client.get(reverse("annotate:home")).status_code == 302
    cache.clear()


def test_signing_out_takes_a_post(client: Client, bob: User) -> None:
    client.force_login(bob)
    assert client.get(reverse("account_logout")).status_code == 200
    assert client.get(reverse("annotate:home")).status_code == 200
    client.post(reverse("account_logout"))
    assert client.get(reverse("annotate:home")).status_code == 302


def test_a_password_can_be_changed_by_who_knows_it(client: Client, bob: User) -> None:
    cache.clear()
    client.force_login(bob)
    url = reverse("account_change_password")
    new = {"password1": "another long sentence", "password2": "another long sentence"}
    client.post(url, {"oldpassword": "nonsense", **new})
    bob.refresh_from_db()
    assert bob.check_password(PASSWORD)
    client.post(url, {"oldpassword": PASSWORD, **new})
    bob.refresh_from_db()
    assert bob.check_password("another long sentence")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "PAIRLOOP_REQUIRE_MFA": "1",
            "PAIRLOOP_OIDC_ISSUER": "https://login.example.org/realms/team",
            "PAIRLOOP_OIDC_CLIENT_ID": "pairloop",
            "PAIRLOOP_OIDC_CLIENT_SECRET": "a secret",
        },
    ],
    ids=["the least", "with a provider"],
)
def test_djangos_deployment_check_is_clean_with_the_documented_settings(tmp_path: Path, more: dict[str, str]) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PAIRLOOP_")}
    env |= {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PAIRLOOP_HOME": str(tmp_path),
        "PAIRLOOP_HTTPS": "1",
        "PAIRLOOP_HOSTS": "pairloop.example.org",
        "PAIRLOOP_TRUSTED_ORIGINS": "https://pairloop.example.org",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=settings.BASE_DIR,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
