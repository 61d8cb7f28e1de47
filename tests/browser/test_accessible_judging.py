"""Every state of the judging pages keeps the rules of WCAG 2.2 AA that axe-core can check, light and dark."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.browser.conftest import Desk, Visit, WebSite
from tests.browser.hands import cut_off, press, settled

RICH = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        *({"role": ("user", "assistant")[turn % 2], "content": f"Turn {turn}. " + "word " * 150} for turn in range(10)),
        {"role": "user", "content": "What is $e^{i\\pi}$?\n\n" + "A long message.\n\n" * 60},
    ],
    "a": "## Answer\n\n$$e^{i\\pi} = -1$$\n\n`code`, *text* and [a link](https://a.example).\n\n```python\nx = 1  # "
    + "wide " * 80
    + "\n```\n\n|a|b|\n|-|-|\n|1|2|\n\nשלום\n\n"
    + "Some text.\n\n" * 80,
    "b": "It is $-1$.\n\n> Quoted\n\n1. one\n2. two",
}
SETTINGS = {"ask_strength": True, "reason_tags": ["Tone"], "allow_edits": True}


def keys(*pressed: str) -> Callable[[WebSite, Desk, Page], None]:
    def act(_site: WebSite, _desk: Desk, page: Page) -> None:
        for key in pressed:
            page.keyboard.press(key)

    return act


def decided(key: str) -> Callable[[WebSite, Desk, Page], None]:
    def act(_site: WebSite, _desk: Desk, page: Page) -> None:
        press(page, key)

    return act


def changed(sets: str) -> Callable[[WebSite, Desk, Page], None]:
    def act(site: WebSite, desk: Desk, page: Page) -> None:
        site.rows(f"UPDATE annotate_membership SET {sets} WHERE project_id = ?", desk.project)  # noqa: S608
        page.reload()

    return act


def after(*acts: Callable[[WebSite, Desk, Page], None]) -> Callable[[WebSite, Desk, Page], None]:
    def act(site: WebSite, desk: Desk, page: Page) -> None:
        for each in acts:
            each(site, desk, page)

    return act


def history(_site: WebSite, desk: Desk, page: Page) -> None:
    page.goto(f"/projects/{desk.project}/history/")


def change(_site: WebSite, _desk: Desk, page: Page) -> None:
    page.get_by_role("link", name="Change decision").click()


def differences(_site: WebSite, _desk: Desk, page: Page) -> None:
    page.keyboard.press("d")
    expect(page.locator(".differences")).to_contain_text("Underlined")


def unread(site: WebSite, desk: Desk, page: Page) -> None:
    own = "SELECT id FROM annotate_guideline WHERE project_id = ?"
    site.rows(f"DELETE FROM annotate_guidelineacknowledgement WHERE guideline_id IN ({own})", desk.project)  # noqa: S608
    page.reload()


def view_menu(_site: WebSite, _desk: Desk, page: Page) -> None:
    page.get_by_text("View", exact=True).click()


def report(_site: WebSite, _desk: Desk, page: Page) -> None:
    page.get_by_text("Report this prompt").click()


def rest(_site: WebSite, _desk: Desk, page: Page) -> None:
    page.evaluate("localStorage.setItem('pairloop-worked', JSON.stringify({ ms: 36e5, at: Date.now() }))")
    page.reload()
    expect(page.locator("#rest")).not_to_be_empty()


def unfolded(_site: WebSite, _desk: Desk, page: Page) -> None:
    page.get_by_role("button", name="Show the earlier messages").click()
    page.get_by_text("Instructions to the assistant").click()


def refused(site: WebSite, desk: Desk, page: Page) -> None:
    """Another page of the same person has answered with another choice."""
    choice = page.locator("#decision").evaluate("form => JSON.stringify(Object.fromEntries(new FormData(form)))")
    other = page.context.new_page()
    other.goto(desk.judge)
    decided("b")(site, desk, other)
    other.close()
    assert json.loads(choice)["slot"]
    settled(page)
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="You have answered this before")).to_be_visible()


def unsaved(_site: WebSite, _desk: Desk, page: Page) -> None:
    cut_off(page)
    settled(page)
    page.keyboard.press("a")
    expect(page.locator(".toast")).to_be_visible()


def left_behind(_site: WebSite, desk: Desk, page: Page) -> None:
    """A page of another day could not send what it had, and its slot is gone by now."""
    client_id = "00000000-0000-4000-8000-000000000000"
    fields = [["slot", "999999"], ["client_id", client_id], ["choice", "A"], ["rationale", "It is kind."]]
    entry = json.dumps({"url": desk.judge, "at": 8e12, "said": "A is better", "fields": fields})
    key = str(page.locator("#unsent").get_attribute("data-prefix")) + client_id
    page.evaluate("([key, entry]) => localStorage.setItem(key, entry)", [key, entry])
    page.reload()


def needed(_site: WebSite, _desk: Desk, page: Page) -> None:
    settled(page)
    page.keyboard.press("a")
    expect(page.get_by_role("alert").first).to_contain_text("This project asks why")


# What the state needs of the project, where it is, how one gets into it, and what shows that one did.
STATES: dict[str, tuple[dict[str, object], str, Callable[[WebSite, Desk, Page], None], str]] = {
    "a rich pair, folded": ({"items": [RICH]}, "judge", keys(), "button.fold"),
    "a rich pair, unfolded": ({"items": [RICH]}, "judge", unfolded, "button.fold[aria-expanded=true]"),
    "panes": ({"items": [RICH]}, "judge", keys("l"), "body.layout-together .answer[tabindex]"),
    "stacked": ({"items": [RICH]}, "judge", keys("l", "l", "l"), "body.layout-stacked"),
    "raw text": ({"items": [RICH]}, "judge", keys("m"), "body.view-raw"),
    "differences": ({"items": [RICH]}, "judge", differences, "mark.only"),
    "the menu of views": ({"pairs": 1}, "judge", view_menu, "details.view[open]"),
    "the list of keys": ({"pairs": 1}, "judge", keys("?"), "dialog[open]"),
    "the reasons to skip": ({"pairs": 1}, "judge", keys("s"), "details.skip[open]"),
    "the reasons": ({"pairs": 1}, "judge", keys("r"), "details.why[open]"),
    "which answer to improve": ({"pairs": 1}, "judge", keys("e"), ".improve-ask"),
    "improving an answer": ({"pairs": 1}, "judge", keys("e", "a"), "details.improve[open]"),
    "reporting": ({"pairs": 1}, "judge", report, "details.report[open]"),
    "the note to rest": ({"pairs": 1}, "judge", rest, ".rest-note"),
    "something to undo": ({"pairs": 2}, "judge", decided("a"), "#undo"),
    "nothing to judge": ({"pairs": 1}, "judge", decided("a"), ".waiting"),
    "paused": ({"pairs": 1}, "judge", changed("paused_at = '2026-01-01'"), ".empty"),
    "enough for today": ({"pairs": 2}, "judge", after(decided("a"), changed("daily_quota = 1")), ".empty"),
    "a guideline to read": ({"pairs": 1, "acknowledge_guideline": True}, "judge", unread, ".reading"),
    "refused": ({"pairs": 2}, "judge", refused, ".empty"),
    "a reason is needed": ({"pairs": 1, "ask_rationale": "required"}, "judge", needed, "[role=alert]"),
    "not saved yet": ({"pairs": 1}, "judge", unsaved, ".toast"),
    "left behind by another page": ({"pairs": 1}, "judge", left_behind, "[data-state=refused]"),
    "one answer": ({"thumbs": 1}, "thumbs", keys(), "article.item"),
    "the history": ({"items": [RICH]}, "judge", after(decided("a"), history), ".pace"),
    "a change": ({"items": [RICH]}, "judge", after(decided("a"), history, change), "[data-hook=before]"),
}

# What the browser itself says of a 409, a 422 and a lost connection, which is tried again and again.
PROVOKED = {
    "refused": ["409"],
    "left behind by another page": ["409"],
    "a reason is needed": ["422"],
    "not saved yet": ["ERR_INTERNET_DISCONNECTED", "htmx:error: Failed to fetch"],
}


@pytest.mark.parametrize("state", STATES)
def test_no_state_of_the_judging_pages_breaks_a_rule(site: WebSite, visit: Visit, state: str) -> None:
    wanted, path, act, shown = STATES[state]
    settings = SETTINGS | {name: wanted[name] for name in ("acknowledge_guideline", "ask_rationale") if name in wanted}
    desk = site.seed(
        settings=settings, **{name: wanted[name] for name in ("pairs", "thumbs", "items") if name in wanted}
    )
    visit.forgive(*PROVOKED.get(state, ()))
    page = visit(desk, f"/projects/{desk.project}/{path}/", reduced_motion="reduce")
    act(site, desk, page)
    expect(page.locator(shown).first).to_be_visible()
    assert violations(page, state) == []
