"""Vendored files are the ones whose hashes we wrote down."""

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"
TABLE = re.findall(
    r"^\| (\S+) \| [^|]+ \| [^|]+ \| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.MULTILINE
)


def test_every_vendored_file_has_the_hash_that_its_table_gives() -> None:
    assert TABLE
    assert {name: hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() for name, _ in TABLE} == dict(TABLE)


def test_no_vendored_script_or_style_is_missing_from_the_table() -> None:
    served = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.suffix in {".js", ".css", ".woff2"}}
    assert served == {name for name, _ in TABLE}
