"""Files of prompts: what is read from good rows, and how each kind of bad row is named."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.prompt_files import (
    SKIP_REASONS,
    Format,
    Problem,
    PromptFileError,
    PromptRow,
    format_of,
    messages_sha256,
    read_prompts,
    split_for,
)

DATA = Path(__file__).parent.parent / "data"
HELLO = [{"role": "user", "content": "Hello"}]


def read(content: bytes | str, *, format: Format = "jsonl", max_chars: int = 1000) -> list[PromptRow | Problem]:  # noqa: A002
    raw = content if isinstance(content, bytes) else content.encode()
    return list(read_prompts(io.BytesIO(raw), format=format, max_chars=max_chars))


def read_one(value: Any, **options: Any) -> PromptRow | Problem:
    (row,) = read(json.dumps(value), **options)
    return row


def reasons(rows: list[PromptRow | Problem]) -> list[tuple[int, str]]:
    return [(row.row, row.reason if isinstance(row, Problem) else "good") for row in rows]


@pytest.mark.parametrize(
    "value",
    [
        {"messages": HELLO},
        {"prompt": "Hello"},
        {"prompt": HELLO},
        {"turns": ["Hello"]},
        {"messages": None, "prompt": "Hello", "system": None},
        {"prompt": "Hello", "system": " "},
        {"messages": [{"role": "user", "content": "Hello", "name": None}]},
    ],
)
def test_each_shape_of_a_row_is_the_same_prompt(value: dict[str, Any]) -> None:
    row = read_one(value)
    assert isinstance(row, PromptRow)
    assert row.messages == HELLO
    assert row.sha256 == messages_sha256(HELLO)
    assert row.meta == {}


def test_a_system_text_stands_before_the_prompt() -> None:
    for key, value in (("prompt", "Hello"), ("turns", ["Hello"])):
        row = read_one({key: value, "system": "Be kind."})
        assert isinstance(row, PromptRow)
        assert row.messages == [{"role": "system", "content": "Be kind."}, *HELLO]


def test_what_stands_beside_the_prompt_is_kept_with_its_types() -> None:
    row = read_one({"prompt": "Hello", "question_id": 7, "tags": ["a"], "source": {"url": None}})
    assert isinstance(row, PromptRow)
    assert row.meta == {"question_id": 7, "tags": ["a"], "source": {"url": None}}


def test_later_turns_wait_in_meta_because_the_answer_before_them_does_not_exist() -> None:
    row = read_one({"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite it."], "reference": ["x"]})
    assert isinstance(row, PromptRow)
    assert row.messages == [{"role": "user", "content": "Write."}]
    assert row.meta == {
        "question_id": 81,
        "category": "writing",
        "later_turns": ["Rewrite it."],
        "reference": ["x"],
    }


@pytest.mark.parametrize("name", ["mt_bench_sample.jsonl", "vicuna_bench_sample.jsonl"])
def test_fastchat_questions_are_read_as_they_are(name: str) -> None:
    rows = read((DATA / name).read_bytes(), max_chars=50_000)
    assert len(rows) == 4
    assert all(isinstance(row, PromptRow) and "category" in row.meta for row in rows)


def conversation(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": "text"} for role in roles]}


@pytest.mark.parametrize(
    "roles",
    [("user",), ("system", "user"), ("user", "assistant", "user"), ("system", "user", "assistant", "user")],
)
def test_a_conversation_may_have_a_system_message_and_ends_with_the_user(roles: tuple[str, ...]) -> None:
    assert isinstance(read_one(conversation(*roles)), PromptRow)


@pytest.mark.parametrize(
    "roles",
    [
        ("assistant",),
        ("system",),
        ("user", "user"),
        ("user", "assistant"),
        ("assistant", "user"),
        ("user", "system", "user"),
        ("system", "system", "user"),
        ("human",),
        ("User",),
        ("tool", "user"),
    ],
)
def test_any_other_order_of_roles_is_a_problem(roles: tuple[str, ...]) -> None:
    row = read_one(conversation(*roles))
    assert isinstance(row, Problem)
    assert row.reason == "roles"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "json"),
        ("not json", "json"),
        ('{"prompt": NaN}', "json"),
        ('{"prompt": "x", "score": Infinity}', "json"),
        ('{"prompt": "x", "score": 1e999}', "json"),
        ('{"prompt": "x", "n": ' + "1" * 5000 + "}", "json"),
        ("[" * 100_000, "json"),
        ('{"prompt": "x", "deep": ' + "[" * 50 + "]" * 50 + "}", "json"),
        ("[]", "shape"),
        ("3", "shape"),
        ('"Hello"', "shape"),
        ("{}", "shape"),
        ('{"text": "Hello"}', "shape"),
        ('{"messages": []}', "shape"),
        ('{"messages": "Hello"}', "shape"),
        ('{"messages": ["Hello"]}', "shape"),
        ('{"turns": []}', "shape"),
        ('{"turns": "Hello"}', "shape"),
        ('{"prompt": 3}', "not_text"),
        ('{"prompt": {"a": 1}}', "not_text"),
        ('{"turns": [null]}', "not_text"),
        ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "not_text"),
        ('{"messages": [{"role": "user"}]}', "not_text"),
        ('{"messages": [{"role": 3, "content": "x"}]}', "roles"),
        ('{"messages": [{"content": "x"}]}', "roles"),
        ('{"prompt": ""}', "empty"),
        ('{"prompt": " \\n\\t"}', "empty"),
        ('{"prompt": "x", "system": 3}', "not_text"),
        ('{"prompt": "a\\u0000b"}', "characters"),
        ('{"prompt": "a\\ud800b"}', "characters"),
        ('{"prompt": "x", "note": "\\ud83d"}', "characters"),
        ('{"prompt": "x", "\\u0000": 1}', "characters"),
        ('{"prompt": "' + "x" * 1001 + '"}', "too_long"),
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_are_kept(line: str, reason: str) -> None:
    rows = read(f'{{"prompt": "before"}}\n{line}\n{{"prompt": "after"}}\n')
    assert reasons(rows) == [(1, "good"), (2, reason), (3, "good")]
    assert reason in SKIP_REASONS
    problem = rows[1]
    assert isinstance(problem, Problem)
    json.dumps(problem.message).encode()  # It can be stored, whatever the line held.
    assert len(problem.message) < 300


def test_a_pair_of_surrogate_escapes_is_one_good_character() -> None:
    (row,) = read('{"prompt": "\\ud83d\\ude00"}')
    assert isinstance(row, PromptRow)
    assert row.messages[0]["content"] == "😀"


def test_bytes_that_are_not_utf8_cost_their_line_only() -> None:
    rows = read(b'{"prompt": "one"}\n{"prompt": "caf\xe9"}\n{"prompt": "caf\xc3\xa9"}\n')
    assert reasons(rows) == [(1, "good"), (2, "encoding"), (3, "good")]


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_harmless() -> None:
    rows = read(b'\xef\xbb\xbf{"prompt": "one"}\r\n\r\n  \n{"prompt": "two"}')
    assert reasons(rows) == [(1, "good"), (4, "good")]


class Hostile(io.RawIOBase):
    """One endless line of `[`, made as it is read, which counts what is asked for at once."""

    def __init__(self, size: int) -> None:
        self.size, self.place, self.largest = size, 0, 0

    def read(self, size: int = -1) -> bytes:
        self.largest = max(self.largest, size)
        part = b"[" * min(size, self.size - self.place)
        self.place += len(part)
        return part

    readline = read  # type: ignore[assignment]

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset
        return offset


def test_a_line_without_end_is_one_problem_and_is_never_held_in_memory() -> None:
    file = Hostile(50_000_000)
    rows = list(read_prompts(file, format="jsonl", max_chars=1000))  # type: ignore[arg-type]
    assert reasons(rows) == [(1, "too_long")]
    assert file.largest < 300_000


def test_csv_keeps_its_other_columns_and_reads_quoted_line_ends() -> None:
    rows = read('Prompt,system,category\n"Hello,\nyou",Be kind.,greeting\nBye,,\n', format="csv")
    assert [row.messages for row in rows if isinstance(row, PromptRow)] == [
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello,\nyou"}],
        [{"role": "user", "content": "Bye"}],
    ]
    assert [row.meta for row in rows if isinstance(row, PromptRow)] == [{"category": "greeting"}, {}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_may_be_separated_as_spreadsheets_do(delimiter: str) -> None:
    rows = read(f"id{delimiter}prompt\n1{delimiter}Hello\n", format="csv")
    assert isinstance(rows[0], PromptRow)
    assert rows[0].messages == HELLO


@pytest.mark.parametrize("content", ["", "Hello\nBye\n", "question,answer\nHello,Bye\n"])
def test_csv_without_a_prompt_column_is_one_clear_error(content: str) -> None:
    with pytest.raises(PromptFileError, match='column named "prompt"'):
        read(content, format="csv")


def test_csv_rows_are_counted_from_the_header_as_a_spreadsheet_does() -> None:
    content = b'prompt,x\ngood,1\n,2\n\nextra,1,2\ncaf\xe9,1\nnul\0,1\n"quote"d,1\nlast,1\n'
    assert reasons(read(content, format="csv")) == [
        (2, "good"),
        (3, "empty"),
        (5, "csv"),
        (6, "encoding"),
        (7, "characters"),
        (8, "csv"),
        (9, "good"),
    ]


def test_csv_with_a_quote_that_is_never_closed_says_so() -> None:
    assert reasons(read('prompt\ngood\n"open\nmore\n', format="csv")) == [(2, "good"), (3, "csv")]


def test_csv_with_an_endless_quoted_field_is_refused_as_a_whole() -> None:
    with pytest.raises(PromptFileError, match="Row 3 is longer"):
        read("prompt\ngood\n" + '"open\n' + "x\n" * 500_000, format="csv")


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"PAR1", b"\x1f\x8b\x08", b"\xff\xfeh\x00"])
def test_files_of_other_kinds_are_refused_by_name(start: bytes) -> None:
    with pytest.raises(PromptFileError):
        read(start + b"...")


def test_one_json_array_is_refused_with_advice() -> None:
    with pytest.raises(PromptFileError, match="one object per line"):
        read('[\n {"prompt": "Hello"}\n]\n')


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    for kind in ("jsonl", "csv"):
        for start in (b"", b"prompt,x\n"):
            try:
                rows = read(start + content, format=kind)  # type: ignore[arg-type]
            except PromptFileError:
                continue
            numbers = [row.row for row in rows]
            assert numbers == sorted(set(numbers))


def test_the_split_depends_on_the_first_user_message_alone() -> None:
    one = [{"role": "user", "content": "Where is my  parcel?"}]
    longer = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "where is my parcel? "},
        {"role": "assistant", "content": "On its way."},
        {"role": "user", "content": "When?"},
    ]
    for percent in range(51):
        assert split_for(one, reserved_percent=percent) == split_for(longer, reserved_percent=percent)


@pytest.mark.parametrize("percent", [0, 15, 50])
def test_about_the_asked_share_is_reserved_and_stays_so_when_the_share_grows(percent: int) -> None:
    prompts = [[{"role": "user", "content": f"Question {number}"}] for number in range(4000)]
    reserved = {n for n, prompt in enumerate(prompts) if split_for(prompt, reserved_percent=percent) == "reserved"}
    more = {n for n, prompt in enumerate(prompts) if split_for(prompt, reserved_percent=50) == "reserved"}
    assert abs(len(reserved) / 4000 - percent / 100) < 0.03
    assert reserved <= more


def test_the_identity_of_a_prompt_ignores_the_order_of_keys_and_nothing_else() -> None:
    assert messages_sha256([{"content": "Hello", "role": "user"}]) == messages_sha256(HELLO)
    assert messages_sha256([{"role": "user", "content": "Hello "}]) != messages_sha256(HELLO)
    canonical = b'[{"content":"Hello","role":"user"}]'
    assert messages_sha256(HELLO) == hashlib.sha256(canonical).hexdigest()


def test_the_name_tells_the_format() -> None:
    assert format_of("Prompts.CSV") == "csv"
    assert format_of("prompts.jsonl") == format_of("prompts.ndjson") == format_of("prompts") == "jsonl"
