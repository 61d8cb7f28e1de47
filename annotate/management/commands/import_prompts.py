"""``manage.py import_prompts PROJECT_ID FILE``: the same import as on the prompts page, with the same summary."""

from argparse import ArgumentParser
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat

from annotate.models import PromptImport
from annotate.prompt_files import SKIP_REASONS, PromptFileError, format_of
from annotate.queries.prompts import later_turns_in
from annotate.services.prompts import import_prompts
from annotate.shell import project_of


class Command(BaseCommand):
    help = "Import prompts from a JSONL or CSV file (rows with messages, prompt or turns; docs/reference/prompts.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id", type=int)
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", choices=["jsonl", "csv"], help="What the file is; else its name decides.")

    def handle(self, *, project_id: int, file: Path, format: str | None, **options: object) -> None:  # noqa: A002
        project = project_of(project_id)
        try:
            if file.stat().st_size > settings.PROMPT_FILE_MAX_BYTES:
                limit = filesizeformat(settings.PROMPT_FILE_MAX_BYTES)
                raise CommandError(f"{file} is larger than {limit}. Split it, or raise PAIRLOOP_PROMPT_FILE_MAX_MB.")
            with file.open("rb") as opened:
                done = import_prompts(
                    project=project,
                    file=opened,
                    name=file.name,
                    format="csv" if (format or format_of(file.name)) == "csv" else "jsonl",
                    created_by=None,
                )
        except OSError as error:
            raise CommandError(f"Cannot read {file}: {error.strerror}.") from error
        except PromptFileError as error:
            raise CommandError(f"{file}: {error}") from error
        self._print(done)

    def _print(self, done: PromptImport) -> None:
        skipped = "".join(
            f", {count} skipped ({SKIP_REASONS[reason]})" for reason, count in sorted(done.skipped.items())
        )
        self.stdout.write(f"{done.name}: {done.rows} rows = {done.imported} imported{skipped}")
        for problem in done.problems:
            self.stdout.write(f"  row {problem['row']}: {problem['message']}")
        if sum(done.skipped.values()) > len(done.problems):
            self.stdout.write(f"  ... the first {len(done.problems)} problems are shown")
        if later := later_turns_in(done):
            self.stdout.write(
                f"  {later} of the prompts had later turns. They are kept beside the prompt and not asked yet: "
                "the answer they follow up on does not exist."
            )
