"""The onboarding quiz: gold questions with their answers shown, passed before real work. No answer is a judgment."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.known_orders import steps
from annotate.models.content import Comparison, Response
from annotate.models.people import Project, User
from annotate.models.ranking import Lineup, Ranked, places_in
from annotate.models.work import Choice


class QuizAttempt(models.Model):
    """One go at the quiz. Its questions and its limit are fixed when it begins; it ends with the last answer."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    pass_percent = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    right = models.PositiveSmallIntegerField(null=True, blank=True)
    passed = models.BooleanField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "user"], condition=Q(ended_at__isnull=True), name="quiz_one_attempt_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, right__isnull=True, passed__isnull=True)
                | Q(ended_at__isnull=False, right__isnull=False, passed__isnull=False),
                name="quiz_ended_has_a_result",
            ),
        ]

    def __str__(self) -> str:
        return f"quiz attempt {self.pk}"


class QuizAnswer(models.Model):
    """One question of an attempt, about a pair or a lineup, and what was answered; empty until then."""

    OF_A_PAIR: ClassVar = [choice.value for choice in (Choice.A, Choice.B, Choice.TIE, Choice.BOTH_BAD)]
    CHOICES: ClassVar = [
        *((choice, Choice(choice).label) for choice in OF_A_PAIR),
        (Ranked.RANKED.value, Ranked.RANKED.label),
    ]

    attempt = models.ForeignKey(QuizAttempt, on_delete=models.CASCADE, related_name="answers")
    position = models.PositiveSmallIntegerField()
    comparison = models.ForeignKey(
        Comparison, on_delete=models.PROTECT, null=True, blank=True, related_name="quiz_answers"
    )
    lineup = models.ForeignKey(Lineup, on_delete=models.PROTECT, null=True, blank=True, related_name="quiz_answers")
    # Of a pair: is `comparison.first` shown on the right, as B?
    swapped = models.BooleanField(default=False)
    # Of a lineup: the ids of the responses in the order in which they are shown, and the rank that each was given.
    shown = models.JSONField(default=list, blank=True)
    ranks = models.JSONField(default=list, blank=True)
    choice = models.CharField(max_length=10, choices=CHOICES, blank=True)
    right = models.BooleanField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["attempt", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["attempt", "position"], name="quiz_position_once"),
            models.UniqueConstraint(fields=["attempt", "comparison"], name="quiz_question_once"),
            models.UniqueConstraint(fields=["attempt", "lineup"], name="quiz_lineup_once"),
            models.CheckConstraint(
                condition=Q(comparison__isnull=False, lineup__isnull=True, choice__in=["", "A", "B", "tie", "both_bad"])
                | Q(comparison__isnull=True, lineup__isnull=False, choice__in=["", "ranked"]),
                name="quiz_asks_one_thing",
            ),
            models.CheckConstraint(
                condition=Q(choice="", right__isnull=True) | (~Q(choice="") & Q(right__isnull=False)),
                name="quiz_answer_is_right_or_wrong",
            ),
        ]

    def __str__(self) -> str:
        return _("Question %d") % self.position

    @property
    def subject(self) -> Comparison | Lineup:
        """The gold question that it asks."""
        subject = self.comparison or self.lineup
        if subject is None:
            raise ValueError(f"question {self.pk} of a quiz asks nothing")
        return subject

    @property
    def places(self) -> list[tuple[str, int | None, Response]]:
        """Of a lineup: (letter, rank, response) in the order shown."""
        return places_in(self.lineup, shown=self.shown, ranks=self.ranks) if self.lineup else []

    @property
    def order(self) -> str:
        """Of a lineup: the letters from best to worst as they were ranked, such as B › A = C."""
        letters: dict[int | None, list[str]] = {}
        for letter, rank, _response in self.places:
            letters.setdefault(rank, []).append(letter)
        return " › ".join(" = ".join(letters[rank]) for rank in sorted(set(self.ranks)))

    @property
    def known(self) -> list[tuple[str, str, bool]]:
        """Of a lineup: the letters of the better and of the worse answer, and whether it was answered so."""
        letters = {response.pk: letter for letter, _rank, response in self.places}
        given = dict(zip(self.shown, self.ranks, strict=False))
        return [
            (letters[better], letters[worse], bool(given) and given[better] < given[worse])
            for better, worse in steps(self.lineup.expected if self.lineup else [])
        ]

    @property
    def expected(self) -> str:
        """Of a pair: the right answer, told by the sides that were shown."""
        known = self.comparison.expected if self.comparison else ""
        if known not in ("first", "second"):
            return known
        return Choice.A.value if (known == "first") != self.swapped else Choice.B.value
