"""``manage.py export PROJECT_ID WHAT``: the same files as on the export page. Nobody sees half a file."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.exports.shapes import LEFT_OUT
from annotate.forms.exports import parse_rounds, splits_of
from annotate.models import Aggregation, RankingPairs
from annotate.services.exports import Exported, Selection, export
from annotate.shell import project_of


class Command(BaseCommand):
    help = (
        "Export what people decided, or training rows for TRL's DPO, KTO and SFT trainers (docs/reference/exports.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id", type=int)
        parser.add_argument("what", choices=["judgments", "ratings", "dpo", "kto", "sft", "rankings"])
        parser.add_argument("--format", choices=["jsonl", "parquet"], default="jsonl")
        parser.add_argument("--output", type=Path, required=True, help="The file; replaced when it is complete.")
        parser.add_argument("--round", default="", help="Rounds, for example 1,3-5; all without it.")
        parser.add_argument(
            "--split",
            choices=["train", "reserved", "all"],
            default="",
            help="Without it: train for dpo, kto and sft, all for judgments, ratings and rankings.",
        )
        parser.add_argument("--ratings-only", action="store_true", help="kto: do not take judged pairs apart.")
        parser.add_argument(
            "--aggregate",
            choices=Aggregation.values,
            default=Aggregation.ADJUDICATED.value,
            help="dpo, kto: how several judgments of one comparison become rows (docs/adr/0010-aggregation.md).",
        )
        parser.add_argument(
            "--ranking-pairs",
            choices=RankingPairs.values,
            default=RankingPairs.ALL.value,
            help="dpo: which pairs of a ranking become rows (docs/adr/0011-rankings.md).",
        )
        parser.add_argument(
            "--include-inactive", action="store_true", help="judgments, ratings: superseded and retracted ones too."
        )

    def handle(self, *, project_id: int, output: Path, **options: Any) -> None:
        project = project_of(project_id)
        try:
            rounds = parse_rounds(options["round"])
        except ValueError as error:
            raise CommandError(f"--round {options['round']!r}: give numbers and ranges, for example 1,3-5.") from error
        selection = Selection(
            rounds=rounds,
            splits=splits_of(options["split"]),
            include_inactive=options["include_inactive"],
            ratings_only=options["ratings_only"],
            aggregation=options["aggregate"],
            ranking_pairs=options["ranking_pairs"],
        )
        # Beside its place, so that the last step is a rename within one file system.
        part = output.with_name(f".{output.name}.{os.getpid()}.part")
        try:
            with part.open("xb") as file:
                done = export(
                    project=project,
                    what=options["what"],
                    format=options["format"],
                    file=file,
                    selection=selection,
                    actor=None,
                )
                file.flush()
                os.fsync(file.fileno())
            part.replace(output)
        except OSError as error:
            raise CommandError(f"Cannot write {output}: {error.strerror}.") from error
        finally:
            part.unlink(missing_ok=True)
        self._print(done, output)

    def _print(self, done: Exported, output: Path) -> None:
        self.stdout.write(f"{output}: {done.rows} rows")
        for reason, count in sorted(done.left_out.items()):
            self.stdout.write(f"  {count} left out: {LEFT_OUT[reason]}")
