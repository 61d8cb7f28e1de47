"""What measures annotators without telling them: gold questions and rechecks, slipped unmarked into the ordinary queue.

A gold question is a comparison whose answer a lead knows, or a lineup of which they know some orders. A recheck is what
the same annotator judged or ranked some time ago, with the sides swapped or the places shuffled: how often they agree
with themselves is the ceiling for any model trained on them. Both become a slot that only this annotator may take, made
at the moment when they ask for the next one.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any, TypeVar, cast

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from annotate.known_orders import CircleError, implied
from annotate.models import (
    COUNTS,
    Comparison,
    Judgment,
    Lineup,
    LineupAnswer,
    Project,
    QuizAnswer,
    Ranking,
    Slot,
    User,
    Verdict,
)
from annotate.queries.judging import SUBJECTS
from annotate.services.audit import record_deed
from annotate.services.content import clean_text
from annotate.services.verdicts import named

# A recheck is drawn from so many of the annotator's oldest judgments that are due.
_DUE = 50


_S = TypeVar("_S", Comparison, Lineup)

# Kinds of slots that have checks.
CHECKED = (Slot.Kind.PAIR, Slot.Kind.RANKING)


class NotGoldError(ValueError):
    """It cannot become a gold question; the message says why."""


def make_gold(*, comparison: Comparison, expected: str, actor: User, explanation: str = "") -> Comparison:
    """A gold question on the comparison's two responses, whose right answer is ``expected``. Raises ``NotGoldError``.

    The comparison itself stays what it was. Everyone is asked the gold question once, at the project's gold share.
    """
    if expected not in (Verdict.FIRST, Verdict.SECOND, Verdict.TIE, Verdict.BOTH_BAD):
        raise NotGoldError(_("The known answer must be one of the two responses, a tie, or both bad."))
    same = {"first": comparison.first_id, "second": comparison.second_id}
    if Comparison.objects.filter(project=comparison.project_id, purpose=Comparison.Purpose.GOLD, **same).exists():
        raise NotGoldError(_("This pair is a gold question already."))
    return _keep_gold(comparison, expected=expected, explanation=explanation, actor=actor)


def make_gold_lineup(
    *,
    lineup: Lineup,
    ranks: Sequence[int | None],
    orders: Sequence[tuple[int, int]] = (),
    actor: User,
    explanation: str = "",
) -> Lineup:
    """A gold question on the lineup's responses; all else as ``make_gold``.

    ``ranks`` has one for each response in order of id, 1 the best, None where nothing is said of it: known are the
    orders of each two different ranks, of equal ones nothing is. ``orders`` are more (better, worse), the responses
    counted from 1 in order of id. What follows from all of them is known too. Raises ``ValueError`` when the ranks are
    not as many as the responses.
    """
    lineup = lineup.same_as or lineup
    responses = dict(enumerate(sorted(lineup.responses.values_list("pk", flat=True)), start=1))
    given = {place: rank for place, rank in zip(responses, ranks, strict=True) if rank is not None}
    ranked = [(better, worse) for better, worse in permutations(given, 2) if given[better] < given[worse]]
    try:
        known = [[responses[better], responses[worse]] for better, worse in implied([*ranked, *orders])]
    except CircleError as error:
        circle = " › ".join(map(str, error.circle))
        message = _("The orders go in a circle (%(circle)s), which no ranking can have. Leave one of them out.")
        raise NotGoldError(message % {"circle": circle}) from error
    if not known:
        raise NotGoldError(_("Say of two responses at least which one must be above the other."))
    if lineup.checks.filter(purpose=Comparison.Purpose.GOLD).exists():
        raise NotGoldError(_("These answers are a gold question already."))
    return _keep_gold(lineup, expected=known, explanation=explanation, actor=actor)


@transaction.atomic
def _keep_gold(subject: _S, *, expected: Any, explanation: str, actor: User) -> _S:
    gold = _asked_for(subject, Comparison.Purpose.GOLD, expected=expected, explanation=clean_text(explanation)[:2000])
    record_deed(project=subject.project, actor=actor, verb="gold.made", subject=named(subject), gold=gold.pk,
                expected=expected)  # fmt: skip
    return gold


def _asked_for(subject: _S, purpose: str, **fields: Any) -> _S:
    """The same responses as a comparison or a lineup of their own, with another purpose."""
    same = {name: getattr(subject, name) for name in ("project_id", "prompt_id", "split", "round")}
    if isinstance(subject, Comparison):
        sides = {"first_id": subject.first_id, "second_id": subject.second_id}
        return Comparison.objects.create(purpose=purpose, **same, **sides, **fields)
    made = Lineup.objects.create(purpose=purpose, same_as=subject, **same, **fields)
    responses = subject.answers.order_by("response").values_list("response", flat=True)
    LineupAnswer.objects.bulk_create(LineupAnswer(lineup=made, response_id=pk) for pk in responses)
    return made


def slip_in_check(
    *, project: Project, annotator: User, kind: str = Slot.Kind.PAIR, now: datetime, rng: random.Random
) -> bool:
    """Perhaps makes the annotator's next slot a gold question or a recheck, at the project's shares. Was one made?"""
    draw = rng.random() * 100
    if draw < project.gold_percent:
        question = unasked_gold(project, annotator, kind).order_by("?").first()
        if question is not None:
            _ask(question, annotator, kind)
            return True
    elif draw < project.gold_percent + project.recheck_percent:
        due = list(due_rechecks(project, annotator, kind, now=now)[:_DUE])
        if due:
            return _recheck(cast("Judgment | Ranking", rng.choice(due)), annotator, kind)
    return False


def unasked_gold(
    project: Project, annotator: User, kind: str = Slot.Kind.PAIR
) -> "QuerySet[Comparison] | QuerySet[Lineup]":
    """Gold questions of the kind that this annotator was never asked, also not in a quiz, and did not decide before."""
    met = Q(annotator=annotator) | Q(only_for=annotator)
    asked = Slot.objects.filter(met, **{SUBJECTS[kind]: OuterRef("pk")})
    in_quiz = QuizAnswer.objects.filter(attempt__user=annotator, **{SUBJECTS[kind]: OuterRef("pk")})
    golds = {"project": project, "purpose": Comparison.Purpose.GOLD}
    if kind == Slot.Kind.RANKING:
        ranked = Ranking.objects.filter(annotator=annotator, lineup=OuterRef("same_as"))
        return Lineup.objects.filter(~Exists(asked), ~Exists(ranked), ~Exists(in_quiz), **golds)
    judged = Judgment.objects.filter(
        annotator=annotator, comparison__first=OuterRef("first"), comparison__second=OuterRef("second")
    )
    return Comparison.objects.filter(~Exists(asked), ~Exists(judged), ~Exists(in_quiz), **golds)


def due_rechecks(
    project: Project, annotator: User, kind: str = Slot.Kind.PAIR, *, now: datetime
) -> "QuerySet[Judgment] | QuerySet[Ranking]":
    """The annotator's ordinary decisions of the kind, oldest first, old enough and not rechecked yet; no skips."""
    subject = SUBJECTS[kind]
    due = {
        "project": project,
        "annotator": annotator,
        f"{subject}__purpose": Comparison.Purpose.COLLECT,
        "skip_reason": "",
        "created_at__lte": now - timedelta(hours=project.recheck_after_hours),
        "rechecks__isnull": True,
    }
    if kind == Slot.Kind.RANKING:
        return Ranking.objects.filter(COUNTS, **due).select_related(subject).order_by("id")
    return Judgment.objects.filter(COUNTS, **due).select_related(subject).order_by("id")


def _ask(question: Comparison | Lineup, annotator: User, kind: str) -> None:
    about = {SUBJECTS[kind]: question}
    Slot.objects.create(project_id=question.project_id, kind=kind, only_for=annotator, **about)


def _recheck(decision: Judgment | Ranking, annotator: User, kind: str) -> bool:
    try:
        with transaction.atomic():
            again = _asked_for(getattr(decision, SUBJECTS[kind]), Comparison.Purpose.RECHECK, original=decision)
            _ask(again, annotator, kind)
    except IntegrityError:
        # Another tab of the same person asked at the same moment; one recheck of a decision is enough.
        return False
    return True
