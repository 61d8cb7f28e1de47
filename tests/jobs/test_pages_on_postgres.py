"""The pages that count, group and page are asked of PostgreSQL too: with prepared statements a query that SQLite takes
may be refused, for instance for a parameter that stands in SELECT and in GROUP BY."""

import os
import subprocess
import sys

import pytest

from tests.jobs.postgres import PostgresServer
from tests.live_site import ROOT

PAGES = ["accounts", "assignments", "audit", "dashboard", "exports", "judging_pages", "limits", "people", "policies"]
PAGES += ["project_pages", "prompt_pages", "quality_pages", "quiz", "rankings", "registry", "release", "runs"]
PAGES += ["snapshot_aggregation", "snapshot_rankings", "trials", "unsettled", "checks_of_rankings", "quiz_of_rankings"]


# Hundreds of tests in one: a busy machine takes its time for them.
@pytest.mark.timeout(3000)
def test_pages_are_served_from_postgresql(postgres: PostgresServer) -> None:
    files = [f"tests/web/test_{name}.py" for name in PAGES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={**os.environ, "PAIRLOOP_DATABASE_URL": postgres.new_database()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
