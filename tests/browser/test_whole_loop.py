"""The whole way, in a browser, on the site that `make up` starts: judge by keyboard, train, judge the new policy."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.hands import eventually, settled
from tests.live_site import OWNER, LiveSite, live_site
from training.engine.domain import true_reward

JUDGED = 16
MINUTE = 60_000


@pytest.fixture(scope="module")
def site(tiny_starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    """What its model says is babble, and everything around it is real."""
    home = tmp_path_factory.mktemp("whole-loop")
    shutil.copytree(tiny_starter, home / "models" / "starter")
    with live_site(home, PAIRLOOP_TICK_SECONDS="1") as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


def ask(site: LiveSite, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(site.home / "db.sqlite3", timeout=20)) as database:
        return database.execute(query).fetchall()


def judge_one(page: Page) -> None:
    """Prefers what the domain's hidden reward prefers, by keyboard, and waits for the next pair."""
    message, left, right = (page.locator(f"[data-hook={hook}]").inner_text() for hook in ("message", "a", "b"))
    shown = page.locator("[name=client_id]").input_value()
    settled(page)
    page.keyboard.press("1" if true_reward(message, left) >= true_reward(message, right) else "2")
    expect(page.locator("[name=client_id]")).not_to_have_value(shown, timeout=MINUTE)


def test_a_newcomer_judges_trains_and_judges_the_new_policy(site: LiveSite, browser: Browser) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(site.url)
    page.get_by_label("User name").fill(OWNER)
    page.get_by_label("Password").fill(site.owner_password)
    page.keyboard.press("Enter")

    page.get_by_role("link", name="Judge").first.click()
    page.wait_for_url("**/judge/")
    loaded = page.evaluate("performance.timeOrigin")
    for _ in range(JUDGED):
        judge_one(page)
    assert page.evaluate("performance.timeOrigin") == loaded, "a page load came between two pairs"
    assert ask(site, "SELECT count(*), count(DISTINCT client_id) FROM annotate_judgment") == [(JUDGED, JUDGED)]

    page.goto(f"{site.url}/projects/1/")
    page.get_by_role("button", name="Start training").click()
    expect(page).to_have_url(f"{site.url}/projects/1/runs/1/")
    expect(page.get_by_text("Finished", exact=True).first).to_be_visible(timeout=5 * MINUTE)
    expect(page.locator("#curves .curve canvas").first).to_be_visible()  # drawn while it ran, without a reload
    [(result, policy)] = ask(
        site,
        "SELECT run.result, policy.number FROM training_run run JOIN training_policy policy ON policy.run_id = run.id",
    )
    assert policy == 1
    assert json.loads(str(result))["status"] == "finished"
    items = ask(site, "SELECT outcome, count(*) FROM training_snapshotitem GROUP BY outcome")
    assert sum(int(str(count)) for _, count in items) == JUDGED
    assert {outcome for outcome, _ in items} <= {"used", "skipped"}

    its_pairs = (
        "SELECT count(*) FROM annotate_comparison comparison"
        " JOIN annotate_response response ON response.id = comparison.first_id"
        " JOIN annotate_author author ON author.id = response.author_id"
        " WHERE author.number = 1 AND comparison.split = 'train'"
    )
    eventually(page, lambda: ask(site, its_pairs) != [(0,)], patience_ms=5 * MINUTE)
    page.goto(f"{site.url}/projects/1/judge/")
    of_the_new_policy = (
        "SELECT count(*) FROM annotate_judgment judgment"
        " JOIN annotate_comparison comparison ON comparison.id = judgment.comparison_id"
        " JOIN annotate_response response ON response.id = comparison.first_id"
        " JOIN annotate_author author ON author.id = response.author_id WHERE author.number = 1"
    )
    for _ in range(200):
        # The pair that was open when the round ended is still the old policy's, and stays with its annotator.
        if ask(site, of_the_new_policy) != [(0,)]:
            break
        judge_one(page)
    assert ask(site, of_the_new_policy) != [(0,)]
    assert problems == []


def test_an_export_of_that_loop_leaves_no_trace_of_who_judged(site: LiveSite, tmp_path: Path) -> None:
    target = tmp_path / "judgments.jsonl"
    done = site.manage("export", "1", "judgments", "--format", "jsonl", "--output", os.fspath(target))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(rows) >= JUDGED
    assert OWNER not in {str(value) for row in rows for value in row.values()}
    verified = site.manage("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
