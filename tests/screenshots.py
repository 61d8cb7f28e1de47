"""The pictures in docs/images, taken from a real site that is judged, trains and samples while we watch.

``python -m tests.screenshots`` (`make screenshots`). Each one light and dark, 1280 wide; judging also as on a
phone. The starter is taken from var/ when it is there, else built.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.install import playwright_chromium, system_chromium
from tests.live_site import OWNER, ROOT, LiveSite, live_site
from training.engine.domain import true_reward

IMAGES = ROOT / "docs" / "images"
MAX_BYTES = 250_000
# Enough for a run that teaches something, few enough to wait for.
JUDGMENTS = 60
MINUTE = 60_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pairloop-screenshots-") as folder:
        home = Path(folder)
        starter = ROOT / "var" / "models" / "starter"
        if (starter / "result.json").exists():
            shutil.copytree(starter, home / "models" / "starter")
        print("- Starting a site", flush=True)
        with live_site(home) as site, _browser() as browser:
            _take_all(browser, site)
    taken = sorted(IMAGES.glob("*.png"))
    for path in taken:
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB")
    large = [path.name for path in taken if path.stat().st_size > MAX_BYTES]
    if large:
        print(f"Larger than {MAX_BYTES // 1000} kB: {', '.join(large)}. Clip them.", file=sys.stderr)
    return 1 if large else 0


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = system_chromium() or playwright_chromium()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def _take_all(browser: Browser, site: LiveSite) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(f"{site.url}/accounts/login/")
    page.fill("[name=login]", OWNER)
    page.fill("[name=password]", site.owner_password)
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"{site.url}/")
    project = f"{site.url}/projects/1"

    # Both modes, so that the next answers are asked about one by one too.
    page.goto(f"{project}/settings/")
    page.select_option("[name=judging]", "both")
    page.click("main form .button.primary")

    print(f"- Judging {JUDGMENTS} pairs by keyboard", flush=True)
    page.goto(f"{project}/judge/")
    judged = _judge_until_telling(page)
    _shoot(page, "judge", height=480)
    page.set_viewport_size({"width": 390, "height": 720})
    page.reload()
    _shoot(page, "judge-phone")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.reload()
    _judge(page, JUDGMENTS - judged)

    print("- Training a run", flush=True)
    page.goto(f"{project}/runs/")
    page.click("#start-run .button.primary")
    page.wait_for_url(f"{project}/runs/1/")
    expect(page.locator(".run-state .badge")).to_have_text("Finished", timeout=10 * MINUTE)
    page.reload()
    page.wait_for_timeout(500)  # the curves are drawn after the page has come
    _shoot(page, "run", height=1500)

    print("- Waiting for the new policy's answers", flush=True)
    page.goto(f"{project}/")
    # The panel looks again by itself; until the new answers have come it says that they are being sampled.
    expect(page.locator(".loop-reason")).to_have_text(re.compile("^Waiting"), timeout=5 * MINUTE)
    page.reload()
    _shoot(page, "project", height=900)
    page.goto(f"{project}/thumbs/")
    _shoot(page, "thumbs", height=480)


def _judge_until_telling(page: Page, most: int = 20) -> int:
    """Judges until a pair comes that shows what judging is about: whole answers, one of them clearly better."""
    for judged in range(most):
        answers = [page.locator(f"[data-hook={hook}]").inner_text() for hook in ("a", "b")]
        if abs(_difference(page)) > 0.3 and all(len(text) > 50 and text.endswith(".") for text in answers):
            return judged
        _judge(page, 1)
    return most


def _difference(page: Page) -> float:
    """How much better A is than B, by the domain's own measure."""
    message, left, right = (page.locator(f"[data-hook={hook}]").inner_text() for hook in ("message", "a", "b"))
    return true_reward(message, left) - true_reward(message, right)


def _judge(page: Page, times: int) -> None:
    """Judges by keyboard as someone would who knows what is good."""
    for _ in range(times):
        field = page.locator("#decision [name=client_id]")
        before = field.input_value()
        difference = _difference(page)
        page.wait_for_timeout(300)  # keys that come at once are taken for the bounce of the last one
        page.keyboard.press("t" if abs(difference) < 0.02 else "ArrowLeft" if difference > 0 else "ArrowRight")
        expect(field).not_to_have_value(before)


def _shoot(page: Page, name: str, *, height: int | None = None) -> None:
    """`NAME-light.png` and `NAME-dark.png`: the window, or one of another height."""
    window = page.viewport_size or {"width": 1280, "height": 800}
    if height is not None:
        page.set_viewport_size({"width": window["width"], "height": height})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_timeout(200)
        page.screenshot(path=IMAGES / f"{name}-{scheme}.png")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(window)


if __name__ == "__main__":
    sys.exit(main())
