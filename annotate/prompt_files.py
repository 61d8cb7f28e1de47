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
from annotate.said import Said

Format = Literal["jsonl", "csv"]

# Why a row is skipped, in words for a summary. `duplicate` is told apart by who keeps the rows.
SKIP_REASONS: dict[str, Said] = {
    "json": Said("not valid JSON"),
    "csv": Said("not valid CSV"),
    "encoding": Said("not UTF-8"),
    "shape": Said("no prompt in it"),
    "roles": Said("roles wrong or out of order"),
    "not_text": Said("something that is not text"),
    "empty": Said("empty"),
    "too_long": Said("too long"),
    "characters": Said("characters that cannot be stored"),
    "duplicate": Said("already there"),
}

# Nobody's metadata is nested deeper, and SQLite and Python give up at about a thousand levels.
META_MAX_DEPTH = 20
_OWN_KEYS = ("messages", "prompt", "turns", "system")
_SURROGATE = re.compile("[\ud800-\udfff]")

# What is often uploaded instead, by its first bytes.
_OTHER_KINDS = (
    (b"PK", Said("a ZIP archive or a spreadsheet")),
    (b"PAR1", Said("a Parquet file")),
    (b"\x1f\x8b", Said("gzip")),
)

# csv's own limit of 131,072 characters is below what a prompt may have. The setting is the interpreter's, so it is set
# once to a value that every caller can live with; `_Lines` bounds memory.
csv.field_size_limit(2**27)


class PromptFileError(ValueError):
    """The file as a whole cannot be read; the message says what to do."""


class _RowError(Exception):
    def __init__(self, reason: str, message: Said) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


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
    message: Said


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
    for magic, kind in _OTHER_KINDS:
        if start.startswith(magic):
            raise PromptFileError(Said("This is %(kind)s. Give the rows as plain JSON lines or CSV.", kind=kind))
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PromptFileError(Said("This file is UTF-16. Save it as UTF-8 and try again."))
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
            yield Problem(number, "too_long", Said("The line is longer than %(bytes)s bytes.", bytes=cap))
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip() == b"[":
                raise PromptFileError(Said("This is one JSON array. Write one object per line: jq -c '.[]' file.json"))
        if not line.strip():
            continue
        try:
            messages, meta = _read_object(_json(line), max_chars=max_chars)
            yield PromptRow(number, messages, messages_sha256(messages), meta)
        except _RowError as error:
            yield Problem(number, error.reason, error.message)


def _json(line: bytes) -> Any:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        sentence = Said("Byte %(place)s is not UTF-8. Save the file as UTF-8.", place=error.start + 1)
        raise _RowError("encoding", sentence) from error
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise _RowError("json", Said("The JSON is nested too deeply.")) from error
    except ValueError as error:
        detail = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise _RowError("json", Said("This is not valid JSON: %(detail)s.", detail=detail)) from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _read_object(value: Any, *, max_chars: int) -> tuple[list[Message], dict[str, Any]]:
    if not isinstance(value, dict):
        raise _RowError("shape", Said("The line holds no JSON object with messages, prompt or turns."))
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
            raise _RowError("shape", Said("turns must be a list with at least one text."))
        messages = _with_system(given.get("system"), turns[0])
        if len(turns) > 1:
            meta["later_turns"] = turns[1:]
    else:
        raise _RowError("shape", Said("The row has neither messages, nor prompt, nor turns."))
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
                    Said(
                        'Row %(row)s is longer than %(bytes)s bytes. Is a quote (") left open in it? '
                        "Nothing was imported.",
                        row=self.record,
                        bytes=self._cap,
                    )
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
            sentence = Said('This is not valid CSV: %(detail)s. Is a quote (") left open?', detail=str(error))
            yield Problem(lines.record, "csv", sentence)
            continue
        if not any(cell.strip() for cell in cells):
            continue
        try:
            messages, meta = _read_cells(header, cells, max_chars=max_chars)
            yield PromptRow(lines.record, messages, messages_sha256(messages), meta)
        except _RowError as error:
            yield Problem(lines.record, error.reason, error.message)


