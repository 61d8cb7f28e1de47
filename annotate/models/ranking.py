"""Several answers to one prompt that are to be ordered, and the orders that people gave them."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models.content import Comparison, Prompt, Response
from annotate.models.people import Project, User
from annotate.models.work import Decision, Slot


class Lineup(models.Model):
    """Three to six responses to one prompt, to be ranked. In which order they are shown is drawn per slot."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="lineups")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="lineups")
    # Unordered: read them by id.
    responses: "models.ManyToManyField[Response, LineupAnswer]" = models.ManyToManyField(
        Response, through="LineupAnswer", related_name="+"
    )
    # A comparison's purposes but the duel: two policies meet in pairs.
    purpose = models.CharField(
        max_length=10, choices=Comparison.Purpose, default=Comparison.Purpose.COLLECT, editable=False
    )
    # A copy of prompt.split, as comparisons have one.
    split = models.CharField(max_length=10, choices=Prompt.Split)
    # Checks only: the lineup whose responses these are.
    same_as = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="checks")
    # Gold only: the orders that are known to be right, as [[better, worse], ...] of responses; perhaps not of all.
    expected = models.JSONField(default=list, blank=True)
    # Gold only: why that is right, in Markdown, shown after a quiz.
    explanation = models.TextField(max_length=2000, blank=True)
    # Recheck only: the ranking that is asked again.
    original = models.ForeignKey(
        "annotate.Ranking", on_delete=models.PROTECT, null=True, blank=True, related_name="rechecks"
    )
    round = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(purpose="collect", same_as__isnull=True)
                | Q(purpose__in=["gold", "recheck"], same_as__isnull=False),
                name="lineup_check_of_something",
            ),
            models.CheckConstraint(
                condition=Q(purpose="recheck", original__isnull=False)
                | (~Q(purpose="recheck") & Q(original__isnull=True)),
                name="lineup_recheck_of_something",
            ),
            models.UniqueConstraint(fields=["same_as"], condition=Q(purpose="gold"), name="lineup_gold_once"),
            models.UniqueConstraint(fields=["original"], name="lineup_rechecked_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["project", "round"], name="lineup_by_round")]

    def __str__(self) -> str:
        return f"lineup {self.pk}"


class LineupAnswer(models.Model):
    """A response in a lineup."""

    lineup = models.ForeignKey(Lineup, on_delete=models.CASCADE, related_name="answers")
    response = models.ForeignKey(Response, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["lineup", "response"], name="lineup_response_once"),
        ]

    def __str__(self) -> str:
        return f"response {self.response_id} in lineup {self.lineup_id}"


def places_in(lineup: Lineup, *, shown: Sequence[int], ranks: Sequence[int]) -> list[tuple[str, int | None, Response]]:
    """(letter, rank, response) in the order shown; where nothing was ranked the ranks are None."""
    responses = {response.pk: response for response in lineup.responses.all()}
    places = zip_longest("ABCDEF"[: len(shown)], ranks, shown)
    return [(letter, rank, responses[pk]) for letter, rank, pk in places]


class Ranked(models.TextChoices):
    RANKED = "ranked", _("Ranked")
    SKIP = "skip", _("Skip")


class Ranking(Decision):
    """One annotator's order of the responses of one lineup: 1 is best, equal ranks are ties."""

    lineup = models.ForeignKey(Lineup, on_delete=models.PROTECT, related_name="rankings")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="rankings", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="rankings", db_index=False)
    slot = models.ForeignKey(Slot, on_delete=models.PROTECT, related_name="rankings")
    value = models.CharField(max_length=10, choices=Ranked)
    # The ids of the responses in the order in which they were shown, and the rank of each: [] for a skip.
    shown = models.JSONField()
    ranks = models.JSONField(default=list, blank=True)
    # How many pairs of responses have different ranks: what can be learnt from it.
    pairs = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["lineup", "annotator"],
                condition=Q(superseded_at__isnull=True),
                name="ranking_once_per_annotator",
            ),
            models.CheckConstraint(condition=Q(value="skip") ^ Q(skip_reason=""), name="ranking_skip_has_a_reason"),
            models.CheckConstraint(condition=~Q(value="skip") | Q(pairs=0), name="ranking_skip_orders_nothing"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["retraction"], condition=Q(retraction__isnull=False), name="ranking_retracted"),
            models.Index(fields=["project", "id"], name="ranking_by_project"),
            models.Index(fields=["annotator", "project", "-created_at"], name="ranking_by_day"),
        ]

    def __str__(self) -> str:
        return f"ranking {self.pk}: {self.ranks}"

    @property
    def places(self) -> list[tuple[str, int | None, Response]]:
        """(letter, rank, response) in the order shown; the rank of a skip is None."""
        return places_in(self.lineup, shown=self.shown, ranks=self.ranks)
