"""No page breaks a rule of WCAG 2.2 AA that axe-core can check, light or dark."""

import pytest
from playwright.sync_api import Page

from tests.authenticator import code
from tests.browser.axe import violations, violations_when_narrow
from tests.browser.conftest import Desk, Visit, WebSite
from tests.browser.hands import press
from tests.cast import PASSWORD

FOR_ANNOTATORS = ["judge", "thumbs", "history", "guideline", "quiz"]
FOR_LEADS = [
    "dashboard",
    "queue",
    "quality",
    "review",
    "people",
    "prompts",
    "export",
    "settings",
    "audit",
    "retractions",
]
OF_TRAINING = ["runs", "policies", "loop"]  # while nothing is trained


@pytest.fixture(scope="module")
def desk(site: WebSite) -> Desk:
    return site.seed(
        pairs=3,
        thumbs=1,
        lead=True,
        settings={"ask_strength": True, "reason_tags": ["Tone", "Safety"], "allow_edits": True},
    )


def test_no_page_breaks_a_rule_that_can_be_checked(desk: Desk, visit: Visit) -> None:
    page = visit(desk, desk.judge)
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    press(page, "a")
    paths = [f"/projects/{desk.project}/{name}/" for name in [*FOR_ANNOTATORS, *FOR_LEADS, *OF_TRAINING]]
    broken = []
    for path in [
        *paths,
        f"/projects/{desk.project}/",
        "/",
        "/account/",
        "/accounts/confirm/",
        "/accounts/password/change/",
    ]:
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        broken += violations(page, path)
    page.context.clear_cookies()
    page.goto("/accounts/login/")
    assert broken + violations(page, "/accounts/login/") == []


def test_no_page_of_numbers_does_on_a_phone(desk: Desk, visit: Visit) -> None:
    """Tables scroll there: by keyboard too."""
    page = visit(desk, desk.judge, viewport={"width": 340, "height": 700})
    press(page, "a")  # The undo of another test's may be there already.
    broken = []
    for name in ("dashboard", "quality"):
        page.goto(f"/projects/{desk.project}/{name}/")
        page.evaluate("document.querySelectorAll('main details').forEach((details) => { details.open = true; })")
        broken += violations(page, name)
    assert not broken, "\n".join(broken)


def test_no_page_about_accounts_does(site: WebSite, visit: Visit) -> None:
    desk = site.seed(site_owner=True)
    page = visit(desk, "/accounts/people/")
    broken = violations(page, "accounts")
    page.get_by_role("link", name=desk.username).first.click()
    broken += violations(page, "account of")
    for path in ("/audit/", "/accounts/provider/connected/"):
        page.goto(path)
        broken += violations(page, path)
    page.goto("/accounts/second-factor/set-up/")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    picture = page.locator("img.qr")
    picture.wait_for()
    # The content security policy lets it in.
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    broken += violations(page, "second factor")
    page.get_by_label("Six digits").fill(code(page.locator(".secret").inner_text()))
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Recovery codes").wait_for()
    assert broken + violations(page, "recovery codes") == []


def test_rankings_break_none_either(site: WebSite, visit: Visit) -> None:
    desk = site.seed(rankings=2, lead=True, settings={"judging": "ranking"})
    page = visit(desk, desk.rank)
    page.keyboard.press("2")
    broken = violations(page, desk.rank)
    for key in ("1", "2", "3", "Enter"):
        page.keyboard.press(key)
    page.locator("#undo").wait_for()
    history = f"/projects/{desk.project}/history/"
    page.goto(history)
    broken += violations(page, history)
    page.get_by_role("link", name="Review what decision").click()
    page.get_by_role("heading", name="Your verdict").wait_for()
    broken += _wide_and_narrow(page, "ranked answers")
    for name in ("quality", "dashboard"):
        page.goto(f"/projects/{desk.project}/{name}/")
        broken += _wide_and_narrow(page, name)
    assert not broken, "\n".join(broken)


def _wide_and_narrow(page: Page, name: str) -> list[str]:
    """With everything open but the menu of tabs, which would lie over the page."""
    page.evaluate("document.querySelectorAll('main details:not(.more)').forEach((details) => { details.open = true; })")
    return violations(page, name) + violations_when_narrow(page, name)


def test_pages_about_training_that_happened_break_none(site: WebSite, visit: Visit) -> None:
    """Wide and on a phone, where nothing is wider than the screen either."""
    desk = site.seed(lead=True, history=True)
    [[trial]] = site.rows("SELECT id FROM training_trial WHERE project_id = ?", desk.project)
    [[rated]] = site.rows("SELECT response_id FROM annotate_rating WHERE project_id = ?", desk.project)
    [[comparison]] = site.rows("SELECT min(id) FROM annotate_comparison WHERE project_id = ?", desk.project)
    [[recipe]] = site.rows("SELECT id FROM training_recipe WHERE project_id = ?", desk.project)
    page = visit(desk, f"/projects/{desk.project}/", reduced_motion="reduce")
    broken = []
    for name in [
        *("", "runs/", "runs/1/", "runs/2/?with=1", "runs/start/?from=1&changed", "loop/"),
        *("policies/", "policies/1/", "policies/1/learned/", "policies/compare/?left=0&right=1"),
        *("policies/playground/", f"policies/trials/{trial}/", f"comparisons/{comparison}/", f"responses/{rated}/"),
        *("recipes/", "recipes/new/", f"recipes/{recipe}/", f"recipes/{recipe}/stages/1/"),
        *("recipes/runs/1/", "recipes/runs/1/again/"),
    ]:
        page.set_viewport_size({"width": 1280, "height": 800})
        answer = page.goto(f"/projects/{desk.project}/{name}")
        assert answer is not None
        assert answer.status == 200, name
        broken += _wide_and_narrow(page, name)
    assert not broken, "\n".join(broken)
