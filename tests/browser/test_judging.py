"""Judging in a real browser: keys, focus, double clicks, lost connections, no JavaScript, small screens."""

import re

import pytest
from playwright.sync_api import Request, Route, expect

from tests.browser.conftest import Desk, Visit, WebSite, Wire
from tests.browser.hands import NOTHING_MS, eventually, message, press, settled


def judgments(site: WebSite, desk: Desk) -> list[tuple[str, str]]:
    query = "SELECT choice, skip_reason FROM annotate_judgment WHERE project_id = ? ORDER BY id"
    return [(str(choice), str(reason)) for choice, reason in site.rows(query, desk.project)]


def test_a_whole_queue_is_judged_by_keyboard_without_a_page_load(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=9)
    page = visit(desk, desk.judge)
    page.evaluate("window.stillTheSamePage = true")
    for key in ("ArrowLeft", "b", "t", "x", "1", "ArrowRight", "0", "n"):
        press(page, key)
    page.keyboard.press("s")
    expect(page.locator(".skip-menu")).to_be_visible()
    press(page, "3")
    expect(page.get_by_text("New answers are being prepared")).to_be_visible()
    assert page.evaluate("window.stillTheSamePage")
    chosen = ["A", "B", "tie", "both_bad", "A", "B", "tie", "both_bad"]
    assert judgments(site, desk) == [*((choice, "") for choice in chosen), ("skip", "language")]
    ((fastest, slowest),) = site.rows(
        "SELECT min(active_ms), max(active_ms) FROM annotate_judgment WHERE project_id = ?", desk.project
    )
    assert 0 < fastest <= slowest < 60_000


