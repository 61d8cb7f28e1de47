"""Prompts in: a file is validated as it streams past, then its good rows go in together or not at all."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import IO, BinaryIO

from django.conf import settings
from django.db import transaction

from annotate.models import Project, Prompt, PromptImport, User
from annotate.prompt_files import Format, Problem, PromptFileError, PromptRow, read_prompts, split_for
from annotate.said import Said, packed
from annotate.services.audit import record_deed

# Bounds how long the inserting transaction keeps SQLite's other writers waiting (9 s measured; they give up after 20).
MAX_ROWS = 50_000
# How many problems are kept to be shown; all are counted.
PROBLEMS_KEPT = 100
_BATCH = 500


def import_prompts(
    *,
    project: Project,
    file: BinaryIO,
    name: str,
    format: Format,  # noqa: A002  (the word that the command line and the form use)
    created_by: User | None,
) -> PromptImport:
    """Imports the file's good rows; the import that comes back says how many, and why the others were skipped.

    Two passes. The first reads and checks the file into a temporary one and touches no table, however long it takes.
    The second inserts in one transaction, which SQLite's other writers have to wait for: it does nothing else. Rows
    that are there already are skipped as duplicates, so that a second import of a file changes nothing.
    ``imported + sum(skipped.values()) == rows``, always. Raises ``PromptFileError`` when the file itself is wrong.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", prefix="pairloop-import-") as staged:
        rows, problems = _stage(file, format, staged)
        staged.seek(0)
        with transaction.atomic():
            # Two imports into one project take turns. `no_key` lets judgments, which point to the project, pass by.
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            prompt_import = PromptImport.objects.create(
                project=project, name=name[:200], rows=rows, imported=0, created_by=created_by
            )
            imported = _insert(staged, prompt_import, problems)
            prompt_import.imported = imported
            prompt_import.skipped = dict(problems.counts)
            prompt_import.problems = problems.shown()
            prompt_import.save(update_fields=["imported", "skipped", "problems"])
            record_deed(
                project=project,
                actor=created_by,
                verb="prompts.imported",
                subject=prompt_import.name,
                rows=rows,
                imported=imported,
                skipped=prompt_import.skipped,
            )
    return prompt_import


class _Problems:
    """All problems counted by reason, the first ones of each pass kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kept: list[Problem] = []
        self._quota = PROBLEMS_KEPT

    def add(self, problem: Problem) -> None:
        self.counts[problem.reason] += 1
        if self._quota:
            self._quota -= 1
            self._kept.append(problem)

    def begin_pass(self) -> None:
        self._quota = PROBLEMS_KEPT

    def shown(self) -> list[dict[str, object]]:
        first = sorted(self._kept, key=lambda problem: problem.row)[:PROBLEMS_KEPT]
        return [
            {
                "row": problem.row,
                "reason": problem.reason,
                "message": str(problem.message),
                "said": packed(problem.message),
            }
            for problem in first
        ]


def _stage(file: BinaryIO, format: Format, staged: IO[str]) -> tuple[int, _Problems]:  # noqa: A002
    rows = 0
    problems = _Problems()
    seen: dict[bytes, int] = {}
    for row in read_prompts(file, format=format, max_chars=settings.PROMPT_MAX_CHARS):
        rows += 1
        if rows > MAX_ROWS:
            raise PromptFileError(
                Said("The file has more than %(rows)s rows. Split it and import the parts.", rows=MAX_ROWS)
            )
        if isinstance(row, Problem):
            problems.add(row)
            continue
        first = seen.setdefault(bytes.fromhex(row.sha256), row.row)
        if first != row.row:
            problems.add(Problem(row.row, "duplicate", Said("The same prompt as in row %(row)s.", row=first)))
            continue
        json.dump([row.row, row.messages, row.sha256, row.meta], staged, ensure_ascii=False)
        staged.write("\n")
    problems.begin_pass()
    return rows, problems


def _insert(staged: IO[str], prompt_import: PromptImport, problems: _Problems) -> int:
    project = prompt_import.project
    imported = 0
    staged_rows: Iterator[PromptRow] = (PromptRow(*json.loads(line)) for line in staged)
    while batch := list(islice(staged_rows, _BATCH)):
        hashes = [row.sha256 for row in batch]
        # Without order_by() SQLite walks all prompts in order of id instead of looking the hashes up.
        there = set(project.prompts.filter(sha256__in=hashes).order_by().values_list("sha256", flat=True))
        for row in batch:
            if row.sha256 in there:
                problems.add(Problem(row.row, "duplicate", Said("The project has this prompt from an earlier import.")))
        made = [
            Prompt(
                project=project,
                messages=row.messages,
                sha256=row.sha256,
                split=split_for(row.messages, reserved_percent=project.reserved_percent),
                meta=row.meta,
                prompt_import=prompt_import,
            )
            for row in batch
            if row.sha256 not in there
        ]
        imported += len(Prompt.objects.bulk_create(made))
    return imported
