"""In a real browser: undo, reasons and their drafts, strength by keys, how answers are shown, the network that goes."""

from playwright.sync_api import expect

from tests.browser.conftest import Desk, Visit, WebSite
from tests.browser.hands import cut_off, eventually, message, press, settled


def said(site: WebSite, desk: Desk, columns: str = "choice") -> list[tuple[object, ...]]:
    """What counts, in the order it was said; the columns are the tests' own."""
    where = "project_id = ? AND superseded_at IS NULL"
    return site.rows(f"SELECT {columns} FROM annotate_judgment WHERE {where} ORDER BY id", desk.project)  # noqa: S608


def test_u_takes_the_last_judgment_back_and_pressed_twice_no_other(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=4)
    page = visit(desk, desk.judge)
    press(page, "a")
    second = page.locator("[data-hook=message]").inner_text()
    press(page, "b")
    settled(page)
    page.locator("#undo button").dblclick()
    expect(page.locator("[data-hook=before]")).to_contain_text("You had said: B is better")
    expect(page.locator("[data-hook=message]")).to_have_text(second)
    assert said(site, desk) == [("A",)]
    press(page, "t")
    press(page, "u")
    press(page, "a")
    assert said(site, desk) == [("A",), ("A",)]


def test_r_leads_to_the_reason_no_key_decides_there_and_a_draft_survives_a_reload(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2, settings={"reason_tags": ["Tone", "Accuracy"]})
    page = visit(desk, desk.judge)
    page.keyboard.press("r")
    expect(page.locator("textarea[name=rationale]")).to_be_focused()
    page.keyboard.type("a tube 12 must not send")
    page.get_by_label("Tone").check()
    page.reload()
    expect(page.locator("textarea[name=rationale]")).to_have_value("a tube 12 must not send")
    expect(page.get_by_label("Tone")).to_be_checked()
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    expect(page.locator("article.item")).to_be_focused()
    press(page, "b")
    assert said(site, desk, "choice, rationale, tags") == [("B", "a tube 12 must not send", '["Tone"]')]
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('draft'))") == []


def test_a_needed_reason_is_asked_for_on_the_same_page(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2, settings={"ask_rationale": "required"})
    visit.forgive("422")
    page = visit(desk, desk.judge)
    page.keyboard.press("a")
    expect(page.get_by_role("alert").first).to_contain_text("This project asks why")
    expect(page.locator("textarea[name=rationale]")).to_be_focused()
    page.keyboard.type("Kinder.")
    page.keyboard.press("Escape")
    press(page, "a")
    assert said(site, desk, "choice, rationale") == [("A", "Kinder.")]


def test_a_needed_reason_is_asked_for_without_scripts_too(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2, settings={"ask_rationale": "required"})
    visit.forgive("422")
    page = visit(desk, desk.judge, java_script_enabled=False)
    page.get_by_role("button", name="A is better").click()
    expect(page.get_by_role("alert").first).to_contain_text("This project asks why")
    expect(page.locator("textarea[name=rationale]")).to_be_focused()


def test_one_key_says_how_much_better(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=7, settings={"ask_strength": True})
    page = visit(desk, desk.judge)
    for key in ("1", "3", "4", "Shift+ArrowLeft", "Shift+Digit2", "6"):
        press(page, key)
    expected = [("A", 2), ("A", 1), ("B", 1), ("A", 3), ("B", 3), ("B", 3)]
    assert said(site, desk, "choice, strength") == expected


def test_raw_text_is_remembered(site: WebSite, visit: Visit) -> None:
    desk = site.seed(items=[{"messages": [{"role": "user", "content": "Hi"}], "a": "**bold**", "b": "plain"}])
    page = visit(desk, desk.judge)
    expect(page.locator(".raw").first).to_be_hidden()
    page.keyboard.press("m")
    page.reload()
    expect(page.get_by_text("**bold**")).to_be_visible()
    page.keyboard.press("m")
    expect(page.get_by_text("**bold**")).to_be_hidden()


