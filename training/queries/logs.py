"""The end of a run's engine log, as a lead may see it."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from training.launcher import LOG
from training.log_text import shown
from training.models import Run
from training.paths import job_folder

# Read from the end of the file, in bytes.
MOST = 64 * 1024
_TELLING = re.compile(r"key|token|secret|password|passwd|credential|_url$|_dsn$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LogTail:
    """``text`` is safe to show when escaped; ``seen`` is a mark that changes with it."""

    text: str
    seen: str


def log_tail(run: Run) -> LogTail:
    """What the engine printed last, of the newest attempt at the newest of the run's jobs; empty where there is none.

    The file lies where the worker wrote it: on a site whose workers share no folder with the web there is none here.
    """
    for job in run.jobs.order_by("-created_at"):
        folder = job_folder(job)
        attempts = (int(item.name) for item in folder.iterdir() if item.name.isdecimal()) if folder.is_dir() else ()
        for token in sorted(attempts, reverse=True):
            try:
                with (folder / str(token) / LOG).open("rb") as file:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(0, size - MOST))
                    raw = file.read(MOST).decode(errors="replace")
            except FileNotFoundError:
                continue
            # A first line that was cut is none.
            text = raw if size <= MOST else raw.partition("\n")[2]
            return LogTail(shown(text, secrets=_secrets(), folders=_folders()), f"{job.pk}-{token}-{size}")
    return LogTail("", "")


def _secrets() -> frozenset[str]:
    """Values of this site's settings and environment that are nobody's business."""
    values = {value for name, value in os.environ.items() if _TELLING.search(name)}
    values |= {str(settings.SECRET_KEY), str(settings.DATABASES["default"].get("PASSWORD") or "")}
    return frozenset(values - {""})


def _folders() -> frozenset[str]:
    """Folders of this machine, whose names say who runs it and how."""
    return frozenset({str(settings.HOME), str(settings.BASE_DIR), sys.prefix, sys.base_prefix, str(Path.home())})
