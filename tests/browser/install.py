"""Make sure that a Chromium is here for the browser tests, or fail saying how to get one.

``python -m tests.browser.install``: the system's own, else Debian's by apt when root, else Playwright's download.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def system_chromium() -> str | None:
    """Path of an installed Chromium or Chrome, or None. PAIRLOOP_CHROMIUM names another one."""
    named = os.environ.get("PAIRLOOP_CHROMIUM", "").strip()
    if named:
        return named
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def playwright_chromium() -> str | None:
    """Path of the Chromium that Playwright downloaded earlier, or None."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (not needed when the system has one)

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> int:
    if system_chromium() or playwright_chromium():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("- Installing Debian's chromium for the browser tests", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
        )
    else:
        print("- Downloading Playwright's Chromium for the browser tests", flush=True)
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if system_chromium() or playwright_chromium():
        return 0
    print(
        "The browser tests need Chromium, and none could be installed. Do one of: `apt-get install chromium` as root;"
        " `python -m playwright install chromium`; or set PAIRLOOP_CHROMIUM to the browser's path.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
