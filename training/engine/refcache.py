"""Log-probabilities under a reference, kept on disk across epochs, runs and rounds. Standard library only.

A reference never changes, and neither does what it says of an answer: computed once, it is true for ever. One folder a
reference; in it segments, each written whole by one process and never changed:

    <cache>/<sha256 of the reference>/<sha256 of the segment>.logps

A segment's name is the digest of its bytes, so a torn or altered one is known at a glance and thrown away. Two workers
that compute the same answers write two segments that agree; nobody waits for anybody. Everything here may be deleted at
any time, also while runs are under way: what is missing is computed again.

It does not know models: `training.engine.reference` says what a reference is and checks a sample of what comes back.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.engine import rundir

if TYPE_CHECKING:
    Numbers = array[float]  # float32, in Python's own container: no numpy where no model is

SUFFIX = ".logps"
# More segments than this in one folder are merged into one, because a run reads all of them.
MOST_SEGMENTS = 16
# What a killed process left aside is nobody's any more after this long.
STALE_SECONDS = 3600.0


def answer_key(prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> bytes:
    """sha256 of exactly the tokens that the model sees, cut as in training: a longer maximal length is another key
    only where it changes the answer."""
    digest = hashlib.sha256(f"{len(prompt_ids)} {len(answer_ids)} ".encode())
    digest.update(",".join(map(str, prompt_ids)).encode() + b";" + ",".join(map(str, answer_ids)).encode())
    return digest.digest()


class ReferenceCache:
    """What is known of one reference. `reference` is a digest in hex that covers all that shapes its answers."""

    def __init__(self, root: Path, reference: str, *, limit_bytes: int) -> None:
        self.root = root
        self.folder = root / reference
        self.limit_bytes = limit_bytes

    def get(self, wanted: Collection[bytes]) -> "dict[bytes, Numbers]":
        """log p of each answer token, for those of the wanted keys that are there. Damaged segments are deleted."""
        found: dict[bytes, Numbers] = {}
        for segment in self._segments():
            before = len(found)
            found |= {key: values for key, values in self._read(segment) if key in wanted}
            if len(found) > before:
                with contextlib.suppress(OSError):
                    os.utime(segment)  # used: it stays longer than others
        return found

    def add(self, values: "Mapping[bytes, Numbers]") -> None:
        """Keeps them, whole or not at all, also through kill -9. A full disk costs only the memory of them."""
        if not values:
            return
        segments = self._segments()
        merging = len(segments) >= MOST_SEGMENTS
        if merging:
            values = {key: known for segment in segments for key, known in self._read(segment)} | dict(values)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            written = self._write(values)
        except OSError:
            return
        for segment in segments if merging else ():
            if segment != written:
                segment.unlink(missing_ok=True)
        trim(self.root, limit_bytes=self.limit_bytes)

    def forget(self) -> None:
        """Deletes all that is known of this reference: something in it was wrong."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def _write(self, values: "Mapping[bytes, Numbers]") -> Path:
        # One line of JSON (keys and lengths), then the numbers as little-endian float32.
        ordered = sorted(values.items())
        head = {"keys": [key.hex() for key, _ in ordered], "lengths": [len(numbers) for _, numbers in ordered]}
        joined: Numbers = array("f")
        for _, numbers in ordered:
            joined.extend(numbers)
        if sys.byteorder == "big":
            joined.byteswap()
        content = rundir.dumps(head).encode() + b"\n" + joined.tobytes()
        place = self.folder / f"{hashlib.sha256(content).hexdigest()}{SUFFIX}"
        aside = self.folder / f".{place.stem}.{os.getpid()}.tmp"
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(place)
        finally:
            aside.unlink(missing_ok=True)
        return place

    def _read(self, segment: Path) -> "Iterator[tuple[bytes, Numbers]]":
        try:
            content = segment.read_bytes()
        except OSError:
            return  # merged or trimmed by another process since we looked
        if hashlib.sha256(content).hexdigest() != segment.stem:
            with contextlib.suppress(OSError):
                segment.unlink()
            return
        head, _, numbers = content.partition(b"\n")
        listed = json.loads(head)
        joined: Numbers = array("f")
        joined.frombytes(numbers)
        if sys.byteorder == "big":
            joined.byteswap()
        start = 0
        for key, length in zip(listed["keys"], listed["lengths"], strict=True):
            yield bytes.fromhex(key), joined[start : start + length]
            start += length


def trim(root: Path, *, limit_bytes: int) -> None:
    """Deletes the segments that were used longest ago until at most `limit_bytes` are left, and what crashes left."""
    sizes: list[tuple[float, int, Path]] = []
    for folder in (item for item in root.iterdir() if item.is_dir()):
        for file in folder.iterdir():
            with contextlib.suppress(OSError):
                facts = file.stat()
                if file.suffix == SUFFIX:
                    sizes.append((facts.st_mtime, facts.st_size, file))
                elif file.suffix == ".tmp" and facts.st_mtime < time.time() - STALE_SECONDS:
                    file.unlink()
    total = sum(size for _, size, _ in sizes)
    for _, size, file in sorted(sizes):
        if total <= limit_bytes:
            break
        with contextlib.suppress(OSError):
            file.unlink()
            total -= size
        with contextlib.suppress(OSError):
            file.parent.rmdir()  # only when it was the last one
