"""The onboarding quiz: started, answered, passed or failed; and what a lead does about it by hand.

Its answers are kept apart from judgments, so that none becomes training data or counts in agreement. Gold questions
that somebody met in the quiz are never slipped into their queue (``services.checks``).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate import assign
from annotate.models import Comparison, LineupAnswer, Membership, QuizAnswer, QuizAttempt, Ranked, Slot
from annotate.orders import orders_right
from annotate.queries.judging import SUBJECTS
from annotate.queries.quality import label_of
from annotate.queries.quiz import attempts_left, quiz_pool
from annotate.services.audit import record_deed
from annotate.services.people import NotAllowedError, may_change


class QuizNotReadyError(Exception):
    """The project has fewer gold questions than its quiz asks."""


class NoAttemptLeftError(Exception):
    """Every attempt is used up; a lead can let the person try again."""


@transaction.atomic
def start_attempt(*, membership: Membership, rng: random.Random) -> QuizAttempt:
    """A new attempt with its questions drawn, or the one that is under way.

    Questions that the person has not met come first, in the quiz as in their queue, and those whose answers still wait
    to be judged by them come last: the quiz tells what is right. Raises ``QuizNotReadyError`` and
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
    questions = _questions(membership)
    if len(questions) < project.quiz_questions:
        raise QuizNotReadyError
    rng.shuffle(questions)
    questions.sort(key=lambda question: (question.to_come, question.met))
    attempt = QuizAttempt.objects.create(project=project, user=user, pass_percent=project.quiz_pass_percent)
    QuizAnswer.objects.bulk_create(
        _asked(question, attempt, position, rng)
        for position, question in enumerate(questions[: project.quiz_questions], start=1)
    )
    return attempt


@dataclass(frozen=True, slots=True)
class _Question:
    """A gold question that could be asked.

    ``met``: the person saw it before. ``to_come``: they may still be asked its answers as ordinary ones.
    """

    kind: str
    pk: int
    met: bool
    to_come: bool


def _questions(membership: Membership) -> list[_Question]:
    user, found = membership.user, []
    for kind, pool in quiz_pool(membership.project).items():
        about = SUBJECTS[kind]
        met = set(QuizAnswer.objects.filter(attempt__user=user, **{f"{about}__in": pool}).values_list(about, flat=True))
        met |= set(Slot.objects.filter(annotator=user, **{f"{about}__in": pool}).values_list(about, flat=True))
        to_come = set(pool.filter(Exists(_ordinary(kind, membership))).values_list("pk", flat=True))
        found += [_Question(kind, pk, pk in met, pk in to_come) for pk in pool.values_list("pk", flat=True)]
    return found


def _ordinary(kind: str, membership: Membership) -> QuerySet[Slot]:
    """The slots in which the person may still be asked the answers of the gold question in the outer query."""
    about = SUBJECTS[kind]
    mine = Slot.objects.filter(annotator=membership.user_id, **{about: OuterRef(about)})
    same = {"lineup": OuterRef("same_as")}
    if kind == Slot.Kind.PAIR:
        same = {"comparison__first": OuterRef("first"), "comparison__second": OuterRef("second")}
    ordinary = {f"{about}__purpose": Comparison.Purpose.COLLECT, "state__in": Slot.ACTIVE}
    return Slot.objects.filter(~Exists(mine), project=membership.project_id, **ordinary, **same)


def _asked(question: _Question, attempt: QuizAttempt, position: int, rng: random.Random) -> QuizAnswer:
    asked = QuizAnswer(attempt=attempt, position=position)
    if question.kind == Slot.Kind.PAIR:
        asked.comparison_id, asked.swapped = question.pk, assign.draw_swapped(rng)
        return asked
    responses = LineupAnswer.objects.filter(lineup=question.pk).values_list("response", flat=True)
    asked.lineup_id, asked.shown = question.pk, assign.shown_order(responses, assign.draw_order(rng))
    return asked


@transaction.atomic
def answer_question(
    *, membership: Membership, attempt_id: int, position: int, choice: str, ranks: Sequence[int] = (), now: datetime
) -> QuizAnswer | None:
    """Keeps the first answer to a question; a second one, from another tab or a double click, changes nothing.

    A lineup is answered by ``ranked`` with a rank from 1 (best) for each answer in the order shown, and is right when
    every known order is. The last answer ends the attempt, passed or failed. Returns the question as it stands
    answered; None when it is not the member's. Raises ``ValueError`` for what is no answer to it.
    """
    # Locked, so that of two last answers one sees the other.
    mine = QuizAttempt.objects.filter(pk=attempt_id, project=membership.project_id, user=membership.user_id)
    attempt = mine.select_for_update(no_key=True).first()
    if attempt is None:
        return None
    question = attempt.answers.select_related("comparison", "lineup").filter(position=position).first()
    if question is None:
        return None
    right = _is_right(question, choice, ranks)
    if attempt.ended_at is not None:
        return question
    QuizAnswer.objects.filter(pk=question.pk, choice="").update(
        choice=choice, ranks=assign.dense_ranks(ranks), right=right, answered_at=now
    )
    if not attempt.answers.filter(choice="").exists():
        _end(attempt, membership, now=now)
    question.refresh_from_db(fields=["choice", "ranks", "right", "answered_at"])
    return question


def _is_right(question: QuizAnswer, choice: str, ranks: Sequence[int]) -> bool:
    if question.comparison is not None:
        if choice not in QuizAnswer.OF_A_PAIR or ranks:
            raise ValueError(f"{choice!r} is no answer to a pair; give one of {', '.join(QuizAnswer.OF_A_PAIR)}")
        return label_of(choice, swapped=question.swapped) == question.comparison.expected
    if question.lineup is None or choice != Ranked.RANKED or len(ranks) != len(question.shown):
        raise ValueError(f"a lineup is answered by {Ranked.RANKED} and {len(question.shown)} ranks")
    right, known = orders_right(dict(zip(question.shown, ranks, strict=True)), question.lineup.expected)
    return right == known


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