def test_letters_and_digits_can_be_switched_off_for_whom_they_come_by_accident(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    settled(page)
    page.locator("details.view summary").click()
    page.get_by_role("button", name="Letter and digit keys off").click()
    page.reload()
    settled(page)
    first = message(page)
    for key in ("a", "2", "t", "s", "?"):
        page.keyboard.press(key)
    # The keys before would have come first. Arrows are no characters, and still choose.
    press(page, "ArrowRight")
    assert message(page) != first
    assert said(site, desk) == [("B",)]


def test_a_network_that_goes_and_comes_back_costs_nothing(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    visit.forgive("ERR_INTERNET_DISCONNECTED", "htmx:error: Failed to fetch")
    cut_off(page)
    page.keyboard.press("b")
    expect(page.locator(".toast")).to_contain_text("sent again by itself")
    assert said(site, desk) == []
    page.context.set_offline(False)
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    expect(page.locator(".toast")).to_have_count(0)
    assert said(site, desk) == [("B",)]


def test_a_report_leads_to_the_next_pair(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    first = page.locator("[data-hook=message]").inner_text()
    page.get_by_text("Report this prompt").click()
    page.get_by_label("What is wrong with it?").select_option("private")
    page.get_by_role("button", name="Report and skip").click()
    expect(page.locator("[data-hook=message]")).not_to_have_text(first)
    query = "SELECT reason FROM annotate_promptreport WHERE project_id = ?"
    assert site.rows(query, desk.project) == [("private",)]


def test_what_opens_below_the_answers_does_not_open_behind_the_choices(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=1, settings={"ask_strength": True, "reason_tags": ["Tone"]})
    page = visit(desk, desk.judge, viewport={"width": 390, "height": 640})
    bar = page.locator(".bar").bounding_box()
    assert bar

    def in_sight(selector: str) -> bool:
        box = page.locator(selector).bounding_box()
        return bool(box and box["y"] > 0 and box["y"] + box["height"] <= bar["y"])

    page.keyboard.press("r")
    eventually(page, lambda: in_sight("textarea[name=rationale]"))
    page.keyboard.press("Escape")
    page.get_by_text("Report this prompt").click()
    eventually(page, lambda: in_sight(".report .button"))


def test_a_page_without_a_choice_leads_tab_into_what_it_says(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=1)
    site.rows(
        "DELETE FROM annotate_guidelineacknowledgement WHERE guideline_id IN "
        "(SELECT id FROM annotate_guideline WHERE project_id = ?)",
        desk.project,
    )
    page = visit(desk, desk.judge)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="I have read it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("article.item")).to_be_focused()


def test_a_thumb_gets_its_tags_by_keyboard_where_no_words_are_asked(site: WebSite, visit: Visit) -> None:
    desk = site.seed(thumbs=2, settings={"reason_tags": ["Tone", "Accuracy"], "ask_rationale": "no"})
    page = visit(desk, desk.thumbs)
    page.keyboard.press("r")
    expect(page.get_by_label("Tone")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.reload()
    expect(page.get_by_label("Accuracy")).to_be_checked()
    press(page, "2")
    query = "SELECT value, tags, rationale FROM annotate_rating WHERE project_id = ?"
    assert site.rows(query, desk.project) == [("down", '["Accuracy"]', "")]


def test_a_pair_that_came_alone_stands_on_the_page_as_after_a_reload(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=5, settings={"ask_strength": True, "reason_tags": ["Tone"]})
    page = visit(desk, desk.judge)
    alone = []
    page.on(
        "response", lambda answer: alone.append("pairloop-item" in answer.headers) if answer.request.post_data else None
    )
    for _ in range(3):
        press(page, "a")
    page.get_by_label("Tone").evaluate("box => { box.checked = true }")
    press(page, "b")
    # The first page has no undo yet, and the answer to it is whole.
    assert alone == [False, True, True, True]
    shown = r"""work => work.innerHTML
        .replace(/name="csrfmiddlewaretoken" value="[^"]*"/g, "").replace(/\s*([<>])\s*/g, "$1")"""
    expect(page.locator("[data-hook=today]")).to_have_text("4 today")
    before = page.locator("#work").evaluate(shown)
    page.reload()
    settled(page)
    assert page.locator("#work").evaluate(shown) == before
