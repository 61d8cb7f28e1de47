"""Export rows: what each shape holds, what it leaves out and why, and that files carry all of it."""

import dataclasses
import io
import json
from datetime import UTC, datetime
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from annotate.exports.files import SCHEMAS, shuffled, write_rows
from annotate.exports.shapes import LEFT_OUT, What, dpo_rows, judgment_row, kto_rows, ranking_row, rating_row, sft_row
from annotate.records import Answer, JudgmentRecord, RankingRecord, RatingRecord

NOW = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
PROMPT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is it? 🎁\n\u2028"}]
LEFT = Answer(id=11, text="On its way.", author="policy 1", author_kind="policy", policy=1, sampling={"seed": 7})
RIGHT = Answer(id=12, text="No idea.", author="base", author_kind="policy", policy=0, sampling={})


def judgment(choice: str = "A", **changes: Any) -> JudgmentRecord:
    record = JudgmentRecord(
        id=1,
        client_id="5f0c1f0e-0000-4000-8000-000000000001",
        project=1,
        comparison=3,
        purpose="collect",
        prompt=4,
        prompt_sha256="ab" * 32,
        split="train",
        messages=PROMPT,
        a=LEFT,
        b=RIGHT,
        choice=choice,
        strength=2 if choice in ("A", "B") else None,
        skip_reason="unclear" if choice == "skip" else "",
        rationale="Helps, =1+1.",
        tags=["tone"],
        swapped=True,
        annotator="ann-12345678",
        guideline_version=1,
        round=2,
        active_seconds=3.25,
        shown_at=None,
        created_at=NOW,
    )
    return dataclasses.replace(record, **changes)


def rating(value: str = "up", **changes: Any) -> RatingRecord:
    shared = {field.name for field in dataclasses.fields(RatingRecord)}
    values = {key: item for key, item in dataclasses.asdict(judgment()).items() if key in shared}
    return dataclasses.replace(RatingRecord(**values, answer=LEFT, value=value), **changes)


THIRD = Answer(id=14, text="Monday.", author="base", author_kind="policy", policy=0, sampling={})


def ranking(ranks: list[int], **changes: Any) -> RankingRecord:
    shared = {field.name for field in dataclasses.fields(RankingRecord)}
    values = {key: item for key, item in dataclasses.asdict(judgment()).items() if key in shared}
    about = {"lineup": 8, "answers": [LEFT, RIGHT, THIRD], "ranks": ranks, "value": "ranked" if ranks else "skip"}
    return dataclasses.replace(RankingRecord(**values | about), **changes)


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_a_preference_becomes_a_pair_whichever_side_won() -> None:
    about = {"prompt": PROMPT, "source": "judgment", "source_id": 1}
    assert dpo_rows(judgment("A")) == [about | {"chosen": said("On its way."), "rejected": said("No idea.")}]
    assert dpo_rows(judgment("B")) == [about | {"chosen": said("No idea."), "rejected": said("On its way.")}]


EDITED = Answer(id=13, text="On its way, sorry.", author="ann-1", author_kind="person", policy=None, edited_from=11)


def test_an_edited_answer_is_a_pair_over_its_original_a_good_answer_and_a_demonstration() -> None:
    record = judgment("A", edited=EDITED)
    pairs = dpo_rows(record)
    assert isinstance(pairs, list)
    assert [(row["source"], row["source_id"], row["chosen"], row["rejected"]) for row in pairs] == [
        ("judgment", 1, said("On its way."), said("No idea.")),
        ("edit", 1, said("On its way, sorry."), said("On its way.")),
    ]
    assert sft_row(record) == {"prompt": PROMPT, "completion": said("On its way, sorry.")}
    singles = kto_rows(record)
    assert [(row["completion"], row["label"]) for row in singles if isinstance(row, dict)] == [
        (said("On its way."), True),
        (said("No idea."), False),
        (said("On its way, sorry."), True),
    ]
    row = judgment_row(record)
    assert (row["edited_response"], row["edited_text"]) == (13, "On its way, sorry.")


