"""Sentences keep their text and values, in JSON and in a column; as strings they are English."""

import copy
import json
from datetime import UTC, datetime

import pytest

from annotate.said import Clock, Said, counted, from_column, packed, to_column, unpacked

AT = datetime(2026, 11, 21, 15, 7, tzinfo=UTC)
SENTENCES = [
    Said("paused: nothing starts by itself"),
    Said("queue low: %(open)s of %(target)s open items", open=12, target=60),
    Said("waiting: %(why)s", why=Said("there is no model in %(folder)s", folder="/models/ö")),
    Said("not sampled from: %(why)s.", why=[Said("one"), Said("%(n)s more", n=2)]),
    Said("every %(hours)s hours", hours=1.5),
    Said("next round at %(time)s", time=AT),
    Said("trying again at %(time)s", time=Clock(AT)),
    counted("%(n)s row", "%(n)s rows", n=1),
    counted("%(n)s row of %(all)s", "%(n)s rows of %(all)s", n=3, all=9),
]


@pytest.mark.parametrize("sentence", SENTENCES, ids=str)
def test_a_sentence_comes_back_from_json_and_from_a_column_as_it_was(sentence: Said) -> None:
    for back in (unpacked(json.loads(json.dumps(packed(sentence)))), from_column(to_column(sentence))):
        assert isinstance(back, Said)
        assert (back, back.text, back.many) == (sentence, sentence.text, sentence.many)
        assert packed(back) == packed(sentence)


@pytest.mark.parametrize(
    ("sentence", "english"),
    [
        (SENTENCES[2], "waiting: there is no model in /models/ö"),
        (SENTENCES[3], "not sampled from: one, 2 more."),
        (SENTENCES[4], "every 1.5 hours"),
        (SENTENCES[5], "next round at 2026-11-21 15:07 UTC"),
        (SENTENCES[6], "trying again at 15:07 UTC"),
        (SENTENCES[7], "1 row"),
        (SENTENCES[8], "3 rows of 9"),
        (Said("%(small)s and %(large)s", small=9999, large=10_000), "9999 and 10,000"),
        (Said("100% sure"), "100% sure"),
    ],
)
def test_as_a_string_it_is_english(sentence: Said, english: str) -> None:
    assert sentence == english


def test_a_copy_keeps_its_values() -> None:
    assert packed(copy.deepcopy(SENTENCES[1])) == packed(SENTENCES[1])


@pytest.mark.parametrize("text", ["", "Please read section 2.", '{"text": "half', '{"text": "x"}', '{"text": 5}', "{}"])
def test_what_a_person_wrote_stays_what_it_is(text: str) -> None:
    kept = from_column(to_column(text))
    assert kept == text
    assert not isinstance(kept, Said)


@pytest.mark.parametrize("kept", [None, "words", 7, {"text": 1}, {"at": "soon"}, {"clock": None}, {"values": 3}, []])
def test_json_that_is_no_sentence_never_raises(kept: object) -> None:
    assert not isinstance(unpacked(kept), Said)
