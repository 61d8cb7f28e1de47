"""A passkey is added, signs in alone or beside the password, and is removed: with Chromium's virtual authenticator."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.axe import violations
from tests.browser.conftest import Desk, Visit, WebSite
from tests.cast import PASSWORD


@pytest.fixture
def page(site: WebSite, visit: Visit) -> Page:
    """Not signed in, at a name that browsers allow passkeys for without HTTPS, with a device that says yes."""
    desk = site.seed(pairs=1)
    made = visit(desk, "/accounts/login/", base_url=site.url.replace("127.0.0.1", "localhost"))
    devtools = made.context.new_cdp_session(made)
    devtools.send("WebAuthn.enable")
    device = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    device |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": device})
    made.__dict__["desk"] = desk
    return made


def desk_of(page: Page) -> Desk:
    desk = page.__dict__["desk"]
    assert isinstance(desk, Desk)
    return desk


def sign_in(page: Page) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("User name").fill(desk_of(page).username)
    page.get_by_label("Password").fill(PASSWORD)
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.context.clear_cookies()
    page.goto("/accounts/login/")


def confirm(page: Page, wanted: Locator) -> None:
    """Says that it is still the same person, by a passkey where there is one, if that is asked."""
    asked = page.get_by_role("heading", name="Is it you?")
    expect(wanted.or_(asked)).to_be_visible()
    if asked.count():
        other = page.get_by_role("link", name="With a passkey instead")
        if other.count():
            other.click()
            page.get_by_role("button", name="With a passkey").click()
        else:
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Confirm").click()
    expect(wanted).to_be_visible()


def add(page: Page, name: str, *, alone: bool) -> None:
    page.goto("/account/")
    page.get_by_role("link", name="Add a passkey").click()
    confirm(page, page.get_by_label("Name"))
    page.get_by_label("Name").fill(name)
    page.get_by_label("Sign in with it alone").set_checked(alone)
    assert violations(page, "add") == []
    page.get_by_role("button", name="Add a passkey").click()


def test_a_passkey_signs_in_alone_and_beside_the_password_until_it_is_removed(page: Page) -> None:
    sign_in(page)
    expect(page).to_have_url(re.compile(r"localhost:\d+/$"))
    add(page, "My phone", alone=True)
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.goto("/account/")
    expect(page.get_by_text("signs in alone")).to_be_visible()
    assert violations(page, "account") == []

    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page).to_have_url(re.compile(r"localhost:\d+/$"))

    sign_out(page)
    sign_in(page)
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    assert violations(page, "second factor") == []
    page.get_by_role("button", name="With a passkey").click()
    expect(page).to_have_url(re.compile(r"localhost:\d+/$"))

    page.goto("/account/")
    page.get_by_role("link", name="Remove My phone").click()
    confirm(page, page.get_by_role("button", name="Remove it"))
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("heading", name="Passkeys")).to_be_visible()
    expect(page.get_by_text("My phone")).to_have_count(0)


def test_a_key_beside_the_password_is_known_and_does_not_open_the_door_alone(page: Page) -> None:
    sign_in(page)
    expect(page).to_have_url(re.compile(r"localhost:\d+/$"))
    add(page, "Spare key", alone=False)
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.goto("/account/")
    expect(page.get_by_text("beside the password")).to_be_visible()
    add(page, "The same again", alone=False)
    expect(page.get_by_text("has a passkey for your account already")).to_be_visible()
    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_text("No passkey came back")).to_be_visible()


def test_where_a_browser_allows_no_passkeys_nobody_is_led_to_them(page: Page) -> None:
    page.add_init_script("delete window.PublicKeyCredential;")
    page.goto("/accounts/login/")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_enabled()
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
    sign_in(page)
    page.goto("/accounts/passkeys/add/")
    confirm(page, page.get_by_text("This browser cannot use passkeys here"))
    expect(page.get_by_role("button", name="Add a passkey")).to_be_disabled()


def test_no_passkey_is_offered_at_an_address_that_is_a_number(site: WebSite, visit: Visit) -> None:
    """Browsers make none there, and would say so only after the press."""
    desk = site.seed(pairs=1)
    page = visit(desk, "/accounts/login/")
    page.context.clear_cookies()
    page.goto("/accounts/login/")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    expect(page.locator("form[data-passkey]")).to_be_hidden()