def test_what_nobody_edited_is_no_demonstration_and_an_edit_of_equal_answers_is_still_a_pair() -> None:
    assert sft_row(judgment()) == "unedited"
    assert sft_row(judgment(edited=EDITED, purpose="gold")) == "purpose"
    pairs = dpo_rows(judgment(edited=EDITED, b=LEFT))
    assert [row["source"] for row in pairs if isinstance(row, dict)] == ["edit"]
    assert dpo_rows(judgment(edited=EDITED, a=dataclasses.replace(LEFT, text=" "))) == "empty"


@pytest.mark.parametrize("choice", ["tie", "both_bad", "skip"])
def test_a_tie_both_bad_and_a_skip_never_become_a_pair(choice: str) -> None:
    assert dpo_rows(judgment(choice)) == choice


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": "duel"}, "purpose"),
        ({"purpose": "gold"}, "purpose"),
        ({"purpose": "recheck"}, "purpose"),
        ({"a": dataclasses.replace(LEFT, text=" \n")}, "empty"),
        ({"b": dataclasses.replace(RIGHT, text="")}, "empty"),
        ({"b": dataclasses.replace(RIGHT, text="On its way. ")}, "identical"),
    ],
)
def test_what_would_teach_nothing_is_left_out_for_a_reason(changes: dict[str, Any], reason: str) -> None:
    assert dpo_rows(judgment(**changes)) == reason
    assert kto_rows(judgment(**changes)) == reason
    assert reason in LEFT_OUT


def test_a_ranking_becomes_a_pair_of_each_two_that_are_not_tied_all_with_its_id() -> None:
    pairs = dpo_rows(ranking([2, 3, 1]))
    assert isinstance(pairs, list)
    assert [(row["source"], row["source_id"], row["chosen"], row["rejected"]) for row in pairs] == [
        ("ranking", 1, said("On its way."), said("No idea.")),
        ("ranking", 1, said("Monday."), said("On its way.")),
        ("ranking", 1, said("Monday."), said("No idea.")),
    ]
    tied = dpo_rows(ranking([1, 2, 1]))
    assert [row["rejected"] for row in tied if isinstance(row, dict)] == [said("No idea.")] * 2


def test_a_ranking_without_an_order_makes_no_pair() -> None:
    assert dpo_rows(ranking([1, 1, 1])) == "tie"
    assert dpo_rows(ranking([])) == "skip"
    assert dpo_rows(ranking([1, 2, 3], purpose="gold")) == "purpose"
    empty = dataclasses.replace(THIRD, text=" ")
    pairs = dpo_rows(ranking([1, 2, 3], answers=[LEFT, RIGHT, empty]))
    assert [row["chosen"] for row in pairs if isinstance(row, dict)] == [said("On its way.")]
    assert dpo_rows(ranking([1, 2, 2], answers=[empty, RIGHT, LEFT])) == "empty"


def test_the_lossless_ranking_lists_its_answers_as_shown_with_their_ranks() -> None:
    row = ranking_row(ranking([2, 2, 1]))
    assert [(answer["rank"], answer["response"], answer["text"]) for answer in row["answers"]] == [
        (2, 11, "On its way."),
        (2, 12, "No idea."),
        (1, 14, "Monday."),
    ]
    assert [answer["rank"] for answer in ranking_row(ranking([]))["answers"]] == [None] * 3


def test_training_rows_have_the_columns_that_trl_reads_and_no_other() -> None:
    # TRL passes a column named chat_template_kwargs to the tokenizer, for one.
    pairs, singles, shown = dpo_rows(judgment()), kto_rows(rating()), sft_row(judgment(edited=EDITED))
    assert isinstance(pairs, list)
    assert isinstance(singles, list)
    # The two that are ours: TRL trains on a file that has them (tests/engine/test_exports_load.py).
    assert set(pairs[0]) == set(SCHEMAS["dpo"].names) == {"prompt", "chosen", "rejected", "source", "source_id"}
    assert set(shown) == set(SCHEMAS["sft"].names) == {"prompt", "completion"}
    assert set(singles[0]) == set(SCHEMAS["kto"].names) == {"prompt", "completion", "label"}


