"""Migrating an empty database takes ten seconds: it is done once, and whoever needs a site of their own gets a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live_site import ROOT

DATABASE = "db.sqlite3"


def manage(*command: str, home: Path, **env: str) -> None:
    """A management command with the settings of a site at ``home``, and none of this process's own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PAIRLOOP_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={**clean, "PAIRLOOP_HOME": str(home), **env},
        capture_output=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"manage.py {command[0]} failed:\n{done.stderr.decode()[-4000:]}")


def copy_database(migrated: Path, home: Path) -> None:
    """Gives the site at ``home`` a migrated, empty database (``migrated`` is the fixture)."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated / DATABASE, home / DATABASE)
