"""In a real browser: a choice that got no answer outlives its page, and is sent by the next one of the same person."""

import json

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Desk, Visit, WebSite, Wire
from tests.browser.hands import NOTHING_MS, cut_off, eventually, message, press, settled

LOST = ("ERR_INTERNET_DISCONNECTED", "htmx:error: Failed to fetch")
KEPT = "Object.keys(localStorage).filter(key => key.includes('draft'))"


def leave(page: Page) -> None:
    """Waits until the choice is known not to have arrived, and closes the page all the same."""
    expect(page.locator(".toast")).to_contain_text("Not saved yet")
    page.close()
    page.context.set_offline(False)


def back(page: Page, path: str) -> Page:
    """The same browser again, at another time."""
    again = page.context.new_page()
    again.goto(path)
    return again


def sign_in(page: Page, site: WebSite, desk: Desk) -> None:
    page.context.clear_cookies(name="sessionid")
    page.context.add_cookies([{"name": "sessionid", "value": desk.session, "url": site.url}])


def judgments(site: WebSite, desk: Desk, columns: str = "choice") -> list[tuple[object, ...]]:
    return site.rows(f"SELECT {columns} FROM annotate_judgment WHERE project_id = ? ORDER BY id", desk.project)  # noqa: S608


def test_what_was_written_for_a_pair_is_sent_by_the_next_page_and_said(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2, settings={"allow_edits": True})
    page = visit(desk, desk.judge)
    visit.forgive(*LOST)
    first, answer = message(page), page.locator("[data-hook=b]").inner_text()
    page.keyboard.press("r")
    page.keyboard.type("It is kind.")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.keyboard.press("b")
    page.keyboard.press("Control+End")
    page.keyboard.type(" Sorry.")
    cut_off(page)
    page.keyboard.press("Control+Enter")
    leave(page)
    assert judgments(site, desk) == []
    page = back(page, desk.judge)
    expect(page.locator("#unsent")).to_contain_text("The judgment from before is saved: B is better, like this")
    expect(page.locator("[data-hook=message]")).not_to_have_text(first)
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert judgments(site, desk, "choice, rationale") == [("B", "It is kind.")]
    written = (
        "SELECT text FROM annotate_response r JOIN annotate_judgment j ON j.edited_id = r.id WHERE j.project_id = ?"
    )
    assert site.rows(written, desk.project) == [(f"{answer} Sorry.",)]
    assert page.evaluate(KEPT) == []
    press(page, "a")
    expect(page.locator("#unsent")).to_be_empty()
    assert judgments(site, desk) == [("B",), ("A",)]


def test_a_thumb_is_sent_from_the_page_of_pairs_which_keeps_its_pair(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=1, thumbs=2)
    page = visit(desk, desk.thumbs)
    visit.forgive(*LOST)
    cut_off(page)
    page.keyboard.press("2")
    leave(page)
    page = back(page, desk.judge)
    expect(page.locator("#unsent")).to_contain_text("saved: Bad")
    press(page, "a")
    assert site.rows("SELECT value FROM annotate_rating WHERE project_id = ?", desk.project) == [("down",)]
    held = "SELECT count(*) FROM annotate_slot WHERE state = 'leased' AND project_id = ?"
    assert site.rows(held, desk.project) == [(1,)]


def test_an_order_is_sent_although_its_time_has_run_out_and_nobody_else_was_asked(site: WebSite, visit: Visit) -> None:
    desk = site.seed(rankings=1, settings={"judging": "ranking"})
    page = visit(desk, desk.rank)
    visit.forgive(*LOST)
    for key in "2134":
        page.keyboard.press(key)
    cut_off(page)
    page.keyboard.press("Enter")
    leave(page)
    site.rows("UPDATE annotate_slot SET lease_until = '2026-01-01' WHERE project_id = ?", desk.project)
    page = back(page, desk.rank)
    expect(page.locator("#unsent")).to_contain_text("saved: B › A › C › D")
    [(ranks,)] = site.rows("SELECT ranks FROM annotate_ranking WHERE project_id = ?", desk.project)
    assert json.loads(ranks) == [2, 1, 3, 4]
    assert page.evaluate(KEPT) == []


