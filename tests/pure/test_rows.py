import dataclasses
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from annotate.records import Answer, JudgmentRecord, RankingRecord, RatingRecord
from training.rows import SKIP_REASONS, dpo_rows, kto_rows, maker, rows_sha256, shortcoming

WHEN = datetime(2026, 11, 21, tzinfo=UTC)
ASK = [{"role": "user", "content": "Where is my parcel?"}]
KIND = Answer(id=1, text="On its way, sorry for the wait.", author="base", author_kind="policy", policy=0)
CURT = Answer(id=2, text="Wait.", author="base", author_kind="policy", policy=0)


def judgment(pk: int = 7, choice: str = "A", **fields: object) -> JudgmentRecord:
    made = JudgmentRecord(
        id=pk,
        client_id=f"00000000-0000-0000-0000-{pk:012}",
        project=1,
        comparison=pk,
        purpose="collect",
        prompt=3,
        prompt_sha256="00",
        split="train",
        messages=ASK,
        a=KIND,
        b=CURT,
        choice=choice,
        strength=None,
        skip_reason="unclear" if choice == "skip" else "",
        rationale="",
        tags=[],
        swapped=False,
        annotator="ann-0001",
        guideline_version=1,
        round=1,
        active_seconds=2.5,
        shown_at=WHEN,
        created_at=WHEN,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def rating(pk: int = 5, value: str = "up", **fields: object) -> RatingRecord:
    made = RatingRecord(
        id=pk,
        client_id=f"00000000-0000-0000-0000-{pk:012}",
        project=1,
        prompt=3,
        prompt_sha256="00",
        split="train",
        messages=ASK,
        answer=KIND,
        value=value,
        skip_reason="",
        rationale="",
        tags=[],
        annotator="ann-0001",
        guideline_version=1,
        round=1,
        active_seconds=None,
        shown_at=None,
        created_at=WHEN,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_preference_becomes_a_row_with_what_the_annotator_chose() -> None:
    made = dpo_rows([judgment(choice="B")])
    assert made.rows == [{"id": "j7", "messages": ASK, "chosen": CURT.text, "rejected": KIND.text}]
    assert made.items[0].row_ids == ("j7",)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"choice": "tie"}, "tie"),
        ({"choice": "both_bad"}, "both_bad"),
        ({"choice": "skip"}, "skip"),
        ({"split": "reserved"}, "reserved"),
        ({"purpose": "duel", "split": "reserved"}, "duel"),
        ({"purpose": "gold"}, "gold"),
        ({"purpose": "recheck"}, "recheck"),
        ({"messages": []}, "no_messages"),
        ({"b": replace(CURT, text=" \n")}, "empty"),
        ({"b": replace(CURT, text=KIND.text + "\n")}, "identical"),
    ],
)
def test_what_teaches_no_preference_is_skipped_for_a_reason_that_has_words(fields: dict, reason: str) -> None:
    made = dpo_rows([judgment(**fields)])
    assert made.rows == []
    assert made.items[0].skip_reason == reason
    assert reason in SKIP_REASONS


OWN = Answer(id=3, text="It comes today; sorry for the wait.", author="ann-1", author_kind="person", policy=None)


def test_an_edited_answer_is_one_more_pair_and_one_more_good_answer_of_the_same_decision() -> None:
    made = dpo_rows([judgment(choice="A", edited=OWN)])
    assert [(row["id"], row["chosen"], row["rejected"]) for row in made.rows] == [
        ("j7", KIND.text, CURT.text),
        ("j7e", OWN.text, KIND.text),
    ]
    assert [item.row_ids for item in made.items] == [("j7", "j7e")]
    made = kto_rows([judgment(choice="B", edited=OWN)], [])
    assert [(row["completion"], row["label"]) for row in made.rows] == [
        (KIND.text, False), (CURT.text, True), (OWN.text, True),
    ]  # fmt: skip
    assert made.items[0].row_ids == ("j7a", "j7b", "j7e")


def test_an_edit_of_two_equal_answers_is_learnt_from_and_an_edit_on_a_reserved_prompt_is_not() -> None:
    equal = dpo_rows([judgment(edited=OWN, b=replace(CURT, text=KIND.text))])
    assert [row["id"] for row in equal.rows] == ["j7e"]
    assert dpo_rows([judgment(edited=OWN, split="reserved")]).skipped == {"reserved": 1}
    assert dpo_rows([judgment(edited=OWN, a=replace(KIND, text=""))]).skipped == {"empty": 1}


def ranking(pk: int = 4, ranks: tuple[int, ...] = (2, 1, 3), **fields: object) -> RankingRecord:
    shared = {field.name for field in dataclasses.fields(RankingRecord)}
    values = {key: value for key, value in dataclasses.asdict(judgment(pk)).items() if key in shared}
    own = Answer(id=3, text="Tomorrow.", author="base", author_kind="policy", policy=0)
    about = {"lineup": 9, "answers": [KIND, CURT, own], "ranks": list(ranks), "value": "ranked" if ranks else "skip"}
    return replace(RankingRecord(**{**values, "messages": ASK, **about}), **fields)  # type: ignore[arg-type]


