"""The onboarding quiz by keyboard, checked with axe-core on its way; then real work."""

from playwright.sync_api import expect

from tests.browser.axe import violations
from tests.browser.conftest import Visit, WebSite


def test_the_quiz_is_passed_by_keyboard_and_opens_the_queue(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=4, gold=2, settings={"quiz_questions": 2, "quiz_pass_percent": 50})
    page = visit(desk, desk.judge)
    broken = violations(page, "gate")
    page.get_by_role("link", name="To the quiz").press("Enter")
    page.get_by_role("button", name="Start the quiz").press("Enter")
    for number in (1, 2):
        expect(page.locator(".judging-tools .badge")).to_have_text(f"Quiz, {number} of 2")
        expect(page.locator("body[data-ready]")).to_be_attached()  # From then on it takes keys.
        broken += violations(page, "question")
        # The right answer is always the first response, which says that it is.
        page.keyboard.press(
            "ArrowLeft" if "First answer" in page.locator("[data-hook=a]").inner_text() else "ArrowRight"
        )
        expect(page.locator("#feedback")).to_have_text("Right")
        expect(page.locator(".feedback")).to_be_focused()
        broken += violations(page, "feedback")
        expect(page.locator("body[data-ready]")).to_be_attached()
        page.keyboard.press("Enter")
    expect(page.locator("#outcome")).to_have_text("Passed")
    broken += violations(page, "end")
    page.get_by_role("link", name="Judge", exact=True).press("Enter")
    expect(page.locator("#decision")).to_be_visible()
    assert broken == []
    saved = "SELECT count(*) FROM annotate_judgment WHERE project_id = ?"
    assert site.rows(saved, desk.project) == [(0,)]


def test_rankings_are_asked_in_it_by_the_keys_of_the_ranking_page(site: WebSite, visit: Visit) -> None:
    desk = site.seed(rankings=2, gold=1, settings={"judging": "ranking", "quiz_questions": 1})
    page = visit(desk, desk.rank)
    page.get_by_role("link", name="To the quiz").press("Enter")
    page.get_by_role("button", name="Start the quiz").press("Enter")
    expect(page.locator(".rank-order")).to_have_text("0 of 4 ranked")
    broken = violations(page, "question")
    # The one that comes sooner is better, and says so; of the third answer, r, nothing is known.
    for letter in "ABCD":
        text = page.locator(f"[data-hook={letter.lower()}]").inner_text()
        page.keyboard.press({"p": "1", "q": "2", "r": "2", "s": "3"}[text[7]])
        expect(page.locator("#announce")).to_contain_text(f"{letter}: ")
    expect(page.locator("body[data-ready]")).to_be_attached()
    page.keyboard.press("Enter")
    expect(page.locator("#feedback")).to_have_text("Right")
    expect(page.locator(".feedback")).to_be_focused()
    expect(page.locator(".feedback em")).to_have_text("better")
    broken += violations(page, "feedback")
    expect(page.locator("body[data-ready]")).to_be_attached()
    page.keyboard.press("Enter")
    expect(page.locator("#outcome")).to_have_text("Passed")
    assert broken + violations(page, "end") == []
    assert site.rows("SELECT count(*) FROM annotate_ranking WHERE project_id = ?", desk.project) == [(0,)]
