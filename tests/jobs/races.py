"""Deeds of several people or processes at the same moment, on a database of their own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.live_site import ROOT
from tests.migrated import copy_database


def at_once(*deeds: Callable[[], Any], forgive: tuple[type[Exception], ...]) -> list[Any]:
    """What each deed answered, or the name of the refusal; all began together, each in a thread of its own."""
    from django.db import connection  # noqa: PLC0415  (where Django is set up)

    results: list[Any] = [None] * len(deeds)
    start = threading.Barrier(len(deeds))

    def run(place: int, deed: Callable[[], Any]) -> None:
        start.wait()
        try:
            results[place] = deed()
        except forgive as error:
            results[place] = type(error).__name__
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def environment(engine: str, home: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """Of processes that have an empty, migrated database of `engine` for themselves, and nobody's other settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PAIRLOOP_", "DJANGO_"))}
    env = {"DJANGO_SETTINGS_MODULE": "config.settings", "PAIRLOOP_HOME": str(home), "PAIRLOOP_LOG_LEVEL": "ERROR"}
    if engine == "postgresql":
        env["PAIRLOOP_DATABASE_URL"] = request.getfixturevalue("postgres").migrated_database()
    else:
        copy_database(request.getfixturevalue("migrated"), home)
    return clean | env


def start_python(code: str, *arguments: str, env: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=dict(env), stdout=subprocess.PIPE, text=True
    )


def said_by(code: str, *, env: Mapping[str, str]) -> dict[str, Any]:
    """What a script printed last, as JSON."""
    process = start_python(code, env=env)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return dict(json.loads(out.splitlines()[-1]))
