"""What hands do on the judging pages, as soon as the page listens and never by the clock."""

import time
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS

# The item that takes choices now, and the item that is there: judge.js lets a moment pass between the two, in which a
# press is the second half of a double click. Playwright's own waiting for a function needs eval, which the site
# forbids.
SETTLED = """() => {
  const id = document.getElementById("decision")?.elements.client_id.value ?? "";
  return document.getElementById("work").dataset.ready === id;
}"""
GETS_THROUGH = """() => fetch(document.querySelector("link[rel=stylesheet]").href, { cache: "no-store" })
  .then(() => true, () => false)"""
# Long enough for what must not happen to happen. It can only hide a fault, never make one.
NOTHING_MS = 200


def eventually(page: Page, check: Callable[[], bool], *, patience_ms: int = PATIENCE_MS) -> None:
    """Waits until ``check`` holds, for what ``expect`` has no words for."""
    patient = time.monotonic() + patience_ms / 1000
    while not check():
        assert time.monotonic() < patient
        page.wait_for_timeout(50)


def settled(page: Page) -> None:
    """Waits until the page listens, and takes choices of the item that is there."""
    page.wait_for_load_state()
    eventually(page, lambda: bool(page.evaluate(SETTLED)))


def press(page: Page, key: str) -> None:
    """Presses a key as soon as it counts, and waits until another item is there, or none."""
    settled(page)
    before = page.locator("#decision [name=client_id]").input_value()
    page.keyboard.press(key)
    expect(page.locator(f"input[name=client_id][value='{before}']")).to_have_count(0)


def cut_off(page: Page) -> None:
    """Takes the network from a page, and waits until nothing gets through: the browser needs a moment for it."""
    page.context.set_offline(True)
    eventually(page, lambda: not page.evaluate(GETS_THROUGH))


def message(page: Page) -> str:
    """The message that the answers at hand are for."""
    return page.locator("[data-hook=message]").inner_text()
