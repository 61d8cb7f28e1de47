"""Preferences out, by browser and command line: what is in, what is not, and that nobody sees half a file."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.forms.exports import parse_rounds
from annotate.models import AuditEntry, Author, Project, User
from annotate.queries import records
from annotate.services import exports as service
from annotate.services.review import retract, reverse_retraction
from tests.cast import make_comparison, make_judgment, make_prompt, make_rating, make_response


@pytest.fixture
def judged(project: Project, bob: User, lea: User) -> Project:
    """Two rounds of judgments with every choice, one on a reserved prompt, one superseded; three ratings."""
    for number, choice in enumerate(["A", "B", "tie", "both_bad", "skip"]):
        make_judgment(make_comparison(make_prompt(project), round=1 + number // 3), bob, choice)
    reserved = make_comparison(make_prompt(project, split="reserved"), round=2)
    make_judgment(reserved, bob, "B")
    make_judgment(reserved, lea, "A", superseded_at=timezone.now())
    for value in ("up", "down", "skip"):
        make_rating(make_response(make_prompt(project), round=1), bob, value)
    return project


def download(client: Client, project: Project, **values: str) -> Any:
    return client.post(reverse("annotate:export", args=[project.pk]), {"format": "jsonl", **values})


def rows_of(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200
    return [json.loads(line) for line in b"".join(response.streaming_content).decode().splitlines()]


@pytest.fixture
def leads(client: Client, lea: User) -> Client:
    client.force_login(lea)
    return client


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"what": "judgments"}, 6),
        ({"what": "judgments", "split": "train"}, 5),
        ({"what": "judgments", "include_inactive": "on"}, 7),
        ({"what": "judgments", "rounds": "1"}, 3),
        ({"what": "judgments", "rounds": "1, 2-9"}, 6),
        ({"what": "ratings"}, 3),
        ({"what": "dpo"}, 2),
        ({"what": "dpo", "split": "all"}, 3),
        ({"what": "dpo", "split": "reserved"}, 1),
        ({"what": "dpo", "split": "all", "include_inactive": "on"}, 3),
        ({"what": "kto"}, 2 + 2 * 2 + 2),
        ({"what": "kto", "ratings_only": "on"}, 2),
        ({"what": "kto", "split": "all"}, 2 + 2 * 3 + 2),
    ],
)
def test_each_choice_exports_what_it_says(leads: Client, judged: Project, values: dict[str, str], count: int) -> None:
    rows = rows_of(download(leads, judged, **values))
    assert len(rows) == count


def test_the_download_has_a_name_and_is_noted_with_its_count(leads: Client, judged: Project, lea: User) -> None:
    response = download(leads, judged, what="dpo")
    assert response.headers["Content-Disposition"].startswith(
        f'attachment; filename="dpo-adjudicated-project{judged.pk}-'
    )
    assert len(rows_of(response)) == 2
    entry = AuditEntry.objects.get(verb="export.made")
    assert (entry.actor, entry.subject, entry.detail["rows"]) == (lea, "dpo.jsonl", 2)
    assert entry.detail["left_out"] == {"tie": 1, "both_bad": 1, "skip": 1}


def test_parquet_comes_as_parquet(leads: Client, judged: Project) -> None:
    response = download(leads, judged, what="judgments", format="parquet")
    table = pq.read_table(io.BytesIO(b"".join(response.streaming_content)))
    assert table.num_rows == 6
    assert set(table["choice"].to_pylist()) == {"A", "B", "tie", "both_bad", "skip"}


def test_no_export_holds_a_users_name(leads: Client, judged: Project, bob: User) -> None:
    bob.first_name, bob.last_name, bob.email = "Robert", "Example", "bob@example.org"
    bob.save()
    for what in ("judgments", "ratings", "dpo", "kto"):
        text = json.dumps(rows_of(download(leads, judged, what=what)))
        assert not any(name in text for name in ("bob", "Robert", "Example"))
    assert bob.pseudonym in json.dumps(rows_of(download(leads, judged, what="judgments")))


def test_retracted_decisions_come_only_when_asked_for_and_say_why(
    leads: Client, judged: Project, bob: User, lea: User
) -> None:
    made = retract(project=judged, actor=lea, annotator=bob, reason="clicked through")
    for what, inactive in (("judgments", 6), ("ratings", 3)):
        assert download(leads, judged, what=what).status_code == 422  # nothing is left that counts
        rows = rows_of(download(leads, judged, what=what, include_inactive="on"))
        retracted = [row for row in rows if row["retraction"] == made.pk]
        assert len(retracted) == inactive
        assert {row["retraction_reason"] for row in retracted} == {"clicked through"}
        assert all(row["retracted_at"] for row in retracted)
    assert download(leads, judged, what="dpo", include_inactive="on").status_code == 422
    reverse_retraction(retraction=made, actor=lea)
    rows = rows_of(download(leads, judged, what="judgments"))
    assert {(row["retraction"], row["retraction_reason"], row["retracted_at"]) for row in rows} == {(None, "", None)}


def test_an_edited_answer_names_the_one_it_was_made_of(leads: Client, project: Project, bob: User) -> None:
    prompt = make_prompt(project)
    original = make_response(prompt)
    author = Author.objects.create(project=project, kind=Author.Kind.PERSON, user=bob, name="bob")
    edited = make_response(prompt, "Better.", author=author, edited_from=original)
    make_judgment(make_comparison(prompt, original, edited), bob, "B")
    [row] = rows_of(download(leads, project, what="judgments"))
    assert (row["a_edited_from"], row["b_edited_from"]) == (None, original.pk)


def test_nothing_to_export_is_said_on_the_page(leads: Client, project: Project) -> None:
    response = download(leads, project, what="dpo")
    assert response.status_code == 422
    assert "Nothing fits this choice yet" in response.content.decode()


@pytest.mark.parametrize(
    "values",
    [{}, {"what": "everything"}, {"what": "dpo", "format": "csv"}, {"what": "dpo", "rounds": "one"}],
)
def test_nonsense_is_a_422(leads: Client, judged: Project, values: dict[str, str]) -> None:
    assert download(leads, judged, **values).status_code == 422
    assert not AuditEntry.objects.filter(verb="export.made").exists()


@pytest.mark.parametrize(("raw", "rounds"), [("", None), (" , ", None), ("3", [3]), ("5, 1-3 2", [1, 2, 3, 5])])
def test_rounds_are_read_as_people_write_them(raw: str, rounds: list[int] | None) -> None:
    assert parse_rounds(raw) == rounds


@pytest.mark.parametrize("raw", ["a", "1-", "-3", "4-2", "1-9999", "1;2", "9999999"])
def test_rounds_that_make_no_sense_are_refused(raw: str) -> None:
    with pytest.raises(ValueError, match=raw):
        parse_rounds(raw)


def test_the_number_of_queries_does_not_grow_with_the_rows_of_a_chunk(
    judged: Project, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            selection = service.Selection()
            service.export(
                project=judged, what="judgments", format="parquet", file=io.BytesIO(), selection=selection, actor=None
            )
        return len(captured)

    before = queries()
    for _ in range(20):
        make_judgment(make_comparison(make_prompt(judged)), bob)
    assert queries() == before
    monkeypatch.setattr(records, "CHUNK", 13)
    assert queries() == before + 2  # 26 rows in chunks of 13, 13 and 0.


def run(project: Project, what: str, output: Path, *options: str) -> str:
    out = io.StringIO()
    call_command("export", str(project.pk), what, "--output", str(output), *options, stdout=out)
    return out.getvalue()


def test_the_command_writes_the_file_and_says_what_is_in_it(judged: Project, tmp_path: Path) -> None:
    output = tmp_path / "dpo.jsonl"
    output.write_text("an older file")
    printed = run(judged, "dpo", output)
    assert "2 rows" in printed
    assert "1 left out: judged a tie" in printed
    assert len(output.read_text().splitlines()) == 2
    assert list(tmp_path.iterdir()) == [output]
    assert "6 rows" in run(judged, "judgments", tmp_path / "j.parquet", "--format", "parquet")
    assert "3 rows" in run(judged, "judgments", output, "--round", "1")
    assert "1 rows" in run(judged, "dpo", output, "--split", "reserved")


def test_a_command_that_fails_in_the_middle_leaves_the_older_file_alone(
    judged: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "dpo.jsonl"
    output.write_text("an older file")

    def fails_at_the_second(record: Any, seen: list[Any] = []) -> Any:  # noqa: B006  (remembers calls)
        seen.append(record)
        if len(seen) == 2:
            raise RuntimeError("power cut")
        return "tie"

    monkeypatch.setattr(service, "dpo_rows", fails_at_the_second)
    with pytest.raises(RuntimeError):
        run(judged, "dpo", output)
    assert output.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [output]


def test_the_command_says_what_is_wrong(judged: Project, tmp_path: Path) -> None:
    for options, words in (
        (["999999", "dpo", "--output", str(tmp_path / "x")], "no project 999999"),
        ([str(judged.pk), "dpo", "--output", str(tmp_path / "no" / "x")], "No such file"),
        ([str(judged.pk), "dpo", "--output", str(tmp_path / "x"), "--round", "one"], "numbers and ranges"),
        ([str(judged.pk), "csv", "--output", str(tmp_path / "x")], "invalid choice"),
    ):
        with pytest.raises(CommandError, match=words):
            call_command("export", *options)
    assert list(tmp_path.iterdir()) == []
