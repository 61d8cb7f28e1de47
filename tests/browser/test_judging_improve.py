"""In a real browser, by keyboard: the better answer is improved, and what is written there is not lost."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Desk, Visit, WebSite
from tests.browser.hands import settled


def saved(site: WebSite, desk: Desk) -> list[tuple[object, ...]]:
    query = (
        "SELECT j.choice, r.text FROM annotate_judgment j LEFT JOIN annotate_response r ON r.id = j.edited_id "
        "WHERE j.project_id = ? AND j.superseded_at IS NULL ORDER BY j.id"
    )
    return site.rows(query, desk.project)


def box(page: Page, side: str) -> str:
    return f".improve[data-side={side}] textarea"


def test_e_and_a_side_open_the_box_and_ctrl_enter_saves_what_was_written(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=3, settings={"allow_edits": True})
    page = visit(desk, desk.judge)
    answer = page.locator("[data-hook=b]").inner_text()
    page.keyboard.press("e")
    expect(page.locator(".improve-ask")).to_be_visible()
    page.keyboard.press("t")  # answers no question: it is closed, and nothing is decided
    expect(page.locator(".improve-ask")).to_be_hidden()
    assert saved(site, desk) == []
    page.keyboard.press("e")
    page.keyboard.press("ArrowRight")
    expect(page.locator(box(page, "B"))).to_be_focused()
    expect(page.locator(box(page, "B"))).to_have_value(answer)
    page.keyboard.press("Control+End")
    page.keyboard.type(" abt12 must not send")
    page.reload()
    expect(page.locator(box(page, "B"))).to_have_value(f"{answer} abt12 must not send")
    page.keyboard.press("e")  # one was begun: straight back to it
    expect(page.locator(box(page, "B"))).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert saved(site, desk) == [("B", f"{answer} abt12 must not send")]
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('draft'))") == []
    settled(page)
    page.keyboard.press("u")
    expect(page.locator(box(page, "B"))).to_have_value(f"{answer} abt12 must not send")


def test_a_version_of_the_other_side_is_asked_about_and_escape_leads_back_to_the_keys(
    site: WebSite, visit: Visit
) -> None:
    desk = site.seed(pairs=2, settings={"allow_edits": True})
    page = visit(desk, desk.judge)
    page.keyboard.press("e")
    page.keyboard.press("a")
    page.keyboard.type("Sorry. ")
    page.keyboard.press("Escape")
    visit.forgive("422")
    page.keyboard.press("b")
    expect(page.get_by_role("alert").first).to_contain_text("own version of A")
    expect(page.locator(box(page, "A"))).to_be_focused()
    page.keyboard.press("Escape")
    settled(page)
    page.keyboard.press("a")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    [(choice, text)] = saved(site, desk)
    assert choice == "A"
    assert "Sorry. " in str(text)


def test_an_answer_that_nobody_touched_is_not_sent_back(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2, settings={"allow_edits": True})
    page = visit(desk, desk.judge)
    with page.expect_request(lambda request: request.method == "POST") as sent:
        page.keyboard.press("a")
    assert "edited_" not in (sent.value.post_data or "")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert saved(site, desk) == [("A", None)]