def test_another_person_at_the_same_browser_neither_sees_nor_sends_it(site: WebSite, visit: Visit) -> None:
    desk, other = site.seed(pairs=2), site.seed()
    [(who,)] = site.rows("SELECT id FROM annotate_user WHERE username = ?", other.username)
    site.rows("UPDATE annotate_membership SET project_id = ? WHERE user_id = ?", desk.project, who)
    page = visit(desk, desk.judge)
    visit.forgive(*LOST)
    page.keyboard.press("r")
    page.keyboard.type("Mine alone.")
    page.keyboard.press("Escape")
    cut_off(page)
    page.keyboard.press("b")
    leave(page)
    sign_in(page, site, other)
    theirs = back(page, desk.judge)
    theirs.get_by_role("button", name="I have read it").click()
    expect(theirs.locator("article.item")).to_be_visible()
    press(theirs, "t")
    theirs.wait_for_timeout(NOTHING_MS)
    expect(theirs.locator("#unsent")).to_be_empty()
    assert "Mine alone." not in theirs.content()
    assert judgments(site, desk) == [("tie",)]
    sign_in(page, site, desk)
    page = back(page, desk.judge)
    expect(page.locator("#unsent")).to_contain_text("saved: B is better")
    assert judgments(site, desk, "choice, rationale") == [("tie", ""), ("B", "Mine alone.")]


def test_what_is_refused_says_why_and_keeps_the_words_until_they_were_seen(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    visit.forgive(*LOST)
    page.keyboard.press("r")
    page.keyboard.type("Long thought about.")
    page.keyboard.press("Escape")
    cut_off(page)
    page.keyboard.press("b")
    leave(page)
    held = "UPDATE annotate_slot SET state = 'withdrawn' WHERE state = 'leased' AND project_id = ?"
    site.rows(held, desk.project)
    for _ in range(2):
        page = back(page, desk.judge)
        expect(page.locator("#unsent")).to_contain_text("It was withdrawn in the meantime.")
        expect(page.get_by_label("What you had written")).to_have_value("Long thought about.")
    page.get_by_role("button", name="All right").click()
    expect(page.locator("#unsent")).to_be_empty()
    expect(page.locator("article.item")).to_be_focused()
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('unsent'))") == []
    assert judgments(site, desk) == []


def test_two_tabs_send_it_at_once_and_it_is_one_judgment(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    wire = Wire(r"/judge/$")
    page = visit(desk, desk.judge, wire)
    visit.forgive("502")
    wire.befalls = lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>")
    settled(page)
    page.keyboard.press("a")
    leave(page)
    held: list[Route] = []
    wire.befalls = lambda route: held.append(route) if route.request.method == "POST" else route.continue_()
    tabs = [back(page, desk.judge), back(page, desk.judge)]
    eventually(tabs[0], lambda: len(held) == 2)
    # Nothing is decided anew while it is on its way.
    expect(tabs[0].locator("#unsent")).to_contain_text("It is being sent now")
    tabs[0].keyboard.press("b")
    wire.befalls = Route.continue_
    for route in held:
        route.continue_()
    for tab in tabs:
        expect(tab.locator("#unsent")).to_contain_text("saved: A is better")
        expect(tab.locator("[data-hook=today]")).to_have_text("1 today")
    assert judgments(site, desk) == [("A",)]


def test_while_the_server_stays_away_it_waits_and_goes_when_told(site: WebSite, visit: Visit) -> None:
    """Also what was still on its way when the page was left."""
    desk = site.seed(pairs=2)
    wire = Wire(r"/judge/$")
    page = visit(desk, desk.judge, wire)
    visit.forgive("503")
    held: list[Route] = []
    wire.befalls = held.append
    settled(page)
    page.keyboard.press("a")
    eventually(page, lambda: bool(held))
    page.goto(f"/projects/{desk.project}/guideline/")
    wire.befalls = lambda route: (
        route.fulfill(status=503, body="") if route.request.method == "POST" else route.continue_()
    )
    page.goto(desk.judge)
    expect(page.locator("#unsent")).to_contain_text("the server cannot be reached")
    assert judgments(site, desk) == []
    wire.befalls = Route.continue_
    page.get_by_role("button", name="Send now").click()
    expect(page.locator("#unsent")).to_contain_text("saved: A is better")
    assert judgments(site, desk) == [("A",)]
