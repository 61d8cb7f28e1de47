"""The rules of WCAG 2.2 AA that axe-core can check."""

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


def violations(page: Page, path: str) -> list[str]:
    """What the page breaks, one line for each rule and element. ``path`` only names the page."""
    found = Axe().run(page, options=RULES).response
    assert len(found["passes"]) > 5, f"{path}: axe-core checked next to nothing"
    return [f"{path}: {rule['id']} at {node['target']}" for rule in found["violations"] for node in rule["nodes"]]
