"""German words are long: on a narrow phone every page still fits. The language is chosen with or without scripts."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Desk, Visit, WebSite
from tests.browser.hands import settled

PHONE = {"width": 320, "height": 640}
PAGES = ["", "judge/", "thumbs/", "history/", "guideline/", "dashboard/", "queue/", "quality/", "review/", "people/"]
PAGES += [
    "prompts/",
    "prompts/import/",
    "export/",
    "settings/",
    "audit/",
    "retractions/",
    "runs/",
    "policies/",
    "loop/",
]
# What reaches beyond the window, but for what scrolls by itself or cannot be seen; nothing where all fits.
TOO_WIDE = """() => [...document.querySelectorAll("body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    const apart = ".table-wrap, .tabs, pre, .visually-hidden, .skip-link, dialog";
    return box.width > 0 && box.right > window.innerWidth + 1 && element.checkVisibility() && !element.closest(apart);
}).map((element) => element.outerHTML.slice(0, 120)).slice(0, 5)"""


@pytest.fixture(scope="module")
def desk(site: WebSite) -> Desk:
    return site.seed(
        pairs=3,
        thumbs=1,
        lead=True,
        settings={"ask_strength": True, "reason_tags": ["Ton", "Sicherheit"], "allow_edits": True},
    )


def assert_fits(page: Page) -> None:
    width = page.evaluate("document.documentElement.scrollWidth")
    assert (page.url, width, page.evaluate(TOO_WIDE)) == (page.url, PHONE["width"], [])


def test_every_page_fits_on_a_narrow_phone(desk: Desk, visit: Visit) -> None:
    page = visit(desk, "/", locale="de-DE", viewport=PHONE)
    assert page.locator("html").get_attribute("lang") == "de"
    assert_fits(page)
    for path in PAGES:
        page.goto(f"/projects/{desk.project}/{path}")
        assert_fits(page)
    page.goto("/account/")
    assert_fits(page)
    page.context.clear_cookies()
    page.goto("/accounts/login/")
    assert_fits(page)


def test_judging_in_german_fits_with_everything_open(desk: Desk, visit: Visit) -> None:
    page = visit(desk, desk.judge, locale="de-DE", viewport=PHONE)
    page.locator("summary", has_text="Auslassen").click()
    assert_fits(page)
    page.keyboard.press("Escape")
    page.get_by_text("Diesen Prompt melden").click()
    assert_fits(page)
    page.get_by_role("button", name="Gleich gut").click()
    page.get_by_role("button", name="Rückgängig").wait_for()
    assert_fits(page)
    settled(page)
    page.get_by_role("button", name="Rückgängig").click()
    expect(page.locator("[data-hook=before]")).to_contain_text("Rückgängig gemacht: Diese Aufgabe ist wieder offen.")


@pytest.mark.parametrize("scripts", [True, False])
def test_the_language_is_chosen_at_the_top_of_a_page_and_kept(desk: Desk, visit: Visit, scripts: bool) -> None:
    page = visit(desk, f"/projects/{desk.project}/history/?kind=thumb", locale="en-GB", java_script_enabled=scripts)
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ihr Verlauf")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    assert page.url.endswith("/history/?kind=thumb")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your history")
