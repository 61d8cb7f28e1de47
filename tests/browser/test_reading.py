"""In a real browser: layouts, folds, differences between the answers, both directions of writing, formulas."""

import random
import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit, WebSite
from tests.browser.hands import eventually, settled

WIDE = {"width": 1280, "height": 800}
HELLO = [{"role": "user", "content": "Hello"}]


def paragraphs(word: str, number: int) -> str:
    return "\n\n".join(f"{word} {line} and then some more of it" for line in range(number))


def long(greeting: str) -> dict[str, object]:
    messages = [{"role": "user", "content": greeting}]
    return {"messages": messages, "a": paragraphs("first", 120), "b": paragraphs("second", 60)}


def top(pane: Locator) -> float:
    return float(pane.evaluate("pane => pane.scrollTop"))


def part(pane: Locator) -> float:
    return float(pane.evaluate("pane => pane.scrollTop / (pane.scrollHeight - pane.clientHeight)"))


def layout(page: Page) -> str:
    found = re.search(r"layout-(\w+)", page.locator("body").get_attribute("class") or "")
    assert found is not None
    return found[1]


def choices_are_on_screen(page: Page) -> None:
    for value in ("A", "tie", "B", "both_bad"):
        expect(page.locator(f"button[value={value}]")).to_be_in_viewport(ratio=1)


def test_l_goes_through_the_layouts_the_choices_stay_in_sight_and_the_last_one_is_remembered(
    site: WebSite, visit: Visit
) -> None:
    desk = site.seed(items=[long("Hello"), long("Goodbye")])
    page = visit(desk, desk.judge, viewport=WIDE)
    seen = [layout(page)]
    for _ in range(4):
        choices_are_on_screen(page)
        page.keyboard.press("l")
        seen.append(layout(page))
        expect(page.locator("#announce")).not_to_be_empty()
    assert seen == ["page", "together", "alone", "stacked", "page"]
    page.get_by_text("View", exact=True).click()
    page.get_by_label("One above the other").click()
    # Chosen with the mouse, the menu is done, and keys decide again.
    expect(page.get_by_label("One above the other")).to_be_hidden()
    expect(page.locator("article.item")).to_be_focused()
    page.reload()
    assert layout(page) == "stacked"
    left, right = page.locator(".answer.left").bounding_box(), page.locator(".answer.right").bounding_box()
    assert left is not None
    assert right is not None
    assert abs(left["x"] - right["x"]) < 1
    choices_are_on_screen(page)


def test_panes_that_scroll_together_do_so_in_proportion_and_alone_each_by_itself(site: WebSite, visit: Visit) -> None:
    desk = site.seed(items=[long("Hello"), long("Goodbye")])
    page = visit(desk, desk.judge, viewport=WIDE)
    left, right = page.locator(".answer.left"), page.locator(".answer.right")
    page.keyboard.press("l")
    assert page.evaluate("document.documentElement.scrollHeight") <= WIDE["height"]
    left.evaluate("pane => { pane.scrollTop = (pane.scrollHeight - pane.clientHeight) / 2; }")
    eventually(page, lambda: abs(part(right) - 0.5) < 0.02)
    # By keyboard, with the focus on the whole item: to the end of both, and back.
    page.keyboard.press("End")
    eventually(page, lambda: part(left) > 0.99 and part(right) > 0.99)
    page.keyboard.press("Home")
    eventually(page, lambda: top(left) < 3 and top(right) < 3)
    # Alone: the one that has the focus.
    page.keyboard.press("l")
    right.focus()
    page.keyboard.press("PageDown")
    eventually(page, lambda: top(right) > 50)
    assert top(left) == 0
    # The next pair is laid out in the same way, from its beginning.
    settled(page)
    page.keyboard.press("a")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    assert layout(page) == "alone"
    assert top(page.locator(".answer.right")) == 0
    expect(page.locator(".answer.right")).to_have_attribute("tabindex", "0")