def test_a_ranking_makes_a_row_of_each_two_answers_of_different_rank() -> None:
    made = dpo_rows([], rankings=[ranking()])
    assert [(row["id"], row["chosen"], row["rejected"]) for row in made.rows] == [
        ("k4-2-1", CURT.text, KIND.text),
        ("k4-1-3", KIND.text, "Tomorrow."),
        ("k4-2-3", CURT.text, "Tomorrow."),
    ]
    assert [(item.kind, item.id, len(item.row_ids)) for item in made.items] == [("ranking", 4, 3)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ranks": [1, 1, 1]}, "tie"),
        ({"ranks": [], "value": "skip"}, "skip"),
        ({"split": "reserved"}, "reserved"),
        ({"purpose": "gold"}, "gold"),
        ({"purpose": "recheck"}, "recheck"),
        ({"messages": []}, "no_messages"),
        ({"answers": [KIND, KIND, KIND]}, "identical"),
    ],
)
def test_a_ranking_that_teaches_nothing_is_skipped_for_a_reason_that_has_words(fields: dict, reason: str) -> None:
    made = dpo_rows([], rankings=[ranking(**fields)])
    assert (made.rows, made.items[0].skip_reason) == ([], reason)
    assert reason in SKIP_REASONS


def test_kto_learns_nothing_from_an_order_and_says_so() -> None:
    made = kto_rows([], [], [ranking()])
    assert (made.rows, made.skipped) == ([], {"needs_singles": 1})
    assert "needs_singles" in SKIP_REASONS


def test_every_decision_is_accounted_for_once() -> None:
    judgments = [judgment(1), judgment(2, "tie"), judgment(3, "B", edited=OWN), judgment(4, split="reserved")]
    ratings = [rating(1), rating(2, "skip")]
    for made in (dpo_rows(judgments, ratings), kto_rows(judgments, ratings)):
        assert sorted((item.kind, item.id) for item in made.items) == [
            *(("judgment", pk) for pk in (1, 2, 3, 4)),
            *(("rating", pk) for pk in (1, 2)),
        ]
        used = [item for item in made.items if item.row_ids]
        assert len(used) + made.skipped.total() == 6
        assert sorted(row["id"] for row in made.rows) == sorted(row for item in used for row in item.row_ids)


def test_kto_takes_a_judged_pair_apart() -> None:
    made = kto_rows([judgment(choice="B")], [])
    assert [(row["completion"], row["label"]) for row in made.rows] == [(KIND.text, False), (CURT.text, True)]


def test_both_bad_is_two_bad_answers_for_kto() -> None:
    made = kto_rows([judgment(choice="both_bad")], [])
    assert [row["label"] for row in made.rows] == [False, False]


def test_kto_learns_from_thumbs() -> None:
    made = kto_rows([], [rating(1, "up"), rating(2, "down"), rating(3, "skip"), rating(4, split="reserved")])
    assert [(row["id"], row["label"]) for row in made.rows] == [("r1", True), ("r2", False)]
    assert made.skipped == {"skip": 1, "reserved": 1}


def test_the_hash_is_of_the_content_and_the_order() -> None:
    one = dpo_rows([judgment(1), judgment(2)])
    assert one.sha256 == rows_sha256([json.loads(json.dumps(row)) for row in one.rows])
    assert one.sha256 != dpo_rows([judgment(2), judgment(1)]).sha256
    assert one.sha256 != dpo_rows([judgment(1), judgment(2, "B")]).sha256


def test_too_few_rows_are_told_with_what_was_left_out_and_what_to_do() -> None:
    message = shortcoming("dpo", dpo_rows([judgment(1), judgment(2, "tie"), judgment(3, "tie")]), min_rows=8)
    assert "1 of at least 8" in message
    assert "2 judged a tie" in message
    assert "Judge at least 7 more" in message


def test_one_sided_thumbs_are_refused_with_what_to_do() -> None:
    ups = kto_rows([], [rating(pk, "up") for pk in range(1, 9)])
    downs = kto_rows([], [rating(pk, "down") for pk in range(1, 9)])
    assert "Rate some answers down" in shortcoming("kto", ups, min_rows=8)
    assert "Rate some answers up" in shortcoming("kto", downs, min_rows=8)
    mixed = kto_rows([], [rating(pk, "up" if pk % 2 else "down") for pk in range(1, 9)])
    assert shortcoming("kto", mixed, min_rows=8) == ""


def test_single_answers_come_from_thumbs_from_pairs_taken_apart_or_from_both() -> None:
    judged, thumbs = [judgment()], [rating(), rating(6, "down")]
    found = {source: kto_rows(judged, thumbs, source=source) for source in ("all", "ratings", "judgments")}
    assert [len(made.rows) for made in found.values()] == [4, 2, 2]
    assert found["ratings"].skipped == {"other_source": 1}
    assert found["judgments"].skipped == {"other_source": 2}
    assert maker("kto", "ratings")(judged, thumbs, ()).sha256 == found["ratings"].sha256
    assert maker("kto")(judged, thumbs, ()).sha256 == found["all"].sha256


def test_an_answer_worth_imitating_is_one_row_however_many_speak_for_it() -> None:
    judged = [judgment(7), judgment(8, edited=OWN), judgment(9, choice="tie")]
    thumbs = [rating(5, answer=CURT), rating(6, "down")]
    improved = maker("sft")(judged, thumbs, ())
    assert [(row["id"], row["completion"]) for row in improved.rows] == [(f"a{OWN.id}", OWN.text)]
    assert improved.skipped == {"no_demonstration": 3, "tie": 1}
    every = maker("sft", "chosen")([*judged, judgment(10)], thumbs, [ranking()])
    assert [row["id"] for row in every.rows] == sorted({f"a{KIND.id}", f"a{CURT.id}", f"a{OWN.id}"})
    assert [item.row_ids for item in every.items if item.id in (7, 10)] == [(f"a{KIND.id}",)] * 2
    assert every.skipped == {"tie": 1, "rated_down": 1, "needs_singles": 1}
    # The same row, wherever the first decision for it stands: a snapshot holds some of them only.
    assert maker("sft", "chosen")([judgment(10)], thumbs, ()).rows[0] == every.rows[0]
