"""Questions about prompts and their imports."""

import json
from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet, TextField
from django.db.models.functions import Cast

from annotate.models import Project, Prompt, PromptImport
from annotate.prompt_files import SKIP_REASONS
from annotate.telling import told


@dataclass(frozen=True, slots=True)
class PromptCounts:
    train: int
    reserved: int

    @property
    def total(self) -> int:
        return self.train + self.reserved


def prompt_counts(project: Project) -> PromptCounts:
    counts = project.prompts.aggregate(
        train=Count("pk", filter=Q(split=Prompt.Split.TRAIN)),
        reserved=Count("pk", filter=Q(split=Prompt.Split.RESERVED)),
    )
    return PromptCounts(**counts)


def prompts_of(project: Project, *, search: str = "", split: str = "") -> QuerySet[Prompt]:
    """The project's prompts in order of import; ``search`` looks for text in them, ``split`` keeps one side."""
    prompts = project.prompts.order_by("id")
    if split:
        prompts = prompts.filter(split=split)
    if search:
        # Text stands in JSON as SQLite keeps it (ASCII with escapes) or as PostgreSQL does (as it is).
        escaped = [json.dumps(search, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
        prompts = prompts.annotate(text=Cast("messages", TextField())).filter(
            Q(text__icontains=escaped[0]) | Q(text__icontains=escaped[1])
        )
    return prompts


def recent_imports(project: Project, *, limit: int = 5) -> list[PromptImport]:
    return list(project.prompt_imports.select_related("created_by")[:limit])


def later_turns_in(prompt_import: PromptImport) -> int:
    """How many prompts of the import came with turns that follow up on an answer which does not exist yet."""
    return prompt_import.prompts.filter(meta__has_key="later_turns").count()


def skipped_in_words(prompt_import: PromptImport) -> list[tuple[str, int]]:
    """Reason and count of the rows that were skipped, most frequent first."""
    counts = sorted(prompt_import.skipped.items(), key=lambda item: (-item[1], item[0]))
    return [(told(SKIP_REASONS[reason]), count) for reason, count in counts]