def test_thumbs_become_labels_and_a_skip_becomes_nothing() -> None:
    assert kto_rows(rating("up")) == [{"prompt": PROMPT, "completion": said("On its way."), "label": True}]
    assert kto_rows(rating("down")) == [{"prompt": PROMPT, "completion": said("On its way."), "label": False}]
    assert kto_rows(rating("skip")) == "skip"
    assert kto_rows(rating(answer=dataclasses.replace(LEFT, text=" "))) == "empty"


def test_a_judged_pair_is_taken_apart_and_both_bad_makes_two_bad_ones() -> None:
    def labels(choice: str) -> list[tuple[str, bool]] | str:
        rows = kto_rows(judgment(choice))
        return rows if isinstance(rows, str) else [(row["completion"][0]["content"], row["label"]) for row in rows]

    assert labels("A") == [("On its way.", True), ("No idea.", False)]
    assert labels("B") == [("On its way.", False), ("No idea.", True)]
    assert labels("both_bad") == [("On its way.", False), ("No idea.", False)]
    assert labels("tie") == "tie"
    assert labels("skip") == "skip"


def test_the_lossless_shapes_hold_every_field_of_a_record() -> None:
    row = judgment_row(judgment())
    plain = {field.name for field in dataclasses.fields(JudgmentRecord)} - {"a", "b", "edited"}
    answer = {field.name for field in dataclasses.fields(Answer)} - {"id"} | {"response"}
    assert set(row) == plain | {"preferred", "edited_response", "edited_text"} | {
        f"{side}_{name}" for side in "ab" for name in answer
    }
    assert row["preferred"] == 11
    assert json.loads(row["a_sampling"]) == {"seed": 7}
    plain = {field.name for field in dataclasses.fields(RatingRecord)} - {"answer"}
    assert set(rating_row(rating())) == plain | {f"answer_{name}" for name in answer}


ROWS: dict[What, dict[str, Any]] = {
    "judgments": judgment_row(judgment()),
    "ratings": rating_row(rating()),
    "rankings": ranking_row(ranking([1, 2, 2])),
    "dpo": dpo_rows(judgment())[0],  # type: ignore[dict-item]
    "sft": sft_row(judgment(edited=EDITED)),  # type: ignore[dict-item]
    "kto": kto_rows(rating())[0],  # type: ignore[dict-item]
}


@pytest.mark.parametrize("what", get_args(What))
def test_both_formats_carry_every_value_back(what: What) -> None:
    jsonl, parquet = io.BytesIO(), io.BytesIO()
    assert write_rows([ROWS[what]] * 3, jsonl, what=what, format="jsonl") == 3
    assert write_rows(iter([ROWS[what]] * 1201), parquet, what=what, format="parquet") == 1201
    lines = jsonl.getvalue().decode().removesuffix("\n").split("\n")
    assert len(lines) == 3
    expected = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in ROWS[what].items()}
    assert json.loads(lines[0]) == expected
    assert list(json.loads(lines[0])) == SCHEMAS[what].names
    table = pq.read_table(parquet)
    assert table.schema.equals(SCHEMAS[what])
    assert table.num_rows == 1201
    assert table.slice(1200).to_pylist() == [ROWS[what]]


@pytest.mark.parametrize("what", get_args(What))
def test_an_empty_parquet_file_still_has_its_columns(what: What) -> None:
    file = io.BytesIO()
    assert write_rows([], file, what=what, format="parquet") == 0
    assert pq.read_table(file).schema.names == SCHEMAS[what].names


def test_shuffling_keeps_every_row_mixes_labels_and_is_the_same_each_time() -> None:
    rows = [{"n": n, "label": n < 500} for n in range(1000)]
    first = list(shuffled(rows, seed=0))
    assert sorted(row["n"] for row in first) == list(range(1000))
    assert first == list(shuffled(rows, seed=0))
    assert first != list(shuffled(rows, seed=1))
    shares = [sum(row["label"] for row in first[start : start + 100]) for start in range(0, 1000, 100)]
    assert all(25 < share < 75 for share in shares)
