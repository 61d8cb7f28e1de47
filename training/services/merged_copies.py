"""Whole models made of adapters, kept within a size: each can be made again, so the one used longest ago goes first."""

import contextlib
import os
import shutil
import time
from pathlib import Path

from django.conf import settings

# Somebody may still be reading what was asked for so many seconds ago: a download takes its time.
IN_USE_SECONDS = 6 * 3600.0
_GONE = ".gone"


def note_use(folder: Path) -> None:
    """It was asked for now."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def trim_merged(*, keep: Path) -> list[Path]:
    """Deletes copies until ``PAIRLOOP_MERGED_MB`` holds, never ``keep``, and none in use. Returns what was deleted.

    0 keeps all of them. What a crash left half deleted goes too.
    """
    root = Path(settings.HOME) / "merged"
    folders = [folder for project in root.iterdir() if project.is_dir() for folder in project.iterdir()]
    for folder in folders:
        if folder.name.endswith(_GONE):
            shutil.rmtree(folder, ignore_errors=True)
    copies = [(_used_at(folder), _bytes_of(folder), folder) for folder in folders if folder.name.isdecimal()]
    surplus = sum(size for _, size, _ in copies) - settings.MERGED_MB * 2**20 if settings.MERGED_MB else 0
    deleted = []
    for used_at, size, folder in sorted(copies):
        if surplus <= 0:
            break
        if folder == keep or used_at > time.time() - IN_USE_SECONDS:
            continue
        with contextlib.suppress(OSError):
            # Whole or not there: nobody finds half of it.
            shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}{_GONE}")), ignore_errors=True)
            deleted.append(folder)
            surplus -= size
    return deleted


def _used_at(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def _bytes_of(folder: Path) -> int:
    total = 0
    for item in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += item.stat().st_size if item.is_file() else 0
    return total
