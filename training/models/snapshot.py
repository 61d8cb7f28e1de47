"""What one run trains on, frozen: its decisions, what a rule made of them, and what became of each row."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models import (
    Adjudication,
    Aggregation,
    Comparison,
    Judgment,
    Lineup,
    OrderVerdict,
    Project,
    Ranking,
    RankingPairs,
    Rating,
)


class Outcome(models.TextChoices):
    PENDING = "pending", _("Not trained yet")
    USED = "used", _("Used")
    SKIPPED = "skipped", _("Skipped")


class Snapshot(models.Model):
    """The frozen, hashed list of judgments, ratings and rankings that one run trains on. used + skipped = its items."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="snapshots")
    # sha256 over the canonical training rows, in order.
    sha256 = models.CharField(max_length=64)
    # How several judgments of one comparison became rows. Under "single" there are no SnapshotComparisons.
    aggregation = models.CharField(max_length=20, choices=Aggregation, default=Aggregation.SINGLE)
    ranking_pairs = models.CharField(max_length=20, choices=RankingPairs, default=RankingPairs.ALL)
    # "new": what the parent had not learnt from, and `replayed` decisions that it had. "all": every current decision.
    # "reward": what the run's reward model learned from.
    selection = models.CharField(max_length=10, default="all")
    replayed = models.PositiveIntegerField(default=0)
    # The snapshot of an earlier run whose decisions it holds again, so that two runs can be compared. What became of
    # them is each run's own.
    copied_from = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="copies")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"snapshot {self.pk}"


class SnapshotComparison(models.Model):
    """One comparison in a snapshot, what the rule made of its judgments (``items``), and what became of the row.

    The decision is frozen: later judgments, verdicts and retractions change nothing here.
    """

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="comparisons")
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="+")
    # As ``annotate.aggregation`` says it: first, second, tie, both_bad, undecided, excluded, skip.
    label = models.CharField(max_length=10)
    # Share of the votes, or the probability under Dawid-Skene; null where a reviewer decided or nobody did.
    support = models.FloatField(null=True, blank=True)
    adjudication = models.ForeignKey(Adjudication, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.PENDING)
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["snapshot", "comparison"], name="snapshot_comparison_once"),
            models.CheckConstraint(
                condition=Q(outcome="skipped") ^ Q(reason=""), name="snapshot_comparison_skipped_for_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"comparison {self.comparison_id} in snapshot {self.snapshot_id}: {self.label}"


class SnapshotLineup(models.Model):
    """One lineup in a snapshot, what the rule made of its rankings (``items``) pair by pair, and what became of it."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="lineups")
    lineup = models.ForeignKey(Lineup, on_delete=models.PROTECT, related_name="+")
    # A list of [first response, second, label, support, why it makes no row or ""], as ``annotate.orders`` says it.
    pairs = models.JSONField()
    verdict = models.ForeignKey(OrderVerdict, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.PENDING)
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["snapshot", "lineup"], name="snapshot_lineup_once"),
            models.CheckConstraint(
                condition=Q(outcome="skipped") ^ Q(reason=""), name="snapshot_lineup_skipped_for_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"lineup {self.lineup_id} in snapshot {self.snapshot_id}"


class SnapshotItem(models.Model):
    """One judgment, rating or ranking in a snapshot, and what became of it: from a policy to every one, and back."""

    Outcome = Outcome

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="items")
    # The comparison that a judgment was counted in, when the snapshot's rule decides comparisons.
    counted_in = models.ForeignKey(
        SnapshotComparison, on_delete=models.CASCADE, null=True, blank=True, related_name="items"
    )
    # The lineup that a ranking was counted in, likewise.
    counted_in_lineup = models.ForeignKey(
        SnapshotLineup, on_delete=models.CASCADE, null=True, blank=True, related_name="items"
    )
    judgment = models.ForeignKey(
        Judgment, on_delete=models.PROTECT, null=True, blank=True, related_name="snapshot_items"
    )
    rating = models.ForeignKey(Rating, on_delete=models.PROTECT, null=True, blank=True, related_name="snapshot_items")
    ranking = models.ForeignKey(Ranking, on_delete=models.PROTECT, null=True, blank=True, related_name="snapshot_items")
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.PENDING)
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(judgment__isnull=False, rating__isnull=True, ranking__isnull=True)
                | Q(judgment__isnull=True, rating__isnull=False, ranking__isnull=True)
                | Q(judgment__isnull=True, rating__isnull=True, ranking__isnull=False),
                name="snapshot_item_is_one_thing",
            ),
            models.UniqueConstraint(fields=["snapshot", "judgment"], name="snapshot_judgment_once"),
            models.UniqueConstraint(fields=["snapshot", "rating"], name="snapshot_rating_once"),
            models.UniqueConstraint(fields=["snapshot", "ranking"], name="snapshot_ranking_once"),
            models.CheckConstraint(
                condition=Q(outcome="skipped") ^ Q(reason=""), name="snapshot_item_skipped_for_a_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"item {self.pk} of snapshot {self.snapshot_id}"