def test_a_new_pair_has_the_focus_and_is_announced(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    assert page.locator("#announce").inner_text() == ""
    press(page, "a")
    expect(page.locator("#announce")).to_have_text("Saved: A is better. Next pair")
    expect(page.locator("article.item")).to_be_focused()
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    # The next stop of the Tab key is in the item or its choices, not back at the top of the page.
    page.keyboard.press("Tab")
    expect(page.locator("#work details.why summary")).to_be_focused()


def test_an_undo_is_told_as_what_it_is_and_the_reasons_to_skip_are_told_when_they_open(
    site: WebSite, visit: Visit
) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    press(page, "t")
    press(page, "u")
    told = page.locator("#announce")
    expect(told).to_have_text("Taken back: this one is open again. You had said: Tie.")
    settled(page)
    page.keyboard.press("s")
    expect(page.locator("details.skip summary")).to_be_focused()
    press(page, "2")
    expect(told).to_have_text("Saved: I can't tell which is right. Next pair")


def test_the_help_lists_the_keys_and_no_key_decides_behind_it(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=1)
    page = visit(desk, desk.judge)
    settled(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("A is better")
    for key in ("a", "1", "ArrowRight", "s"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert judgments(site, desk) == []
    press(page, "a")
    assert judgments(site, desk) == [("A", "")]


def test_keys_with_modifiers_held_keys_and_typing_decide_nothing(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    settled(page)
    for key in ("Control+b", "Alt+1", "Meta+a", "Shift+A"):
        page.keyboard.press(key)
    page.evaluate(
        """() => {
          const send = (target, options) =>
            target.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...options }));
          send(document.body, { key: "a", repeat: true });
          send(document.body, { key: "a", isComposing: true });
          send(document.body, { key: "Process", keyCode: 229 });
          const field = document.body.appendChild(document.createElement("textarea"));
          send(field, { key: "a" });
          field.remove();
        }"""
    )
    page.keyboard.press("s")
    page.keyboard.press("b")  # While the reasons are open, only they can be chosen.
    page.keyboard.press("Escape")
    expect(page.locator(".skip-menu")).to_be_hidden()
    page.wait_for_timeout(NOTHING_MS)
    assert judgments(site, desk) == []


@pytest.mark.parametrize("clicks", [2, 3])
def test_a_double_click_is_one_judgment(site: WebSite, visit: Visit, clicks: int) -> None:
    desk = site.seed(pairs=4)
    page = visit(desk, desk.judge)
    first = message(page)
    settled(page)
    page.locator("button[value=A]").click(click_count=clicks, delay=20)
    expect(page.locator("[data-hook=message]")).not_to_have_text(first)
    page.wait_for_timeout(NOTHING_MS)
    assert judgments(site, desk) == [("A", "")]


def test_a_reload_and_the_back_button_neither_lose_nor_repeat_a_judgment(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=3)
    page = visit(desk, f"/projects/{desk.project}/guideline/")
    page.goto(desk.judge)
    press(page, "a")
    second = message(page)
    page.reload()
    expect(page.locator("[data-hook=message]")).to_have_text(second)
    page.go_back()
    page.go_forward()
    expect(page.locator("[data-hook=message]")).to_have_text(second)
    press(page, "b")
    assert judgments(site, desk) == [("A", ""), ("B", "")]


def test_two_tabs_with_the_same_pair_keep_the_first_answer_and_say_so(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    first, second = visit(desk, desk.judge), visit(desk, desk.judge)
    assert message(first) == message(second)
    press(first, "b")
    visit.forgive("409")
    press(second, "a")
    expect(second.locator("#work")).to_contain_text("What is saved: B is better")
    expect(second.locator("#announce")).to_contain_text("You have answered this before What is saved: B is better")
    expect(second.get_by_role("link", name="Continue")).to_be_focused()
    second.keyboard.press("Enter")
    expect(second.locator("article.item")).to_be_visible()
    assert message(second) == message(first)
    assert judgments(site, desk) == [("B", "")]


@pytest.mark.parametrize("arrives", [False, True])
def test_a_judgment_that_got_no_answer_is_sent_again_with_the_same_id(
    site: WebSite, visit: Visit, arrives: bool
) -> None:
    """Whether the first try reached the server or not, there is one judgment in the end."""
    desk = site.seed(pairs=2)
    wire = Wire(r"/judge/$")
    page = visit(desk, desk.judge, wire)
    first = message(page)
    tries: list[str] = []

    def break_down(route: Route) -> None:
        tries.append(str(route.request.post_data))
        if arrives:
            route.fetch()
        route.abort("connectionfailed")

    visit.forgive("ERR_CONNECTION_FAILED", "htmx:error: Failed to fetch")
    wire.befalls = break_down
    settled(page)
    page.keyboard.press("b")
    expect(page.locator(".toast")).to_contain_text("Not saved yet")
    # It hides no choice, and is read aloud once, not at every second of its countdown.
    toast, bar = page.locator(".toast").bounding_box(), page.locator(".bar").bounding_box()
    assert toast
    assert bar
    assert toast["y"] + toast["height"] <= bar["y"]
    expect(page.locator(".toast [data-wait]")).to_have_attribute("aria-hidden", "true")
    assert message(page) == first
    assert judgments(site, desk) == ([("B", "")] if arrives else [])
    before = len(tries)
    page.get_by_role("button", name="Send now").click()
    eventually(page, lambda: len(tries) > before)
    client_id = page.locator("#decision [name=client_id]").input_value()
    assert all(client_id in sent for sent in tries)
    wire.befalls = Route.continue_
    # Now it goes by itself.
    expect(page.locator("[data-hook=message]")).not_to_have_text(first)
    expect(page.locator(".toast")).to_have_count(0)
    assert judgments(site, desk) == [("B", "")]


def test_a_server_error_leaves_the_choice_on_the_page(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=2)
    wire = Wire(r"/judge/$")
    page = visit(desk, desk.judge, wire)
    first = message(page)
    visit.forgive("502")
    wire.befalls = lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>")
    settled(page)
    page.keyboard.press("a")
    expect(page.locator(".toast")).to_contain_text("Not saved yet")
    assert message(page) == first
    expect(page.locator("button[value=A]")).to_be_enabled()


def test_whoever_was_signed_out_is_told_so_and_the_choice_is_sent_once_they_are_back(
    site: WebSite, visit: Visit
) -> None:
    desk = site.seed(pairs=2)
    page = visit(desk, desk.judge)
    first = message(page)
    visit.forgive("401")
    cookies = page.context.cookies()
    page.context.clear_cookies(name="sessionid")
    settled(page)
    page.keyboard.press("a")
    expect(page.locator(".toast")).to_contain_text("you have been signed out")
    assert message(page) == first
    assert judgments(site, desk) == []
    page.context.add_cookies([cookie for cookie in cookies if cookie.get("name") == "sessionid"])  # type: ignore[misc]
    page.goto(desk.judge)
    expect(page.locator("#unsent")).to_contain_text("saved: A is better")
    assert judgments(site, desk) == [("A", "")]


def test_new_work_appears_by_itself_on_the_waiting_page(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=1)
    page = visit(desk, desk.judge)
    site.rows("UPDATE annotate_slot SET state = 'withdrawn' WHERE project_id = ?", desk.project)
    page.reload()
    expect(page.get_by_text("New answers are being prepared")).to_be_visible()
    site.rows(
        "UPDATE annotate_slot SET state = 'open', annotator_id = NULL, lease_until = NULL WHERE project_id = ?",
        desk.project,
    )
    expect(page.locator("article.item")).to_be_visible()
    press(page, "a")
    assert judgments(site, desk) == [("A", "")]


def test_everything_works_without_javascript(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=3, thumbs=1)
    page = visit(desk, desk.judge, java_script_enabled=False)
    expect(page.get_by_role("button", name="Keys")).to_be_hidden()
    for name in ("B is better", "Both bad", "I can't tell which is right"):
        if name.startswith("I"):
            page.locator("details.skip summary").click()
        with page.expect_navigation():
            page.get_by_role("button", name=name).click()
    expect(page.get_by_text("New answers are being prepared")).to_be_visible()
    assert judgments(site, desk) == [("B", ""), ("both_bad", ""), ("skip", "expertise")]
    page.goto(desk.thumbs)
    page.get_by_role("button", name="Good").click()
    expect(page.get_by_text("New answers are being prepared")).to_be_visible()
    assert site.rows("SELECT value FROM annotate_rating WHERE project_id = ?", desk.project) == [("up",)]


def test_thumbs_go_by_keyboard_too_and_the_arrows_are_left_to_scrolling(site: WebSite, visit: Visit) -> None:
    desk = site.seed(thumbs=3)
    page = visit(desk, desk.thumbs)
    settled(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    press(page, "g")
    press(page, "2")
    page.keyboard.press("s")
    press(page, "6")
    query = "SELECT value, skip_reason FROM annotate_rating WHERE project_id = ? ORDER BY id"
    assert site.rows(query, desk.project) == [("up", ""), ("down", ""), ("skip", "other")]


LONG = {
    "messages": [
        {"role": "system", "content": "Be kind. " * 40},
        {"role": "user", "content": "supercalifragilistic" * 30},
    ],
    "a": "```python\n" + "x = 1  # " + "wide " * 60 + "\n```\n\n|" + " column |" * 30 + "\n|" + "---|" * 30 + "\n",
    "b": "https://a.example/" + "path/" * 80 + "\n\n" + "word " * 900,
}


def test_nothing_runs_out_of_the_screen_and_the_choices_are_always_on_it(site: WebSite, visit: Visit) -> None:
    desk = site.seed(items=[LONG])
    page = visit(desk, desk.judge, reduced_motion="reduce")
    for width in (320, 360, 768, 1280):
        page.set_viewport_size({"width": width, "height": 640})
        page.reload()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for value in ("A", "tie", "B", "both_bad"):
            expect(page.locator(f"button[value={value}]")).to_be_in_viewport(ratio=1)
        page.locator("details.skip summary").click()
        for reason in page.locator(".skip-menu button").all():
            expect(reason).to_be_in_viewport(ratio=1)


def test_the_page_is_as_light_or_dark_as_the_device(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=1)
    page = visit(desk, desk.judge, reduced_motion="reduce")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", background)[:3]))
        assert (brightness < 200) == (scheme == "dark")


@pytest.mark.parametrize(
    "settings", [{}, {"allow_edits": True, "ask_strength": True, "reason_tags": ["Tone"]}, {"judging": "ranking"}]
)
def test_the_page_is_small(site: WebSite, visit: Visit, settings: dict[str, object]) -> None:
    """Eight requests and 250 kB at most, everything counted, on a first visit."""
    desk = site.seed(pairs=1, rankings=1, settings=settings)
    page = visit(desk, f"/projects/{desk.project}/guideline/")
    page.close()
    page = page.context.new_page()
    loaded: list[Request] = []
    page.on("requestfinished", lambda request: loaded.append(request))  # noqa: PLW0108  (Playwright marks what it gets)
    page.goto(desk.rank if "judging" in settings else desk.judge, wait_until="networkidle")
    assert 3 <= len(loaded) <= 8
    assert sum(request.sizes()["responseBodySize"] for request in loaded) < 250_000
