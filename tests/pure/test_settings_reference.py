"""Every setting is documented, and nonsense in one is refused with a sentence that says what to write."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kombu import Connection

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "settings.md").read_text()


def settings_with(
    tmp_path: Path, shown: str = "s.DATABASES['default']", **environment: str
) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PAIRLOOP_")}
    return subprocess.run(
        [sys.executable, "-c", f"import config.settings as s; print({shown})"],
        cwd=ROOT,
        env={**clean, "PAIRLOOP_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_variable_that_the_settings_read_is_on_the_page_and_no_other() -> None:
    read = set(re.findall(r"PAIRLOOP_[A-Z_]+", (ROOT / "config" / "settings.py").read_text()))
    documented = set(re.findall(r"^\| `(PAIRLOOP_[A-Z_]+)`", PAGE, re.MULTILINE))
    assert read == documented


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("PAIRLOOP_TICK_SECONDS", "soon", "whole number from 1"),
        ("PAIRLOOP_JOB_LEASE_SECONDS", "0", "whole number from 2"),
        ("PAIRLOOP_DEBUG", "maybe", "1 or 0"),
        ("PAIRLOOP_DATABASE_URL", "mysql://x/y", "postgres://"),
        ("PAIRLOOP_BROKER_URL", "amqp://x", "redis://"),
        ("PAIRLOOP_SECRET_KEY", "short", "at least 50"),
        ("PAIRLOOP_TRUSTED_ORIGINS", "pairloop.example.org", "https://"),
        ("PAIRLOOP_LOG_LEVEL", "chatty", "INFO"),
        ("PAIRLOOP_OIDC_ISSUER", "https://login.example.org", "all three"),
        ("PAIRLOOP_OIDC_DOMAINS", "@example.org", "without an @"),
        ("PAIRLOOP_OIDC_DOMAINS", "example.org", "PAIRLOOP_OIDC_ISSUER"),
        ("PAIRLOOP_OIDC_NAME", "x" * 41, "40 letters"),
        ("PAIRLOOP_LAUNCH", "mpirun -n 2", "torchrun --standalone"),
        ("PAIRLOOP_LAUNCH", "torchrun 'half", "torchrun --standalone"),
        ("PAIRLOOP_TIME_ZONE", "Mars/Olympus", "Europe/Berlin"),
    ],
)
def test_nonsense_stops_the_process_and_says_what_to_write(tmp_path: Path, name: str, value: str, advice: str) -> None:
    done = settings_with(tmp_path, **{name: value})
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert name in last
    assert advice in last


@pytest.mark.parametrize("issuer", ["login.example.org", "http://login.example.org", "ftp://login.example.org"])
def test_the_sign_in_provider_is_asked_over_tls(tmp_path: Path, issuer: str) -> None:
    others = {"PAIRLOOP_OIDC_CLIENT_ID": "pairloop", "PAIRLOOP_OIDC_CLIENT_SECRET": "secret"}
    done = settings_with(tmp_path, PAIRLOOP_OIDC_ISSUER=issuer, **others)
    assert done.returncode != 0
    assert "https://" in done.stderr.strip().splitlines()[-1]
    assert settings_with(tmp_path, PAIRLOOP_OIDC_ISSUER="https://login.example.org/", **others).returncode == 0


def test_the_embedded_broker_has_an_address_that_kombu_takes_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedded = settings_with(tmp_path, "s.CELERY_BROKER_URL")
    Connection(embedded.stdout.strip()).info()
    assert embedded.stdout.startswith("filesystem://")
    assert caplog.messages == []


def test_the_secret_key_is_made_once_and_only_we_may_read_it(tmp_path: Path) -> None:
    assert settings_with(tmp_path).returncode == 0
    key = tmp_path / "secret-key"
    first = key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    assert settings_with(tmp_path).returncode == 0
    assert key.read_text() == first
    assert len(first) >= 50


def test_sqlite_gets_immediate_transactions_and_full_synchronisation(tmp_path: Path) -> None:
    out = settings_with(tmp_path).stdout
    assert "IMMEDIATE" in out
    assert "synchronous=FULL" in out
