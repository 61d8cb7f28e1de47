"""The onboarding quiz: a page for the annotator, and what a lead does about it by hand."""

import random
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from annotate import assign
from annotate.access import SignedInRequest, membership_for
from annotate.forms.quiz import QuizAnswerForm
from annotate.models import Membership, QuizAnswer, Role
from annotate.queries.judging import Place, conversation
from annotate.queries.people import members_of
from annotate.queries.quiz import answers_of, question_of, quiz_due, quiz_questions_in, quiz_states
from annotate.services import quiz as service
from annotate.services.people import NotAllowedError

_RNG = random.SystemRandom()


@require_safe
@never_cache
@login_required
def quiz(request: SignedInRequest, project_id: int) -> HttpResponse:
    """What the quiz is, its next question, what was right after each, or how it ended."""
    membership = membership_for(request.user, project_id)
    project = membership.project
    state = quiz_states(project, [membership])[membership.pk]
    attempt = state.attempts[0] if state.attempts else None
    context: dict[str, Any] = {
        "membership": membership,
        "project": project,
        "state": state,
        "attempt": attempt,
        "too_few": quiz_questions_in(project) < project.quiz_questions,
    }
    questions = list(answers_of(attempt)) if attempt else []
    answered = _number(request.GET.get("answered", ""))
    shown = next((question for question in questions if question.choice and question.position == answered), None)
    if shown is None and attempt is not None and attempt.ended_at is None:
        shown = next(question for question in questions if not question.choice)
    if shown is None:
        context["results"] = questions if attempt and attempt.ended_at else []
        return render(request, "annotate/quiz/overview.html", context)
    return _question_page(request, membership, shown)


@require_POST
@login_required
def start(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id)
    if not quiz_due(membership) or membership.paused_at:
        return redirect("annotate:judge", project_id)
    try:
        service.start_attempt(membership=membership, rng=_RNG)
    except service.QuizNotReadyError:
        messages.error(request, _("The project has too few questions for its quiz. A lead has to add some."))
    except service.NoAttemptLeftError:
        messages.error(request, _("No attempt is left. A lead can let you try again."))
    return redirect("annotate:quiz", project_id)


@require_POST
@login_required
def answer(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Keeps the answer and shows whether it was right; the same question answered twice stays as it was first."""
    membership = membership_for(request.user, project_id)
    attempt, position = (_number(request.POST.get(name, "")) for name in ("attempt", "position"))
    question = question_of(membership, attempt_id=attempt, position=position)
    if question is None or membership.paused_at:
        return redirect("annotate:quiz", project_id)
    form = QuizAnswerForm(question, request.POST)
    if not form.is_valid():
        return _question_page(request, membership, question, form=form)
    said = form.cleaned_data
    question = service.answer_question(
        membership=membership, attempt_id=attempt, position=position, now=timezone.now(), **said
    )
    if question is None:
        return redirect("annotate:quiz", project_id)
    if (question.choice, question.ranks) != (said["choice"], said["ranks"]):
        messages.info(request, _("You had answered this one before; your first answer stands."))
    return redirect(f"{reverse('annotate:quiz', args=[project_id])}?answered={question.position}")


@require_POST
@login_required
def pass_by_hand(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    member = get_object_or_404(members_of(membership.project), pk=member_id)
    try:
        service.pass_by_hand(by=membership, member=member)
        messages.success(request, _("%(person)s can judge without the quiz.") % {"person": member.user})
    except NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:member", project_id, member_id)


@require_POST
@login_required
def reset(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    member = get_object_or_404(members_of(membership.project), pk=member_id)
    try:
        service.reset_quiz(by=membership, member=member)
        messages.success(request, _("%(person)s takes the quiz, with all attempts.") % {"person": member.user})
    except NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:member", project_id, member_id)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _question_page(
    request: SignedInRequest, membership: Membership, question: QuizAnswer, *, form: QuizAnswerForm | None = None
) -> HttpResponse:
    """The question, and once it is answered what was right; with the ranks that were sent if they were not enough."""
    others = question.attempt.answers.values_list("choice", flat=True)
    context = {
        "membership": membership,
        "project": membership.project,
        "question": question,
        "of": len(others),
        "more": "" in others,
        "form": form,
        "conversation": conversation(question.subject.prompt.messages),
        **(_lineup_shown(question, form) if question.lineup else _pair_shown(question)),
    }
    return render(request, "annotate/quiz/question.html", context, status=422 if form else 200)


def _pair_shown(question: QuizAnswer) -> dict[str, Any]:
    pair = question.comparison
    if pair is None:
        return {}
    left, right = assign.sides(pair.first, pair.second, swapped=question.swapped)
    return {"a": left.text, "b": right.text}


def _lineup_shown(question: QuizAnswer, form: QuizAnswerForm | None) -> dict[str, Any]:
    sent = form.ranks if form else [None] * len(question.shown)
    places = [
        Place(letter, number, response.text, rank or sent[number - 1])
        for number, (letter, rank, response) in enumerate(question.places, start=1)
    ]
    return {"places": places, "ranks": None if question.choice else range(1, len(places) + 1)}
