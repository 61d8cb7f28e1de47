"""PURE: files of prompts, read row by row into messages. No Django, no database.

A row is one of (the first that is there counts, JSON null counts as absent):

- ``messages``: a conversation ``[{"role", "content"}, ...]``: perhaps a system message, then user and assistant in
  turn, the user last;
- ``prompt``: the user's text, or a list of messages as above;
- ``turns``: FastChat's questions. The first turn is the prompt. The later ones wait in ``meta["later_turns"]``: the
  answer they follow up on does not exist yet.

``prompt`` and ``turns`` may stand beside a ``system`` text. Everything else in the row is kept in ``meta``. A CSV file
has a header with ``prompt``, perhaps ``system``, and any other columns.

What is wrong with a row is a ``Problem`` and costs that row only; what is wrong with the file is a ``PromptFileError``.
Memory is bounded by the longest allowed row, whatever the file holds.
"""

import csv
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from annotate.records import Message

Format = Literal["jsonl", "csv"]

# Why a row is skipped, in words for a summary. `duplicate` is told apart by who keeps the rows.
SKIP_REASONS: dict[str, str] = {
    "json": "not valid JSON",
    "csv": "not valid CSV",
    "encoding": "not UTF-8",
    "shape": "no prompt in it",
    "roles": "roles wrong or out of order",
    "not_text": "something that is not text",
    "empty": "empty",
    "too_long": "too long",
    "characters": "characters that cannot be stored",
    "duplicate": "already there",
}

# Nobody's metadata is nested deeper, and SQLite and Python give up at about a thousand levels.
META_MAX_DEPTH = 20
_OWN_KEYS = ("messages", "prompt", "turns", "system")
_SURROGATE = re.compile("[\ud800-\udfff]")

# csv's own limit of 131,072 characters is below what a prompt may have. The setting is the interpreter's, so it is set
# once to a value that every caller can live with; `_Lines` bounds memory.
csv.field_size_limit(2**27)


class PromptFileError(ValueError):
    """The file as a whole cannot be read; the message says what to do."""


