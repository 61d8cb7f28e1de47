"""The rules of WCAG 2.2 AA that axe-core can check."""

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

# Of the other kinds of result axe-core keeps one element each: the number of rules that were checked is all we ask.
EVERYTHING = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "resultTypes": ["violations"],
}
# All that another colour scheme can break.
COLOURS = {
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
    "resultTypes": ["violations"],
}
# All that another width can break.
LAYOUT = {
    "runOnly": {"type": "rule", "values": ["scrollable-region-focusable", "target-size", "link-name", "button-name"]},
    "resultTypes": ["violations"],
}


def violations(page: Page, path: str) -> list[str]:
    """What the page breaks, light and dark, one line for each rule and element. ``path`` only names the page.

    It stays dark and without motion: colours that still fade into one another cannot be judged.
    """
    page.evaluate(Axe().axe_script)
    broken = []
    for scheme, rules, passed in (("light", EVERYTHING, 5), ("dark", COLOURS, 0)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        broken += _broken(page, f"{path}, {scheme}", rules, passed)
    return broken


def violations_when_narrow(page: Page, path: str, width: int = 340) -> list[str]:
    """What a page that is checked already breaks on a phone, and whether it is wider than that. It stays narrow."""
    page.set_viewport_size({"width": width, "height": 700})
    broken = _broken(page, f"{path}, phone", LAYOUT, 0)
    wide = page.evaluate("document.documentElement.scrollWidth")
    return [*broken, f"{path}: {wide} pixels wide on a phone"] if wide > width else broken


def _broken(page: Page, name: str, rules: object, passed: int) -> list[str]:
    found = page.evaluate("rules => axe.run(rules)", rules)
    assert len(found["passes"]) > passed, f"{name}: axe-core checked next to nothing"
    return [f"{name}: {rule['id']} at {node['target']}" for rule in found["violations"] for node in rule["nodes"]]
