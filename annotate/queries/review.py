"""Questions a reviewer asks: what is reported, where people disagree, what was retracted, what happened when."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import CharField, Exists, F, Max, Min, OuterRef, QuerySet
from django.db.models.functions import Cast, Coalesce

from annotate.models import (
    COUNTS,
    STANDS,
    Adjudication,
    AuditEntry,
    Comparison,
    Judgment,
    Project,
    Prompt,
    PromptReport,
    Retraction,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's judgment as a reviewer sees it: by pseudonym, told by the comparison's own responses."""

    annotator: str
    label: str
    rationale: str
    tags: list[str]
    skip_reason: str = ""


@dataclass(frozen=True, slots=True)
class Dispute:
    """A comparison with the judgments on it and the verdict that stands, if any."""

    comparison: Comparison
    decisions: list[Decision]
    verdict: Adjudication | None
    # Are these two answers a gold question already?
    is_gold: bool = False


def disputed(project: Project) -> QuerySet[Comparison]:
    """Ordinary comparisons on which counting judgments (skips apart) differ and nobody has given a verdict yet."""
    # Asked of the judgments and not of the comparisons, most of which are judged once or not yet; the least and the
    # greatest of what was said are found without sorting, unlike the number of different things.
    outcome = Coalesce(Cast("preferred", CharField()), "choice")
    differing = (
        Judgment.objects.filter(COUNTS, project=project)
        .exclude(choice="skip")
        .order_by()
        .values("comparison")
        .annotate(least=Min(outcome), greatest=Max(outcome))
        .filter(least__lt=F("greatest"))
    )
    settled = Adjudication.objects.filter(STANDS, comparison=OuterRef("pk"))
    return (
        Comparison.objects.filter(
            ~Exists(settled), project=project, purpose=Comparison.Purpose.COLLECT, pk__in=differing.values("comparison")
        )
        .select_related("prompt", "first", "second")
        .order_by("id")
    )


def dispute_of(comparison: Comparison) -> Dispute:
    """The comparison with what everyone said of it."""
    judgments = Judgment.objects.filter(COUNTS, comparison=comparison).select_related("annotator").order_by("id")
    decisions = [
        Decision(
            annotator=judgment.annotator.pseudonym,
            label=_label(judgment, comparison),
            rationale=judgment.rationale,
            tags=list(judgment.tags),
            skip_reason=judgment.get_skip_reason_display() if judgment.skip_reason else "",
        )
        for judgment in judgments
    ]
    verdict = comparison.verdicts.filter(STANDS).select_related("reviewer").first()
    gold = Comparison.objects.filter(
        project=comparison.project_id,
        purpose=Comparison.Purpose.GOLD,
        first=comparison.first_id,
        second=comparison.second_id,
    )
    return Dispute(comparison, decisions, verdict, is_gold=gold.exists())


def _label(judgment: Judgment, comparison: Comparison) -> str:
    if judgment.preferred_id is None:
        return judgment.choice
    return "first" if judgment.preferred_id == comparison.first_id else "second"


def verdicts(project: Project) -> QuerySet[Adjudication]:
    """The verdicts that stand, newest first."""
    standing = Adjudication.objects.filter(STANDS, comparison__project=project)
    return standing.select_related("comparison", "reviewer").order_by("-id")


@dataclass(frozen=True, slots=True)
class ReportedPrompt:
    """A prompt with its open reports."""

    prompt: Prompt
    reports: list[PromptReport]


def reported(project: Project, *, limit: int = 50) -> list[ReportedPrompt]:
    """Prompts with open reports, the longest waiting first."""
    found: dict[int, ReportedPrompt] = {}
    open_reports = PromptReport.objects.filter(project=project, resolved_at__isnull=True).select_related(
        "prompt", "reporter"
    )
    for report in open_reports.order_by("id")[: limit * 4]:
        found.setdefault(report.prompt_id, ReportedPrompt(report.prompt, [])).reports.append(report)
    return list(found.values())[:limit]


def retractions_of(project: Project) -> QuerySet[Retraction]:
    return Retraction.objects.filter(project=project).select_related("annotator", "created_by", "reversed_by")


def audit_entries(
    project: Project | None,
    *,
    verb: str = "",
    actor: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[AuditEntry]:
    """The log of the project, or (None) of the site, newest first.

    ``verb`` is a beginning (``prompts.``), ``actor`` a user name.
    """
    entries = AuditEntry.objects.filter(project=project).select_related("actor").order_by("-id")
    if verb:
        entries = entries.filter(verb__startswith=verb)
    if actor:
        entries = entries.filter(actor__username=actor)
    if since is not None:
        entries = entries.filter(created_at__gte=since)
    if until is not None:
        entries = entries.filter(created_at__lt=until)
    return entries
