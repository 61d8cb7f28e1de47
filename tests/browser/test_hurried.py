"""A hurried person in a real browser: what was said is saved as it was said, once, and nothing else is."""

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visit, WebSite, Wire
from tests.browser.hands import NOTHING_MS, eventually, message, press, settled
from tests.browser.test_judging import judgments

WIDE = {
    "messages": [{"role": "user", "content": "What is the sum?"}],
    "a": "$$" + " + ".join(f"x_{{{number}}}^{{2}}" for number in range(120)) + " = 0$$",
    "b": "It is nought.",
}


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("settings", [{"allow_edits": True}, {"judging": "thumbs"}, {}])
def test_enter_on_a_ticked_reason_is_no_choice(
    site: WebSite, visit: Visit, settings: dict[str, object], scripts: bool
) -> None:
    """A browser sends a form by its first button when Enter is pressed in a box of it."""
    desk = site.seed(pairs=2, thumbs=2, settings={"reason_tags": ["Tone"], **settings})
    if not scripts:
        visit.forgive("422")
    page = visit(desk, desk.judge, java_script_enabled=scripts)
    page.locator("details.why summary").click()
    page.get_by_label("Tone").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_timeout(NOTHING_MS)
    if not scripts:
        expect(page.locator(".notice[role=alert]")).to_contain_text("Nothing was chosen")
    expect(page.get_by_label("Tone")).to_be_checked()
    assert judgments(site, desk) == []
    assert site.rows("SELECT value FROM annotate_rating WHERE project_id = ?", desk.project) == []


def test_the_arrows_scroll_a_wide_formula_and_decide_nothing(site: WebSite, visit: Visit) -> None:
    desk = site.seed(items=[WIDE])
    page = visit(desk, desk.judge)
    formula = page.locator(".answer math")
    expect(formula).to_have_attribute("tabindex", "0")
    formula.focus()
    page.keyboard.press("ArrowRight")
    eventually(page, lambda: formula.evaluate("node => node.scrollLeft") > 0)
    assert judgments(site, desk) == []


def test_an_undo_right_behind_a_choice_takes_nothing_older_back(site: WebSite, visit: Visit) -> None:
    """While a choice is on its way the button still means the one before."""
    desk = site.seed(pairs=3)
    wire = Wire(r"/judge/$")
    page = visit(desk, desk.judge, wire)
    press(page, "a")
    second = message(page)
    held: list[Route] = []
    wire.befalls = held.append
    settled(page)
    page.keyboard.press("b")
    page.keyboard.press("u")
    page.wait_for_timeout(NOTHING_MS)
    eventually(page, lambda: bool(held))
    held[0].continue_()
    expect(page.locator("[data-hook=message]")).not_to_have_text(second)
    expect(page.locator("[data-hook=before]")).to_have_count(0)
    assert judgments(site, desk) == [("A", ""), ("B", "")]
    assert site.rows(
        "SELECT count(*) FROM annotate_judgment WHERE superseded_at IS NOT NULL AND project_id = ?", desk.project
    ) == [(0,)]


def test_an_undo_or_a_stop_while_a_choice_waits_loses_neither_it_nor_its_reasons(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=3, settings={"ask_rationale": "optional"})
    wire = Wire(r"/judge/$")
    page = visit(desk, desk.judge, wire)
    press(page, "a")
    second = message(page)
    settled(page)
    page.keyboard.press("r")
    page.keyboard.type("It is kind.")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Why, in a few words")).to_have_value("It is kind.")
    visit.forgive("ERR_CONNECTION_FAILED", "htmx:error: Failed to fetch")
    wire.befalls = lambda route: route.abort("connectionfailed")
    page.keyboard.press("b")
    expect(page.locator(".toast")).to_contain_text("Not saved yet")
    page.keyboard.press("u")
    # Nor is its item handed back, whatever one answers to the browser's question.
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Stop for now").click()
    page.wait_for_timeout(NOTHING_MS)
    assert message(page) == second
    assert page.url.endswith(desk.judge)
    wire.befalls = Route.continue_
    expect(page.locator("[data-hook=message]")).not_to_have_text(second)
    assert site.rows(
        "SELECT choice, rationale FROM annotate_judgment WHERE project_id = ? ORDER BY id", desk.project
    ) == [
        ("A", ""),
        ("B", "It is kind."),
    ]


def test_reasons_that_were_begun_outlive_an_undo(site: WebSite, visit: Visit) -> None:
    """What is typed for one pair is still there after the pair before was taken back and decided again."""
    desk = site.seed(pairs=2, settings={"ask_rationale": "required"})
    page = visit(desk, desk.judge)
    page.keyboard.press("r")
    page.keyboard.type("First.")
    page.keyboard.press("Escape")
    press(page, "a")
    second = message(page)
    settled(page)
    visit.forgive("422")
    page.keyboard.press("b")  # Refused: the reasons are missing.
    expect(page.locator(".notice[role=alert]")).to_contain_text("write a few words")
    page.get_by_label("Why, in a few words").fill("Second.")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(page.locator("[data-hook=before]")).to_be_visible()
    press(page, "b")
    page.goto(desk.judge)
    assert message(page) == second
    expect(page.get_by_label("Why, in a few words")).to_have_value("Second.")


def test_an_undo_that_fails_says_so(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    wire = Wire(r"/undo/$")
    page = visit(desk, desk.judge, wire)
    press(page, "a")
    visit.forgive("502")
    wire.befalls = lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>")
    settled(page)
    page.keyboard.press("u")
    expect(page.locator(".toast")).to_be_visible()


def test_a_draft_of_reasons_that_are_no_longer_asked_breaks_nothing(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2, settings={"ask_rationale": "optional"})
    page = visit(desk, desk.judge)
    page.keyboard.press("r")
    page.keyboard.type("It is kind.")
    site.rows("UPDATE annotate_project SET ask_rationale = 'no' WHERE id = ?", desk.project)
    page.reload()
    press(page, "a")
    assert judgments(site, desk) == [("A", "")]


def test_ranks_that_were_all_taken_away_do_not_come_back(site: WebSite, visit: Visit) -> None:
    desk = site.seed(rankings=1, settings={"judging": "ranking"})
    page = visit(desk, desk.rank)
    page.keyboard.press("1")
    page.keyboard.press("a")
    page.keyboard.press("Backspace")
    expect(page.locator(".rank-order")).to_have_text("0 of 4 ranked")
    page.reload()
    expect(page.locator(".rank-order")).to_have_text("0 of 4 ranked")