def test_on_a_narrow_screen_there_are_no_panes(site: WebSite, visit: Visit) -> None:
    desk = site.seed(items=[long("Hello")])
    page = visit(desk, desk.judge, viewport={"width": 390, "height": 700})
    page.evaluate("localStorage.setItem('pairloop-layout', 'together')")
    page.reload()
    assert page.evaluate("document.documentElement.scrollHeight") > 3000
    expect(page.locator(".answer.left")).not_to_have_attribute("tabindex", "0")
    choices_are_on_screen(page)


def test_a_very_long_message_is_folded_until_one_asks_and_that_is_remembered_for_this_item_only(
    site: WebSite, visit: Visit
) -> None:
    items = [
        {"messages": [{"role": "user", "content": paragraphs(greeting, 60)}], "a": "one", "b": "two"}
        for greeting in ("Hello", "Goodbye")
    ]
    desk = site.seed(items=items)
    page = visit(desk, desk.judge)
    folded, full = page.get_by_role("button", name="Show all of it"), page.get_by_role("button", name="Show less")
    expect(folded).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_text(" 59 and then")).not_to_be_in_viewport()
    tall = page.locator(".turn.last").bounding_box()
    assert tall is not None
    assert tall["height"] < 500
    folded.focus()
    page.keyboard.press("Enter")
    expect(full).to_be_focused()
    page.reload()
    expect(full).to_be_visible()
    settled(page)
    page.keyboard.press("t")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    expect(folded).to_be_visible()


def test_many_earlier_messages_are_folded_together(site: WebSite, visit: Visit) -> None:
    turns = [
        {"role": ("user", "assistant")[turn % 2], "content": f"Turn {turn}. " + "word " * 120} for turn in range(12)
    ]
    messages = [*turns, {"role": "user", "content": "And now?"}]
    desk = site.seed(items=[{"messages": messages, "a": "one", "b": "two"}])
    page = visit(desk, desk.judge)
    expect(page.get_by_text("And now?")).to_be_visible()
    expect(page.get_by_text("Turn 3.")).to_be_hidden()
    page.get_by_role("button", name="Show the earlier messages").click()
    expect(page.get_by_text("Turn 3.")).to_be_visible()
    page.get_by_role("button", name="Hide the earlier messages").click()
    expect(page.get_by_text("Turn 3.")).to_be_hidden()


def test_without_javascript_everything_is_shown_in_full(site: WebSite, visit: Visit) -> None:
    messages = [{"role": "user", "content": paragraphs("prompt", 60)}]
    desk = site.seed(items=[{"messages": messages, "a": "one", "b": "$x^2$"}])
    page = visit(desk, desk.judge, java_script_enabled=False)
    expect(page.get_by_text("View", exact=True)).to_be_hidden()
    expect(page.get_by_text("prompt 59")).to_be_visible()
    expect(page.locator("math")).to_be_visible()


def marked(page: Page, side: str) -> list[str]:
    return page.locator(f".answer.{side} mark.only").all_inner_texts()


