"""A project's side of the trainer: its loop, and the rounds that it turns."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models import Aggregation, Project, RankingPairs
from annotate.models.said import SaidField
from training.models.method import method_choices


class Loop(models.Model):
    """A project's side of the trainer: which base model, how to sample, when a round starts by itself."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="loop", primary_key=True)
    base_model = models.CharField(
        max_length=300,
        help_text=_("A local model folder, or a hub id. Set before the first answers are sampled."),
    )
    base_revision = models.CharField(
        max_length=80, blank=True, help_text=_("Commit of a hub model; empty for a folder.")
    )

    responses_per_prompt = models.PositiveSmallIntegerField(
        default=4, validators=[MinValueValidator(2), MaxValueValidator(16)]
    )
    temperature = models.FloatField(default=1.0, validators=[MinValueValidator(0.05), MaxValueValidator(3)])
    top_p = models.FloatField(default=1.0, validators=[MinValueValidator(0.05), MaxValueValidator(1)])
    max_new_tokens = models.PositiveIntegerField(
        default=256, validators=[MinValueValidator(1), MaxValueValidator(8192)]
    )
    pairs_per_prompt = models.PositiveSmallIntegerField(
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(16)],
        help_text=_("How many comparisons are made of one prompt's answers in a round."),
    )
    queue_target = models.PositiveIntegerField(
        default=60,
        validators=[MinValueValidator(4), MaxValueValidator(10_000)],
        help_text=_("Sample more when fewer open items than this wait for the annotators."),
    )

    train_after = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(4)],
        help_text=_("Start a round after this many new judgments."),
    )
    train_every_hours = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.01)], help_text=_("Start a round every so many hours.")
    )
    replay_percent = models.PositiveSmallIntegerField(
        default=25,
        validators=[MaxValueValidator(400)],
        help_text=_("For every hundred new judgments, so many old ones are trained on again."),
    )
    aggregation = models.CharField(
        max_length=20,
        choices=Aggregation,
        default=Aggregation.ADJUDICATED,
        help_text=_("How several judgments of one comparison become training rows."),
    )
    ranking_pairs = models.CharField(
        max_length=20,
        choices=RankingPairs,
        default=RankingPairs.BEST_WORST,
        help_text=_("Which two answers of a ranking become a training row."),
    )
    # What a round that starts by itself trains with: a method and its spec, as the form last saved them.
    method = models.CharField(max_length=20, choices=method_choices, default="dpo")
    settings = models.JSONField(default=dict, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)

    # The policy that is served and exported, and the one that the next answers are sampled from. Moving an alias is
    # all that promotion and rollback do.
    champion = models.ForeignKey("Policy", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    sampler = models.ForeignKey("Policy", on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    # What the tick last decided and why, in a sentence.
    decision = models.CharField(max_length=20, blank=True)
    reason = SaidField(blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"loop of {self.project}"


class Round(models.Model):
    """One turn of the loop. It opens when its policy starts to sample and closes when its run ends with a policy."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rounds")
    number = models.PositiveIntegerField()
    policy = models.ForeignKey("Policy", on_delete=models.PROTECT, related_name="rounds")
    opened_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="round_number_once"),
            models.UniqueConstraint(fields=["project"], condition=Q(closed_at__isnull=True), name="round_open_once"),
        ]

    def __str__(self) -> str:
        return f"round {self.number}"
