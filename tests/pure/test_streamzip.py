"""An archive that is made while it is sent."""

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from training import streamzip
from training.streamzip import stream_zip

MADE = datetime(2026, 3, 1, 12, 30, 2, tzinfo=UTC)


def test_the_archive_holds_every_file_as_it_was(tmp_path: Path) -> None:
    big = tmp_path / "weights"
    big.write_bytes(bytes(range(256)) * 12_000)
    pieces = list(stream_zip([("p/a.txt", b"hello"), ("p/weights", big), ("p/empty", b"")], made=MADE))
    assert max(map(len, pieces)) < 2 * streamzip.PIECE < big.stat().st_size
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["p/a.txt", "p/weights", "p/empty"]
        assert archive.read("p/a.txt") == b"hello"
        assert archive.read("p/weights") == big.read_bytes()
        assert archive.infolist()[0].date_time == (2026, 3, 1, 12, 30, 2)


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 99)
    first, second = (b"".join(stream_zip([("a", tmp_path / "a")], made=MADE)) for _ in range(2))
    assert first == second