class _RowError(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A good row: ``row`` is its line (JSONL) or its record, the header being the first (CSV)."""

    row: int
    messages: list[Message]
    sha256: str
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """A bad row: a key of ``SKIP_REASONS``, and a sentence for whoever has to mend the file."""

    row: int
    reason: str
    message: str


def messages_sha256(messages: list[Message]) -> str:
    """The identity of a prompt: sha256 (hex) over the canonical JSON of its messages."""
    canonical = json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def split_for(messages: list[Message], *, reserved_percent: int) -> str:
    """``reserved`` for about that share of all prompts, else ``train``; the same answer for ever and in every project.

    Only the first user message counts, without its case and spacing, so that conversations with one beginning and
    near copies of a question never stand on both sides of the wall between training and measuring.
    """
    opening = next(message["content"] for message in messages if message["role"] == "user")
    plain = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", opening)).strip().casefold()
    place = int.from_bytes(hashlib.sha256(plain.encode()).digest()[:8], "big") / 2**64
    return "reserved" if place * 100 < reserved_percent else "train"


def format_of(name: str) -> Format:
    """What the file's name says it is: CSV for ``.csv``, JSON lines for everything else."""
    return "csv" if name.lower().endswith(".csv") else "jsonl"


def read_prompts(file: BinaryIO, *, format: Format, max_chars: int) -> Iterator[PromptRow | Problem]:  # noqa: A002
    """The file's rows in order, good and bad ones; blank lines are no rows.

    ``max_chars`` caps all text of one prompt. Raises ``PromptFileError``, while reading, when the file is of another
    kind, or when a CSV header lacks ``prompt`` or a quoted field never ends.
    """
    start = file.read(4)
    file.seek(0)
    for magic, kind in ((b"PK", "a ZIP archive or a spreadsheet"), (b"PAR1", "a Parquet file"), (b"\x1f\x8b", "gzip")):
        if start.startswith(magic):
            raise PromptFileError(f"This is {kind}. Give the rows as plain JSON lines or CSV.")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PromptFileError("This file is UTF-16. Save it as UTF-8 and try again.")
    rows = _csv_rows if format == "csv" else _json_rows
    yield from rows(file, max_chars=max_chars)


def _line_cap(max_chars: int) -> int:
    """Bytes that a line may have: every character as a pair of \\uXXXX escapes, and some metadata."""
    return 12 * max_chars + 256 * 1024


# --- JSON lines -------------------------------------------------------------------------------------------------------


def _json_rows(file: BinaryIO, *, max_chars: int) -> Iterator[PromptRow | Problem]:
    cap = _line_cap(max_chars)
    number = 0
    while line := file.readline(cap + 1):
        number += 1
        if len(line) > cap:
            while not line.endswith(b"\n") and (line := file.readline(64 * 1024)):
                pass
            yield Problem(number, "too_long", f"The line is longer than {cap:,} bytes.")
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip() == b"[":
                raise PromptFileError("This is one JSON array. Write one object per line: jq -c '.[]' file.json")
        if not line.strip():
            continue
        try:
            messages, meta = _read_object(_json(line), max_chars=max_chars)
            yield PromptRow(number, messages, messages_sha256(messages), meta)
        except _RowError as error:
            yield Problem(number, error.reason, str(error))


def _json(line: bytes) -> Any:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise _RowError("encoding", f"Byte {error.start + 1} is not UTF-8. Save the file as UTF-8.") from error
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise _RowError("json", "The JSON is nested too deeply.") from error
    except ValueError as error:
        detail = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise _RowError("json", f"This is not valid JSON: {detail}.") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _read_object(value: Any, *, max_chars: int) -> tuple[list[Message], dict[str, Any]]:
    if not isinstance(value, dict):
        raise _RowError("shape", "The line holds no JSON object with messages, prompt or turns.")
    given = {key: value[key] for key in _OWN_KEYS if value.get(key) is not None}
    meta = {key: entry for key, entry in value.items() if key not in _OWN_KEYS}
    if "messages" in given:
        messages = given["messages"]
    elif isinstance(given.get("prompt"), list):
        messages = given["prompt"]
    elif "prompt" in given:
        messages = _with_system(given.get("system"), given["prompt"])
    elif "turns" in given:
        turns = given["turns"]
        if not isinstance(turns, list) or not turns:
            raise _RowError("shape", "turns must be a list with at least one text.")
        messages = _with_system(given.get("system"), turns[0])
        if len(turns) > 1:
            meta["later_turns"] = turns[1:]
    else:
        raise _RowError("shape", "The row has neither messages, nor prompt, nor turns.")
    _check_meta(meta)
    return _check_messages(messages, max_chars=max_chars), meta


def _with_system(system: Any, prompt: Any) -> list[dict[str, Any]]:
    user = {"role": "user", "content": prompt}
    if system is None or (isinstance(system, str) and not system.strip()):
        return [user]
    return [{"role": "system", "content": system}, user]


# --- CSV --------------------------------------------------------------------------------------------------------------


class _Lines:
    """Lines of a file for ``csv.reader``, which itself would collect an unclosed quote until memory ends."""

    def __init__(self, file: BinaryIO, *, cap: int) -> None:
        self._file = file
        self._cap = cap
        self._left = cap
        self.record = 1

    def next_record(self) -> None:
        self._left = self._cap
        self.record += 1

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                raise PromptFileError(
                    f'Row {self.record} is longer than {self._cap:,} bytes. Is a quote (") left open in it? '
                    "Nothing was imported."
                )
            # Bytes that are not UTF-8 become lone surrogates, which text from a CSV file cannot hold otherwise.
            yield line.decode(errors="surrogateescape")


def _csv_rows(file: BinaryIO, *, max_chars: int) -> Iterator[PromptRow | Problem]:
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)
    lines = _Lines(file, cap=_line_cap(max_chars))
    source = iter(lines)
    header, delimiter = _header(next(source, ""))
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        lines.next_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Problem(lines.record, "csv", f'This is not valid CSV: {error}. Is a quote (") left open?')
            continue
        if not any(cell.strip() for cell in cells):
            continue
        try:
            messages, meta = _read_cells(header, cells, max_chars=max_chars)
            yield PromptRow(lines.record, messages, messages_sha256(messages), meta)
        except _RowError as error:
            yield Problem(lines.record, error.reason, str(error))


