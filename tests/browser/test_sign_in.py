"""Signing in by a provider in a real browser: the content security policy holds, and no script is needed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.axe import violations
from tests.browser.conftest import PATIENCE_MS, WebSite, web_site
from tests.live_site import free_port
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, running_provider


@pytest.fixture(scope="module")
def there_and_here(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Provider, WebSite]]:
    """A provider, and a site whose environment names it."""
    home = tmp_path_factory.mktemp("site-with-provider") / "home"
    port = free_port()
    with (
        running_provider(f"http://127.0.0.1:{port}/accounts/provider/callback/") as provider,
        web_site(
            prepared,
            home,
            port,
            PAIRLOOP_OIDC_ISSUER=provider.issuer,
            PAIRLOOP_OIDC_CLIENT_ID=CLIENT_ID,
            PAIRLOOP_OIDC_CLIENT_SECRET=CLIENT_SECRET,
            PAIRLOOP_OIDC_NAME="Example ID",
        ) as site,
    ):
        yield provider, site


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_an_invite_and_the_provider_are_all_it_takes(
    browser: Browser, there_and_here: tuple[Provider, WebSite], scripts: bool
) -> None:
    provider, site = there_and_here
    errors: list[str] = []

    def opened(path: str, *, session: str = "") -> Page:
        context = browser.new_context(base_url=site.url, java_script_enabled=scripts)
        context.set_default_timeout(PATIENCE_MS)
        if session:
            context.add_cookies([{"name": "sessionid", "value": session, "url": site.url}])
        page = context.new_page()
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(path)
        return page

    desk = site.seed(lead=True)
    lead = opened(f"/projects/{desk.project}/people/", session=desk.session)
    lead.get_by_role("button", name="Make a link").click()
    link = lead.get_by_label("Link", exact=True).input_value()

    provider.at_the_keyboard = {"sub": f"nina-{scripts}", "preferred_username": f"nina-{scripts}".lower()}
    guest = opened(link)
    guest.get_by_role("button", name="Join with Example ID").click()
    guest.wait_for_url(f"**/projects/{desk.project}/")
    guest.goto("/account/")
    guest.get_by_text("You have none here").wait_for()
    if scripts:
        assert violations(guest, "/account/") == []
    with guest.expect_navigation():
        guest.get_by_role("button", name="Sign out").first.click()
    guest.goto("/accounts/login/")
    if scripts:
        assert violations(guest, "/accounts/login/") == []
    guest.get_by_role("button", name="Sign in with Example ID").click()
    guest.wait_for_url(site.url + "/")
    assert errors == []
