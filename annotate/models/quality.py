"""What keeps the data good: acknowledged guidelines, reported prompts, adjudications and retractions."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models.content import Comparison, Prompt
from annotate.models.people import Guideline, Project, User


class GuidelineAcknowledgement(models.Model):
    """Somebody said that they read this version."""

    guideline = models.ForeignKey(Guideline, on_delete=models.CASCADE, related_name="acknowledgements")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["guideline", "user"], name="guideline_acknowledged_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user} read {self.guideline}"


class PromptReport(models.Model):
    """An annotator says that a prompt is not fit to be judged. Open until a reviewer resolves it."""

    class Reason(models.TextChoices):
        BROKEN = "broken", _("Broken or cut off")
        PRIVATE = "private", _("Contains private data")
        HARMFUL = "harmful", _("Harmful or upsetting")
        OTHER = "other", _("Another reason")

    class Resolution(models.TextChoices):
        KEPT = "kept", _("Kept: nothing wrong with it")
        WITHDRAWN = "withdrawn", _("Withdrawn: asked no more")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompt_reports")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="reports")
    reporter = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=10, choices=Reason)
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    resolution = models.CharField(max_length=10, choices=Resolution, blank=True)
    resolved_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["prompt", "reporter"], condition=Q(resolved_at__isnull=True), name="report_once_while_open"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["project", "id"], condition=Q(resolved_at__isnull=True), name="report_open"),
        ]

    def __str__(self) -> str:
        return f"report of prompt {self.prompt_id}: {self.reason}"


class Verdict(models.TextChoices):
    """A decision told by the comparison's own responses, never by the sides that somebody was shown."""

    FIRST = "first", _("The first response is better")
    SECOND = "second", _("The second response is better")
    TIE = "tie", _("Tie")
    BOTH_BAD = "both_bad", _("Both bad")
    EXCLUDE = "exclude", _("Exclude from training")


class Aggregation(models.TextChoices):
    """How several judgments of one comparison become training rows (``annotate.aggregation`` defines each)."""

    SINGLE = "single", _("Single: every judgment is a row of its own")
    MAJORITY = "majority", _("Majority: what more than half said")
    ADJUDICATED = "adjudicated", _("Adjudicated: the reviewer's verdict, else the majority")
    DAWID_SKENE = "dawid_skene", _("Dawid-Skene: the reviewer's verdict, else votes weighed by reliability")


class RankingPairs(models.TextChoices):
    """Which pairs of a ranking become training rows (``annotate.orders`` defines each)."""

    BEST_WORST = "best_worst", _("The best against the worst: one row")
    ADJACENT = "adjacent", _("Each against the next: up to five rows")
    ALL = "all", _("Every two: up to fifteen rows")


# A verdict that another one superseded, or that was withdrawn, is kept and decides nothing any more.
STANDS = Q(superseded_at__isnull=True)


class ReviewerDecision(models.Model):
    """What the verdicts on comparisons and on lineups share. A new one supersedes the old."""

    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    note = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]


class Adjudication(ReviewerDecision):
    """A reviewer's decision on a comparison that people disagree on."""

    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="verdicts")
    verdict = models.CharField(max_length=10, choices=Verdict)

    class Meta(ReviewerDecision.Meta):
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["comparison"], condition=STANDS, name="adjudication_current_once"),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} on comparison {self.comparison_id}"


class OrderVerdict(ReviewerDecision):
    """A reviewer's order of a lineup, or that it is excluded."""

    lineup = models.ForeignKey("annotate.Lineup", on_delete=models.PROTECT, related_name="verdicts")
    # The rank of each response in order of id, 1 the best, equal ranks are ties; [] excludes the lineup from training.
    ranks = models.JSONField(default=list, blank=True)

    class Meta(ReviewerDecision.Meta):
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["lineup"], condition=STANDS, name="order_verdict_current_once"),
        ]

    def __str__(self) -> str:
        return f"{self.ranks or 'excluded'} on lineup {self.lineup_id}"


class Closure(models.Model):
    """A reviewer's decision that nobody is asked any more for a thumb on this answer, which people had skipped."""

    response = models.OneToOneField("annotate.Response", on_delete=models.CASCADE, related_name="closure")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"response {self.response_id} closed"


class Retraction(models.Model):
    """Decisions of a person or a period taken out of all future training. Reversible, never forgotten."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="retractions")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    since = models.DateTimeField(null=True, blank=True)
    until = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=300)
    judgments = models.PositiveIntegerField(default=0)
    ratings = models.PositiveIntegerField(default=0)
    rankings = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    reversed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    reversed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(annotator__isnull=False) | Q(since__isnull=False) | Q(until__isnull=False),
                name="retraction_of_someone_or_some_time",
            ),
        ]

    def __str__(self) -> str:
        return f"retraction {self.pk}: {self.reason}"