def _header(line: str) -> tuple[list[str], str]:
    if _SURROGATE.search(line):
        raise PromptFileError(Said("The CSV header is not UTF-8. Save the file as UTF-8 and try again."))
    for delimiter in (",", ";", "\t"):
        try:
            names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            continue
        plain = [name.casefold() for name in names]
        if "prompt" in plain:
            if len(set(plain)) != len(plain):
                raise PromptFileError(Said("The CSV header names a column twice. Give every column a name of its own."))
            return [name.casefold() if name.casefold() in _OWN_KEYS else name for name in names], delimiter
    raise PromptFileError(Said('The first line of a CSV file must be a header with a column named "prompt".'))


def _read_cells(header: list[str], cells: list[str], *, max_chars: int) -> tuple[list[Message], dict[str, Any]]:
    if any(_SURROGATE.search(cell) for cell in cells):
        raise _RowError("encoding", Said("The row is not UTF-8. Save the file as UTF-8."))
    if len(cells) > len(header):
        raise _RowError(
            "csv",
            Said(
                "The row has %(values)s values, the header names %(columns)s columns.",
                values=len(cells),
                columns=len(header),
            ),
        )
    values = dict(zip(header, cells, strict=False))
    meta = {name: cell for name, cell in values.items() if name and cell and name not in ("prompt", "system")}
    _check_meta(meta)
    messages = _with_system(values.get("system"), values.get("prompt", ""))
    return _check_messages(messages, max_chars=max_chars), meta


# --- What every row must be -------------------------------------------------------------------------------------------


def _check_messages(value: Any, *, max_chars: int) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise _RowError("shape", Said("messages must be a list with at least one message."))
    messages: list[Message] = []
    length = 0
    for place, message in enumerate(value, start=1):
        if not isinstance(message, dict):
            raise _RowError("shape", Said("Message %(place)s is no object with role and content.", place=place))
        role, content = message.get("role"), message.get("content")
        if not isinstance(content, str):
            raise _RowError("not_text", Said("The content of message %(place)s is not text.", place=place))
        _check_characters(content, Said("Message %(place)s", place=place))
        if not content.strip():
            raise _RowError("empty", Said("Message %(place)s is empty.", place=place))
        length += len(content)
        messages.append({"role": role if isinstance(role, str) else "", "content": content})
    _check_roles([message["role"] for message in messages])
    if length > max_chars:
        raise _RowError(
            "too_long",
            Said("The prompt has %(length)s characters; at most %(most)s are allowed.", length=length, most=max_chars),
        )
    return messages


def _check_roles(roles: list[str]) -> None:
    turns = roles[1:] if roles[0] == "system" else roles
    for place, role in enumerate(turns):
        expected = "user" if place % 2 == 0 else "assistant"
        if role != expected:
            number = place + 1 + len(roles) - len(turns)
            raise _RowError(
                "roles",
                Said(
                    "Message %(number)s is by “%(role)s” where “%(expected)s” must speak: perhaps a system message, "
                    "then user and assistant in turn.",
                    number=number,
                    role=role[:40],
                    expected=expected,
                ),
            )
    if len(turns) % 2 == 0:
        raise _RowError("roles", Said("The last message must be the user's: it is what wants an answer."))


def _check_characters(text: str, where: Said) -> None:
    if "\0" in text:
        raise _RowError("characters", Said("%(where)s holds a NUL character.", where=where))
    if _SURROGATE.search(text):
        raise _RowError(
            "characters", Said("%(where)s holds half of a surrogate pair, which is no character.", where=where)
        )


def _check_meta(value: Any, depth: int = 0) -> None:
    if depth > META_MAX_DEPTH:
        raise _RowError(
            "json",
            Said("The fields beside the prompt are nested deeper than %(levels)s levels.", levels=META_MAX_DEPTH),
        )
    if isinstance(value, str):
        _check_characters(value, Said("A field beside the prompt"))
    elif isinstance(value, dict):
        for key, entry in value.items():
            _check_characters(key, Said("The name of a field"))
            _check_meta(entry, depth + 1)
    elif isinstance(value, list):
        for entry in value:
            _check_meta(entry, depth + 1)