def _header(line: str) -> tuple[list[str], str]:
    if _SURROGATE.search(line):
        raise PromptFileError("The CSV header is not UTF-8. Save the file as UTF-8 and try again.")
    for delimiter in (",", ";", "\t"):
        try:
            names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            continue
        plain = [name.casefold() for name in names]
        if "prompt" in plain:
            if len(set(plain)) != len(plain):
                raise PromptFileError("The CSV header names a column twice. Give every column a name of its own.")
            return [name.casefold() if name.casefold() in _OWN_KEYS else name for name in names], delimiter
    raise PromptFileError('The first line of a CSV file must be a header with a column named "prompt".')


def _read_cells(header: list[str], cells: list[str], *, max_chars: int) -> tuple[list[Message], dict[str, Any]]:
    if any(_SURROGATE.search(cell) for cell in cells):
        raise _RowError("encoding", "The row is not UTF-8. Save the file as UTF-8.")
    if len(cells) > len(header):
        raise _RowError("csv", f"The row has {len(cells)} values, the header names {len(header)} columns.")
    values = dict(zip(header, cells, strict=False))
    meta = {name: cell for name, cell in values.items() if name and cell and name not in ("prompt", "system")}
    _check_meta(meta)
    messages = _with_system(values.get("system"), values.get("prompt", ""))
    return _check_messages(messages, max_chars=max_chars), meta


# --- What every row must be -------------------------------------------------------------------------------------------


def _check_messages(value: Any, *, max_chars: int) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise _RowError("shape", "messages must be a list with at least one message.")
    messages: list[Message] = []
    length = 0
    for place, message in enumerate(value, start=1):
        if not isinstance(message, dict):
            raise _RowError("shape", f"Message {place} is no object with role and content.")
        role, content = message.get("role"), message.get("content")
        if not isinstance(content, str):
            raise _RowError("not_text", f"The content of message {place} is not text.")
        _check_characters(content, f"Message {place}")
        if not content.strip():
            raise _RowError("empty", f"Message {place} is empty.")
        length += len(content)
        messages.append({"role": role if isinstance(role, str) else "", "content": content})
    _check_roles([message["role"] for message in messages])
    if length > max_chars:
        raise _RowError("too_long", f"The prompt has {length:,} characters; at most {max_chars:,} are allowed.")
    return messages


def _check_roles(roles: list[str]) -> None:
    turns = roles[1:] if roles[0] == "system" else roles
    for place, role in enumerate(turns):
        expected = "user" if place % 2 == 0 else "assistant"
        if role != expected:
            number = place + 1 + len(roles) - len(turns)
            raise _RowError(
                "roles",
                f"Message {number} is by {role[:40]!r} where {expected!r} must speak: "
                "perhaps a system message, then user and assistant in turn.",
            )
    if len(turns) % 2 == 0:
        raise _RowError("roles", "The last message must be the user's: it is what wants an answer.")


def _check_characters(text: str, where: str) -> None:
    if "\0" in text:
        raise _RowError("characters", f"{where} holds a NUL character.")
    if _SURROGATE.search(text):
        raise _RowError("characters", f"{where} holds half of a surrogate pair, which is no character.")


def _check_meta(value: Any, depth: int = 0) -> None:
    if depth > META_MAX_DEPTH:
        raise _RowError("json", f"The fields beside the prompt are nested deeper than {META_MAX_DEPTH} levels.")
    if isinstance(value, str):
        _check_characters(value, "A field beside the prompt")
    elif isinstance(value, dict):
        for key, entry in value.items():
            _check_characters(key, "The name of a field")
            _check_meta(entry, depth + 1)
    elif isinstance(value, list):
        for entry in value:
            _check_meta(entry, depth + 1)
