"""Prompts in: everything is accounted for, twice changes nothing, and a file that dies leaves nothing behind."""

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from annotate.models import AuditEntry, Project, Prompt, PromptImport, User
from annotate.prompt_files import PromptFileError
from annotate.services import prompts as service
from annotate.services.prompts import import_prompts

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def empty(alice: User) -> Project:
    return Project.objects.create(name="Empty", created_by=alice, reserved_percent=50)


def run(project: Project, content: str | bytes, *, kind: str = "jsonl", by: User | None = None) -> PromptImport:
    raw = content if isinstance(content, bytes) else content.encode()
    done = import_prompts(project=project, file=io.BytesIO(raw), name=f"rows.{kind}", format=kind, created_by=by)  # type: ignore[arg-type]
    assert done.imported + sum(done.skipped.values()) == done.rows
    assert done.imported == done.prompts.count()
    return done


def lines(*texts: str) -> str:
    return "".join(json.dumps({"prompt": text, "n": n}) + "\n" for n, text in enumerate(texts))


def test_good_rows_go_in_and_bad_ones_are_named_by_row(empty: Project, alice: User) -> None:
    content = lines("one") + "{\n" + lines("one", "two") + '{"prompt": ""}\n'
    done = run(empty, content, by=alice)
    assert (done.rows, done.imported, done.skipped) == (5, 2, {"json": 1, "duplicate": 1, "empty": 1})
    assert [(problem["row"], problem["reason"]) for problem in done.problems] == [
        (2, "json"),
        (3, "duplicate"),
        (5, "empty"),
    ]
    assert "row 1" in done.problems[1]["message"]
    assert [prompt.messages[0]["content"] for prompt in empty.prompts.all()] == ["one", "two"]
    assert empty.prompts.first().meta == {"n": 0}  # type: ignore[union-attr]
    entry = AuditEntry.objects.get(verb="prompts.imported")
    assert (entry.actor, entry.detail["imported"]) == (alice, 2)


def test_the_same_file_again_imports_nothing_and_says_so(empty: Project) -> None:
    content = lines(*(f"Question {n}" for n in range(1200)))
    assert run(empty, content).imported == 1200
    again = run(empty, content)
    assert (again.imported, again.skipped) == (0, {"duplicate": 1200})
    assert "earlier import" in again.problems[0]["message"]
    assert len(again.problems) == service.PROBLEMS_KEPT
    assert empty.prompts.count() == 1200


def test_another_project_may_have_the_same_prompts(empty: Project, project: Project) -> None:
    assert run(empty, lines("one")).imported == 1
    assert run(project, lines("one")).imported == 1


def test_the_split_is_fixed_by_the_opening_and_follows_the_projects_share(empty: Project) -> None:
    run(empty, lines(*(f"Question {n}" for n in range(200))))
    reserved = empty.prompts.filter(split="reserved").count()
    assert 70 < reserved < 130
    opening = empty.prompts.filter(split="reserved").first()
    assert opening is not None
    longer = [*opening.messages, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}]
    run(empty, json.dumps({"messages": longer}))
    assert empty.prompts.order_by("-id")[0].split == "reserved"


def test_a_file_that_turns_out_bad_in_the_middle_leaves_nothing(empty: Project) -> None:
    content = "prompt\n" + "good\n" * 3 + '"open\n' + "x\n" * 3_000_000
    with pytest.raises(PromptFileError):
        run(empty, content, kind="csv")
    assert not empty.prompts.exists()
    assert not empty.prompt_imports.exists()


def test_dying_in_the_middle_of_the_insert_leaves_nothing(empty: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = iter([500])
    real = Prompt.objects.bulk_create

    def dies_at_the_second_batch(rows: list[Prompt]) -> list[Prompt]:
        next(batches)
        return real(rows)

    monkeypatch.setattr(type(Prompt.objects), "bulk_create", lambda self, rows: dies_at_the_second_batch(rows))
    with pytest.raises(StopIteration):
        run(empty, lines(*(f"Question {n}" for n in range(1200))))
    assert not empty.prompts.exists()
    assert not empty.prompt_imports.exists()


def test_too_many_rows_are_refused_as_a_whole(empty: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_ROWS", 3)
    assert run(empty, lines("1", "2", "3")).imported == 3
    with pytest.raises(PromptFileError, match="more than 3 rows"):
        run(empty, lines("4", "5", "6", "7"))
    assert empty.prompts.count() == 3


def test_a_row_costs_no_query_of_its_own(empty: Project) -> None:
    with CaptureQueriesContext(connection) as few:
        run(empty, lines(*(f"few {n}" for n in range(10))))
    with CaptureQueriesContext(connection) as many:
        run(empty, lines(*(f"many {n}" for n in range(400))))
    assert len(many) <= len(few) + 4  # SQLite takes an INSERT's rows in a few portions.


def test_the_command_prints_the_same_summary(empty: Project, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(lines("one", "one") + '{"turns": ["two", "later"]}\n{"prompt": 3}\n')
    out = io.StringIO()
    call_command("import_prompts", str(empty.pk), str(file), stdout=out)
    printed = out.getvalue()
    assert (
        "rows.jsonl: 4 rows = 2 imported, 1 skipped (already there), 1 skipped (something that is not text)" in printed
    )
    assert "row 2: The same prompt as in row 1." in printed
    assert "1 of the prompts had later turns" in printed


def test_the_command_reads_fastchats_files_as_they_are(empty: Project) -> None:
    for name in ("mt_bench_sample.jsonl", "vicuna_bench_sample.jsonl"):
        out = io.StringIO()
        call_command("import_prompts", str(empty.pk), str(DATA / name), stdout=out)
        assert "4 rows = 4 imported" in out.getvalue()
    later = empty.prompts.filter(meta__has_key="later_turns")
    assert later.count() == 4
    assert all(len(prompt.messages) == 1 for prompt in later)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["999999", "rows.jsonl"], "no project 999999"),
        (["{project}", "missing.jsonl"], "No such file"),
        (["{project}", "header.csv"], 'column named "prompt"'),
        (["{project}", "rows.jsonl", "--format", "csv"], 'column named "prompt"'),
    ],
)
def test_the_command_says_what_is_wrong(
    empty: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(lines("one"))
    Path("header.csv").write_text("question\none\n")
    with pytest.raises(CommandError, match=words):
        call_command("import_prompts", *(argument.format(project=empty.pk) for argument in arguments))
    assert not empty.prompts.exists()


def test_the_command_has_the_same_size_cap_as_the_page(empty: Project, tmp_path: Path, settings: Settings) -> None:
    settings.PROMPT_FILE_MAX_BYTES = 10
    file = tmp_path / "rows.jsonl"
    file.write_text(lines("one"))
    with pytest.raises(CommandError, match=r"larger than 10\sbytes"):
        call_command("import_prompts", str(empty.pk), str(file))
