"""What measures annotators without telling them: gold questions and rechecks, slipped unmarked into the ordinary queue.

A gold question is a comparison whose answer a lead knows. A recheck is a comparison that the same annotator judged some
time ago, with the sides swapped: how often they agree with themselves is the ceiling for any model trained on them.
Both become a slot that only this annotator may take, made at the moment when they ask for the next one.
"""

import random
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from annotate.models import Choice, Comparison, Judgment, Project, QuizAnswer, Slot, User, Verdict
from annotate.services.audit import record_deed
from annotate.services.content import clean_text

# A recheck is drawn from so many of the annotator's oldest judgments that are due.
_DUE = 50


class NotGoldError(ValueError):
    """The comparison cannot become a gold question; the message says why."""


@transaction.atomic
def make_gold(*, comparison: Comparison, expected: str, actor: User, explanation: str = "") -> Comparison:
    """A gold question on the comparison's two responses, whose right answer is ``expected``. Raises ``NotGoldError``.

    The comparison itself stays what it was. Everyone is asked the gold question once, at the project's gold share.
    """
    if expected not in (Verdict.FIRST, Verdict.SECOND, Verdict.TIE, Verdict.BOTH_BAD):
        raise NotGoldError(_("The known answer must be one of the two responses, a tie, or both bad."))
    if Comparison.objects.filter(
        project=comparison.project_id, purpose=Comparison.Purpose.GOLD, first=comparison.first, second=comparison.second
    ).exists():
        raise NotGoldError(_("This pair is a gold question already."))
    gold = Comparison.objects.create(
        project_id=comparison.project_id,
        prompt_id=comparison.prompt_id,
        first_id=comparison.first_id,
        second_id=comparison.second_id,
        purpose=Comparison.Purpose.GOLD,
        split=comparison.split,
        expected=expected,
        explanation=clean_text(explanation)[:2000],
        round=comparison.round,
    )
    record_deed(project=comparison.project, actor=actor, verb="gold.made", subject=f"comparison {comparison.pk}",
                gold=gold.pk, expected=expected)  # fmt: skip
    return gold


def slip_in_check(*, project: Project, annotator: User, now: datetime, rng: random.Random) -> bool:
    """Perhaps makes the annotator's next slot a gold question or a recheck, at the project's shares. Was one made?"""
    draw = rng.random() * 100
    if draw < project.gold_percent:
        question = unasked_gold(project, annotator).order_by("?").first()
        if question is not None:
            _ask(question, annotator)
            return True
    elif draw < project.gold_percent + project.recheck_percent:
        due = list(due_rechecks(project, annotator, now=now)[:_DUE])
        if due:
            return _recheck(rng.choice(due), annotator)
    return False


def unasked_gold(project: Project, annotator: User) -> QuerySet[Comparison]:
    """Gold questions that this annotator was never asked, also not in a quiz, and whose pair they did not judge."""
    asked = Slot.objects.filter(comparison=OuterRef("pk"), annotator=annotator)
    known = Judgment.objects.filter(
        annotator=annotator, comparison__first=OuterRef("first"), comparison__second=OuterRef("second")
    )
    questions = Comparison.objects.filter(project=project, purpose=Comparison.Purpose.GOLD)
    waiting = Slot.objects.filter(comparison=OuterRef("pk"), only_for=annotator)
    in_quiz = QuizAnswer.objects.filter(comparison=OuterRef("pk"), attempt__user=annotator)
    return questions.filter(~Exists(asked), ~Exists(known), ~Exists(waiting), ~Exists(in_quiz))


def due_rechecks(project: Project, annotator: User, *, now: datetime) -> QuerySet[Judgment]:
    """The annotator's ordinary judgments, oldest first, that are old enough and not rechecked yet; no skips."""
    return (
        Judgment.objects.filter(
            project=project,
            annotator=annotator,
            comparison__purpose=Comparison.Purpose.COLLECT,
            superseded_at__isnull=True,
            retracted_at__isnull=True,
            created_at__lte=now - timedelta(hours=project.recheck_after_hours),
            rechecks__isnull=True,
        )
        .exclude(choice=Choice.SKIP)
        .select_related("comparison")
        .order_by("id")
    )


def _ask(question: Comparison, annotator: User) -> None:
    Slot.objects.create(project_id=question.project_id, kind=Slot.Kind.PAIR, comparison=question, only_for=annotator)


def _recheck(judgment: Judgment, annotator: User) -> bool:
    original = judgment.comparison
    try:
        with transaction.atomic():
            again = Comparison.objects.create(
                project_id=original.project_id,
                prompt_id=original.prompt_id,
                first_id=original.first_id,
                second_id=original.second_id,
                purpose=Comparison.Purpose.RECHECK,
                split=original.split,
                round=original.round,
                original=judgment,
            )
            _ask(again, annotator)
    except IntegrityError:
        # Another tab of the same person asked at the same moment; one recheck of a judgment is enough.
        return False
    return True
