"""In a real browser, by keyboard and by pointer: answers are ordered from best to worst."""

import json

from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.browser.conftest import Desk, Visit, WebSite
from tests.browser.hands import settled


def saved(site: WebSite, desk: Desk) -> list[tuple[object, ...]]:
    query = "SELECT ranks, pairs FROM annotate_ranking WHERE project_id = ? AND superseded_at IS NULL ORDER BY id"
    return [(json.loads(ranks), pairs) for ranks, pairs in site.rows(query, desk.project)]


def opened(site: WebSite, visit: Visit, number: int = 3, **options: object) -> tuple[Desk, Page]:
    desk = site.seed(rankings=number, settings={"judging": "ranking", "reason_tags": ["Tone"]})
    return desk, visit(desk, desk.rank, **options)


def marked(page: Page) -> str:
    return str(page.locator(".answer.marked").get_attribute("data-letter"))


def test_digits_rank_one_answer_after_the_other_and_enter_saves(site: WebSite, visit: Visit) -> None:
    desk, page = opened(site, visit)
    assert marked(page) == "A"
    for key in ("2", "1", "7", "5", "2"):  # neither 7 nor 5 is a rank of four answers
        page.keyboard.press(key)
    assert marked(page) == "D"
    expect(page.locator(".rank-order")).to_have_text("3 of 4 ranked")
    page.keyboard.press("4")
    expect(page.locator(".rank-order")).to_have_text("B › A = C › D")
    expect(page.locator("#announce")).to_have_text("D: 4")
    page.keyboard.press("Enter")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    expect(page.locator("#announce")).to_have_text("Saved: B › A = C › D. Next answers to rank")
    assert saved(site, desk) == [([2, 1, 2, 3], 5)]
    expect(page.locator(".rank-order")).to_have_text("0 of 4 ranked")
    settled(page)
    page.keyboard.press("u")
    expect(page.locator(".rank-order")).to_have_text("B › A = C › D")
    assert saved(site, desk) == []


def test_arrows_and_letters_move_the_mark_and_a_reload_keeps_what_was_ranked(site: WebSite, visit: Visit) -> None:
    desk, page = opened(site, visit)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert marked(page) == "C"
    page.keyboard.press("1")
    page.keyboard.press("b")
    page.keyboard.press("3")
    page.reload()
    expect(page.locator(".rank-order")).to_have_text("2 of 4 ranked")
    page.keyboard.press("b")
    page.keyboard.press("Backspace")
    expect(page.locator(".rank-order")).to_have_text("1 of 4 ranked")
    page.keyboard.press("r")
    page.keyboard.type("a 1 b 2")
    page.keyboard.press("Escape")
    expect(page.locator(".rank-order")).to_have_text("1 of 4 ranked")
    page.keyboard.press("Enter")  # the browser says that ranks are missing
    assert saved(site, desk) == []
    for key in ("a", "2", "2", "2"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert saved(site, desk) == [([2, 2, 1, 2], 3)]
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('draft'))") == []


def test_a_skip_by_its_number_ranks_nothing(site: WebSite, visit: Visit) -> None:
    desk, page = opened(site, visit)
    page.keyboard.press("s")
    page.keyboard.press("2")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert saved(site, desk) == [([], 0)]


def test_it_is_done_with_a_finger_on_a_phone_too(site: WebSite, visit: Visit) -> None:
    phone = {"width": 320, "height": 700}
    desk, page = opened(site, visit, viewport=phone, has_touch=True, is_mobile=True)
    for letter, rank in (("A", "1"), ("B", "3"), ("C", "2"), ("D", "3")):
        page.locator(f"[data-letter={letter}] .ranks label", has_text=rank).tap()
    assert page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
    page.get_by_role("button", name="Save ranking").tap()
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert saved(site, desk) == [([1, 3, 2, 3], 5)]


def test_a_server_without_scripts_gets_the_same_ranking(site: WebSite, visit: Visit) -> None:
    desk, page = opened(site, visit, java_script_enabled=False)
    for number, rank in enumerate((4, 1, 2, 3), start=1):
        page.locator(f"input[name=rank_{number}][value='{rank}']").check(force=True)
    page.get_by_role("button", name="Save ranking").click()
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert saved(site, desk) == [([4, 1, 2, 3], 6)]


def test_a_lead_says_two_by_two_what_is_known_of_a_set(site: WebSite, visit: Visit) -> None:
    desk = site.seed(rankings=1, lead=True, settings={"judging": "ranking"})
    ((lineup,),) = site.rows("SELECT id FROM annotate_lineup WHERE project_id = ?", desk.project)
    page = visit(desk, f"/projects/{desk.project}/lineups/{lineup}/")
    page.get_by_text("Use as a gold question").first.press("Enter")
    page.get_by_text("Two by two", exact=True).press("Enter")
    broken = violations(page, "gold question")
    for number, (better, worse) in enumerate((("1", "2"), ("3", "4")), start=1):
        page.get_by_label(f"Order {number}: the better response").select_option(better)
        page.get_by_label(f"Order {number}: the worse response").select_option(worse)
    page.get_by_role("button", name="Use as a gold question").press("Enter")
    known = page.get_by_role("region", name="These answers are a gold question.").get_by_role("listitem")
    expect(known).to_have_text(["Response 1 is above response 2.", "Response 3 is above response 4."])
    assert broken + violations(page, "what is known") == []
