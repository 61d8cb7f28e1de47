"""PURE: a ZIP archive as a stream of bytes, nothing of it on disk and a piece of one file in memory."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

PIECE = 1024 * 1024


class _Pipe(io.RawIOBase):
    """What is written since it was last read. It cannot seek, so that `zipfile` writes sizes behind the data."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: object) -> int:
        self._pieces.append(bytes(piece))  # type: ignore[call-overload]  # any buffer will do
        return len(self._pieces[-1])

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def stream_zip(files: Iterable[tuple[str, Path | bytes]], *, made: datetime) -> Iterator[bytes]:
    """The archive of (name, content or file to read), uncompressed, because weights do not compress.

    The same files and the same ``made`` give the same bytes.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", allowZip64=True) as archive:
        for name, source in files:
            about = zipfile.ZipInfo(name, date_time=made.timetuple()[:6])
            about.external_attr = 0o644 << 16
            with archive.open(about, "w", force_zip64=True) as entry:
                for piece in _pieces(source):
                    entry.write(piece)
                    yield pipe.take()
            yield pipe.take()
    yield pipe.take()


def _pieces(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
