"""The onboarding quiz: gold questions with their answers shown, passed before real work. No answer is a judgment."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from annotate.models.content import Comparison
from annotate.models.people import Project, User
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
    """One question of an attempt, and what was answered; empty until then."""

    CHOICES: ClassVar = [(choice.value, choice.label) for choice in (Choice.A, Choice.B, Choice.TIE, Choice.BOTH_BAD)]

    attempt = models.ForeignKey(QuizAttempt, on_delete=models.CASCADE, related_name="answers")
    position = models.PositiveSmallIntegerField()
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="quiz_answers")
    # Is `comparison.first` shown on the right, as B?
    swapped = models.BooleanField()
    choice = models.CharField(max_length=10, choices=CHOICES, blank=True)
    right = models.BooleanField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["attempt", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["attempt", "position"], name="quiz_position_once"),
            models.UniqueConstraint(fields=["attempt", "comparison"], name="quiz_question_once"),
            models.CheckConstraint(
                condition=Q(choice="", right__isnull=True) | (~Q(choice="") & Q(right__isnull=False)),
                name="quiz_answer_is_right_or_wrong",
            ),
        ]

    def __str__(self) -> str:
        return _("Question %d") % self.position

    @property
    def expected(self) -> str:
        """The right answer, told by the sides that were shown."""
        known = self.comparison.expected
        if known not in ("first", "second"):
            return known
        return Choice.A.value if (known == "first") != self.swapped else Choice.B.value
