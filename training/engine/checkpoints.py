"""Checkpoints that can be trusted: written aside, fsynced, hashed, renamed into place; resumed only after verification.

TRL and transformers write checkpoints in place and pick the newest by name. A crash in the middle of a save then breaks
every later resume; a missing optimizer file or a reordered dataset resumes without a word, differently. So the trainer
saves into a work folder that nobody resumes from, and what it saved is moved here.

    checkpoints/checkpoint-25/            files of the trainer, and manifest.json about rows, spec and versions
    checkpoints/checkpoint-50.damaged/    did not verify: kept for whoever wants to look, never used
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from annotate.said import Said
from training.engine import rundir

FOLDER = "checkpoints"
_NAME = re.compile(r"checkpoint-(\d+)")


def keep(written: Path, root: Path, *, about: Mapping[str, Any], limit: int) -> Path:
    """Publishes the folder `written` (named checkpoint-N) below `root`, and removes all but the newest `limit`."""
    root.mkdir(exist_ok=True)
    place = root / written.name
    rundir.put_in_place(written, place, about)
    for _, old in _numbered(root)[:-limit]:
        shutil.rmtree(old)
    return place


def newest_verified(
    roots: Sequence[Path], *, about: Mapping[str, Any], warn: Callable[[str], None]
) -> tuple[int, Path] | None:
    """(step, folder) of the newest intact checkpoint of the same rows, settings and versions, or None.

    Damaged ones are renamed to `*.damaged`, with a warning; intact ones that belong to something else are left alone.
    """
    found = sorted((item for root in roots if root.is_dir() for item in _numbered(root)), key=lambda item: item[0])
    for step, folder in reversed(found):
        try:
            recorded = rundir.verify_manifest(folder)["about"]
        except rundir.ManifestError as error:
            warn(Said("A damaged checkpoint is not used: %(why)s.", why=str(error)))
            with contextlib.suppress(OSError):
                folder.rename(folder.with_name(f"{folder.name}.damaged"))
            continue
        if recorded == dict(about):
            return step, folder
        differing = sorted(name for name in {*recorded, *about} if recorded.get(name) != about.get(name))
        warn(
            Said(
                "%(checkpoint)s belongs to another job (%(fields)s differ) and is not used.",
                checkpoint=folder.name,
                fields=list(differing),
            )
        )
    return None


def _numbered(root: Path) -> list[tuple[int, Path]]:
    return sorted(
        (int(match[1]), folder)
        for folder in root.iterdir()
        if folder.is_dir() and (match := _NAME.fullmatch(folder.name))
    )
