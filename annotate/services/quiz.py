"""The onboarding quiz: started, answered, passed or failed; and what a lead does about it by hand.

Its answers are kept apart from judgments, so that none becomes training data or counts in agreement. Gold questions
that somebody met in the quiz are never slipped into their queue (``services.checks``).
"""

import random
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.models import Comparison, Membership, QuizAnswer, QuizAttempt, Slot
from annotate.queries.quality import label_of
from annotate.queries.quiz import attempts_left
from annotate.services.audit import record_deed
from annotate.services.people import NotAllowedError, may_change


class QuizNotReadyError(Exception):
    """The project has fewer gold questions than its quiz asks."""


class NoAttemptLeftError(Exception):
    """Every attempt is used up; a lead can let the person try again."""


@transaction.atomic
def start_attempt(*, membership: Membership, rng: random.Random) -> QuizAttempt:
    """A new attempt with its questions drawn, or the one that is under way.

    Questions that the person has not met come first, in the quiz as in their queue, and those whose pair still waits to
    be judged by them come last: the quiz tells the answer. Raises ``QuizNotReadyError`` and
    ``NoAttemptLeftError``.
    """
    # Two tabs take turns.
    Membership.objects.select_for_update(no_key=True).get(pk=membership.pk)
    project, user = membership.project, membership.user
    begun = QuizAttempt.objects.filter(project=project, user=user, ended_at__isnull=True).first()
    if begun is not None:
        return begun
    if attempts_left(membership) == 0:
        raise NoAttemptLeftError
    questions = list(
        Comparison.objects.filter(project=project, purpose=Comparison.Purpose.GOLD).values_list("pk", flat=True)
    )
    if len(questions) < project.quiz_questions:
        raise QuizNotReadyError
    met = set(
        QuizAnswer.objects.filter(attempt__user=user, comparison__in=questions).values_list("comparison", flat=True)
    )
    met |= set(Slot.objects.filter(annotator=user, comparison__in=questions).values_list("comparison", flat=True))
    to_come = _still_to_be_asked(membership)
    rng.shuffle(questions)
    questions.sort(key=lambda pk: (pk in to_come, pk in met))
    attempt = QuizAttempt.objects.create(project=project, user=user, pass_percent=project.quiz_pass_percent)
    QuizAnswer.objects.bulk_create(
        QuizAnswer(attempt=attempt, position=position, comparison_id=pk, swapped=rng.random() < 0.5)
        for position, pk in enumerate(questions[: project.quiz_questions], start=1)
    )
    return attempt


@transaction.atomic
def answer_question(
    *, membership: Membership, attempt_id: int, position: int, choice: str, now: datetime
) -> QuizAnswer | None:
    """Keeps the first answer to a question; a second one, from another tab or a double click, changes nothing.

    The last answer ends the attempt, passed or failed. Returns the question as it stands answered; None when it is not
    the member's. Raises ``ValueError`` for an unknown choice.
    """
    if choice not in dict(QuizAnswer.CHOICES):
        raise ValueError(f"{choice!r} is no answer; give one of {', '.join(dict(QuizAnswer.CHOICES))}")
    # Locked, so that of two last answers one sees the other.
    mine = QuizAttempt.objects.filter(pk=attempt_id, project=membership.project_id, user=membership.user_id)
    attempt = mine.select_for_update(no_key=True).first()
    if attempt is None:
        return None
    question = attempt.answers.select_related("comparison").filter(position=position).first()
    if question is None or attempt.ended_at is not None:
        return question
    right = label_of(choice, swapped=question.swapped) == question.comparison.expected
    QuizAnswer.objects.filter(pk=question.pk, choice="").update(choice=choice, right=right, answered_at=now)
    if not attempt.answers.filter(choice="").exists():
        _end(attempt, membership, now=now)
    question.refresh_from_db(fields=["choice", "right", "answered_at"])
    return question


def _still_to_be_asked(membership: Membership) -> set[int]:
    """Gold questions whose pair the person may still be asked as an ordinary one: the quiz would tell the answer."""
    mine = Slot.objects.filter(comparison=OuterRef("comparison"), annotator=membership.user_id)
    waiting = Slot.objects.filter(
        project=membership.project_id,
        state__in=Slot.ACTIVE,
        comparison__purpose=Comparison.Purpose.COLLECT,
        comparison__first=OuterRef("first"),
        comparison__second=OuterRef("second"),
    ).filter(~Exists(mine))
    golds = Comparison.objects.filter(project=membership.project_id, purpose=Comparison.Purpose.GOLD)
    return set(golds.filter(Exists(waiting)).values_list("pk", flat=True))


def _end(attempt: QuizAttempt, membership: Membership, *, now: datetime) -> None:
    answers = list(attempt.answers.values_list("right", flat=True))
    right = sum(bool(answer) for answer in answers)
    passed = 100 * right >= attempt.pass_percent * len(answers)
    QuizAttempt.objects.filter(pk=attempt.pk).update(ended_at=now, right=right, passed=passed)
    if passed:
        Membership.objects.filter(pk=membership.pk, quiz_passed_at__isnull=True).update(quiz_passed_at=now)
    record_deed(
        project=membership.project,
        actor=membership.user,
        verb="quiz.passed" if passed else "quiz.failed",
        subject=membership.user.username,
        right=right,
        asked=len(answers),
    )


@transaction.atomic
def pass_by_hand(*, by: Membership, member: Membership) -> bool:
    """The lead vouches for the person, who need not take the quiz. False when they had passed. ``NotAllowedError``."""
    _check(by, member)
    done = Membership.objects.filter(pk=member.pk, quiz_passed_at__isnull=True).update(
        quiz_passed_at=timezone.now(), quiz_passed_by=by.user
    )
    if done:
        record_deed(project=by.project, actor=by.user, verb="quiz.passed_by_hand", subject=member.user.username)
    return done == 1


@transaction.atomic
def reset_quiz(*, by: Membership, member: Membership) -> None:
    """The person takes the quiz (again), with all attempts. One that is under way is thrown away."""
    _check(by, member)
    QuizAttempt.objects.filter(project=by.project, user=member.user_id, ended_at__isnull=True).delete()
    Membership.objects.filter(pk=member.pk).update(
        quiz_passed_at=None, quiz_passed_by=None, quiz_reset_at=timezone.now()
    )
    record_deed(project=by.project, actor=by.user, verb="quiz.reset", subject=member.user.username)


def _check(by: Membership, member: Membership) -> None:
    if member.project_id != by.project_id or not may_change(by, member):
        raise NotAllowedError(_("Only an owner can change an owner."))