def test_d_marks_the_words_that_only_one_answer_has_and_takes_the_marks_away_again(site: WebSite, visit: Visit) -> None:
    a = "The parcel is **late**, sorry.\n\n`code one` and $x^2$."
    b = "The parcel is **lost**, we are sorry.\n\n`code two` and $y^2$."
    messages = [[{"role": "user", "content": greeting}] for greeting in ("Hello", "Goodbye")]
    desk = site.seed(items=[{"messages": each, "a": a, "b": b} for each in messages])
    page = visit(desk, desk.judge)
    before = page.locator(".answers").inner_html()
    page.keyboard.press("d")
    expect(page.locator(".differences").filter(has_text=re.compile("Underlined: [35] words"))).to_be_visible()
    texts = {marked(page, "left")[0]: marked(page, "left"), marked(page, "right")[0]: marked(page, "right")}
    assert texts == {"late": ["late", "one"], "lost": ["lost", "we are", "two"]}
    expect(page.locator("math.only")).to_have_count(2)
    expect(page.locator("#announce")).to_contain_text("Underlined")
    # Not by colour alone, and said before and after each.
    look = "mark => [getComputedStyle(mark).textDecorationLine, getComputedStyle(mark, '::before').content]"
    line, said = page.locator("mark.only").first.evaluate(look)
    assert line == "underline"
    assert "only in" in said
    page.keyboard.press("d")
    expect(page.locator("mark.only, math.only")).to_have_count(0)
    assert page.locator(".answers").inner_html() == before
    page.keyboard.press("d")
    page.keyboard.press("m")
    raw = [text for side in ("left", "right") for text in marked(page, side)]
    assert {"late", "lost", "one", "two", "we are"} <= set(raw)
    page.keyboard.press("m")
    settled(page)
    page.keyboard.press("t")
    expect(page.locator("[data-hook=today]")).to_have_text("1 today")
    # It stays on for the next pair.
    expect(page.locator(".differences").filter(has_text=re.compile("Underlined: [35] words"))).to_be_visible()


def test_answers_of_the_same_words_are_said_to_be_so(site: WebSite, visit: Visit) -> None:
    desk = site.seed(items=[{"messages": HELLO, "a": "same words", "b": "*same* words"}])
    page = visit(desk, desk.judge)
    page.keyboard.press("d")
    expect(page.locator(".differences").filter(has_text="Both answers have the same words.")).to_be_visible()


def test_answers_of_fifty_thousand_characters_are_compared_or_it_is_said_why_not(site: WebSite, visit: Visit) -> None:
    chance = random.Random(7)
    words = [f"w{chance.randrange(900)}" for _ in range(9_000)]
    changed = [f"new{number}" if number % 30 == 0 else word for number, word in enumerate(words)]
    others = [f"v{chance.randrange(900)}" for _ in range(9_000)]

    def text(of: list[str]) -> str:
        return "\n\n".join(" ".join(of[start : start + 100]) for start in range(0, len(of), 100))

    similar = {"messages": HELLO, "a": text(words), "b": text(changed)}
    strange = {"messages": HELLO, "a": text(words), "b": text(others)}
    desk = site.seed(items=[similar])
    page = visit(desk, desk.judge)
    page.keyboard.press("d")
    expect(page.locator(".differences").filter(has_text="Underlined: 300 words")).to_be_visible()
    expect(page.locator("mark.only")).to_have_count(600)
    desk = site.seed(items=[strange])
    page = visit(desk, desk.judge)
    page.keyboard.press("d")
    expect(page.locator(".differences").filter(has_text="More than 2,000 words differ")).to_be_visible()
    expect(page.locator("mark.only")).to_have_count(0)


def test_the_library_of_differences_is_fetched_only_when_asked_for(site: WebSite, visit: Visit) -> None:
    desk = site.seed(pairs=1)
    page = visit(desk, desk.judge)
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.reload(wait_until="networkidle")
    assert not [url for url in fetched if "jsdiff" in url]
    page.keyboard.press("d")
    expect(page.locator(".differences")).to_be_visible()
    assert len([url for url in fetched if "jsdiff" in url]) == 1


