"""Rows into files, JSONL or Parquet, a few at a time: memory does not grow with the export."""

import json
import random
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from annotate.exports.shapes import Row, What

FileFormat = Literal["jsonl", "parquet"]

# Rows in one Parquet row group, which is what is held in memory.
_GROUP = 500

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_TIME = pa.timestamp("us", tz="UTC")


def _answer_fields(prefix: str) -> list[tuple[str, pa.DataType]]:
    return [
        (f"{prefix}response", pa.int64()),
        (f"{prefix}text", pa.string()),
        (f"{prefix}author", pa.string()),
        (f"{prefix}author_kind", pa.string()),
        (f"{prefix}policy", pa.int64()),
        (f"{prefix}sampling", pa.string()),
        (f"{prefix}edited_from", pa.int64()),
    ]


_DECISION_START = [
    ("id", pa.int64()),
    ("client_id", pa.string()),
    ("project", pa.int64()),
    ("prompt", pa.int64()),
    ("prompt_sha256", pa.string()),
    ("split", pa.string()),
    ("messages", _MESSAGES),
]
_DECISION_END = [
    ("skip_reason", pa.string()),
    ("rationale", pa.string()),
    ("tags", pa.list_(pa.string())),
    ("annotator", pa.string()),
    ("guideline_version", pa.int64()),
    ("round", pa.int64()),
    ("active_seconds", pa.float64()),
    ("shown_at", _TIME),
    ("created_at", _TIME),
    ("superseded_at", _TIME),
    ("retracted_at", _TIME),
    ("retraction", pa.int64()),
    ("retraction_reason", pa.string()),
]

# Fixed, so that a column of nothing but nulls has the same type as a full one.
SCHEMAS: dict[What, pa.Schema] = {
    "judgments": pa.schema(
        [
            *_DECISION_START,
            ("comparison", pa.int64()),
            ("purpose", pa.string()),
            *_answer_fields("a_"),
            *_answer_fields("b_"),
            ("choice", pa.string()),
            ("preferred", pa.int64()),
            ("strength", pa.int64()),
            ("swapped", pa.bool_()),
            ("edited_response", pa.int64()),
            ("edited_text", pa.string()),
            *_DECISION_END,
        ]
    ),
    "ratings": pa.schema([*_DECISION_START, *_answer_fields("answer_"), ("value", pa.string()), *_DECISION_END]),
    "rankings": pa.schema(
        [
            *_DECISION_START,
            ("lineup", pa.int64()),
            ("purpose", pa.string()),
            ("answers", pa.list_(pa.struct([("rank", pa.int64()), *_answer_fields("")]))),
            ("value", pa.string()),
            *_DECISION_END,
        ]
    ),
    "dpo": pa.schema(
        [
            ("prompt", _MESSAGES),
            ("chosen", _MESSAGES),
            ("rejected", _MESSAGES),
            ("source", pa.string()),
            ("source_id", pa.int64()),
        ]
    ),
    "kto": pa.schema([("prompt", _MESSAGES), ("completion", _MESSAGES), ("label", pa.bool_())]),
    "sft": pa.schema([("prompt", _MESSAGES), ("completion", _MESSAGES)]),
}


def write_rows(rows: Iterable[Row], file: BinaryIO, *, what: What, format: FileFormat) -> int:  # noqa: A002
    """Writes all rows with the columns of ``SCHEMAS[what]``, in that order; returns how many they were."""
    return (_write_parquet if format == "parquet" else _write_jsonl)(rows, file, SCHEMAS[what])


def _write_jsonl(rows: Iterable[Row], file: BinaryIO, schema: pa.Schema) -> int:
    count = 0
    for row in rows:
        ordered = {name: row[name] for name in schema.names}
        file.write(json.dumps(ordered, ensure_ascii=False, allow_nan=False, default=_json_value).encode() + b"\n")
        count += 1
    return count


def _write_parquet(rows: Iterable[Row], file: BinaryIO, schema: pa.Schema) -> int:
    count = 0
    source = iter(rows)
    with pq.ParquetWriter(file, schema) as writer:
        while group := list(islice(source, _GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _json_value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in an export row.")


def shuffled(rows: Iterable[Row], *, seed: int) -> Iterator[Row]:
    """The same rows in an order that depends on their number and the seed only; eight bytes of memory a row.

    TRL's KTO trainer reads its rows in the order of the file, and takes its KL estimate from neighbours: labels in
    blocks (all pairs taken apart one after another) would bias it.
    """
    with tempfile.TemporaryFile(prefix="pairloop-export-") as spool:
        places = array("Q")
        for row in rows:
            places.append(spool.tell())
            spool.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        random.Random(seed).shuffle(places)
        for place in places:
            spool.seek(place)
            yield json.loads(spool.readline())