def test_each_line_is_written_in_its_own_direction_and_code_from_the_left(site: WebSite, visit: Visit) -> None:
    a = "שלום עולם\nEnglish line.\n\n- פריט\n- item\n\n```\nprint('שלום')\n```\n\n|שם|מחיר|\n|-|-|\n|ספר|$5|\n\n> ציטוט"
    desk = site.seed(items=[{"messages": HELLO, "a": a, "b": a + "!"}])
    page = visit(desk, desk.judge)
    prose = page.locator(".answer.left .prose")
    direction = "element => getComputedStyle(element).direction"
    assert [item.evaluate(direction) for item in prose.locator("li").all()] == ["rtl", "ltr"]
    for tag, expected in {"pre": "ltr", "table": "rtl", "blockquote": "rtl"}.items():
        assert prose.locator(tag).evaluate(direction) == expected, tag
    # The two lines of the first paragraph begin on different sides.
    places = prose.locator("p").first.evaluate(
        """paragraph => [...paragraph.childNodes].filter(node => node.nodeType === 3).map(node => {
          const range = document.createRange();
          range.selectNodeContents(node);
          const box = range.getBoundingClientRect(), around = paragraph.getBoundingClientRect();
          return [box.left - around.left < 3, around.right - box.right < 3];
        })"""
    )
    assert places == [[False, True], [True, False]]
    # List marks are inside the card.
    assert page.evaluate(
        "document.querySelector('.answer.left').scrollWidth <= document.querySelector('.answer.left').clientWidth"
    )


def test_wide_formulas_scroll_inside_their_answer_and_are_reached_by_keyboard(site: WebSite, visit: Visit) -> None:
    wide = "$$" + " + ".join(f"a_{{{number}}}" for number in range(80)) + "$$"
    desk = site.seed(items=[{"messages": HELLO, "a": wide, "b": wide.replace("$$", "$")}])
    page = visit(desk, desk.judge, viewport={"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    for formula in page.locator("math").all():
        expect(formula).to_have_attribute("tabindex", "0")


def worked(page: Page, minutes: float) -> None:
    """As if the person had been at it for so long on this device."""
    page.evaluate(
        "ms => localStorage.setItem('pairloop-worked', JSON.stringify({ ms, at: Date.now() }))", round(minutes * 60_000)
    )


def judge(page: Page, key: str, today: int) -> None:
    settled(page)
    page.keyboard.press(key)
    expect(page.locator("[data-hook=today]")).to_have_text(f"{today} today")


def test_after_fifty_minutes_a_note_between_two_items_suggests_a_rest_and_goes_when_told(
    site: WebSite, visit: Visit
) -> None:
    desk = site.seed(pairs=5)
    page = visit(desk, desk.judge)
    note = page.get_by_text("You have been at it for")
    worked(page, 48)
    judge(page, "a", 1)
    expect(note).to_have_count(0)
    worked(page, 51)
    # Not while somebody is reading, and it takes neither the focus nor a key.
    page.keyboard.press("Shift")
    expect(note).to_have_count(0)
    judge(page, "b", 2)
    expect(note).to_contain_text("51 minutes")
    expect(page.locator("article.item")).to_be_focused()
    judge(page, "t", 3)
    page.get_by_role("button", name="All right").click()
    expect(note).to_have_count(0)
    judge(page, "t", 4)
    expect(note).to_have_count(0)


def test_a_pause_starts_the_count_again_and_the_reminder_can_be_turned_off_for_good(
    site: WebSite, visit: Visit
) -> None:
    desk = site.seed(pairs=4)
    page = visit(desk, desk.judge)
    note = page.get_by_text("You have been at it for")
    page.evaluate(
        "localStorage.setItem('pairloop-worked', JSON.stringify({ ms: 6e6, at: Date.now() - 6 * 60 * 1000 }))"
    )

    def starts_again() -> bool:
        page.keyboard.press("Shift")
        return bool(page.evaluate("JSON.parse(localStorage.getItem('pairloop-worked')).ms") == 0)

    eventually(page, starts_again)  # Signs of life are counted once a second.
    page.get_by_text("View", exact=True).click()
    page.get_by_label("Remind me to rest").select_option("never")
    page.keyboard.press("Escape")
    page.reload()
    worked(page, 100)
    judge(page, "a", 1)
    expect(note).to_have_count(0)
    page.get_by_text("View", exact=True).click()
    page.get_by_label("Remind me to rest").select_option("after 25 minutes")
    page.keyboard.press("Escape")
    judge(page, "a", 2)
    expect(note).to_be_visible()
    page.keyboard.press("Escape")
    expect(note).to_have_count(0)
