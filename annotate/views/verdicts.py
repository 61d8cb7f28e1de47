"""Where a reviewer decides on one comparison or lineup, takes that back, and makes a gold question of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.verdicts import GoldForm, GoldOrderForm, OrderVerdictForm, VerdictForm
from annotate.models import Comparison, Lineup, Membership, Role
from annotate.queries import review, unsettled
from annotate.services import checks
from annotate.services import verdicts as service

Subject = Comparison | Lineup


@dataclass(frozen=True, slots=True)
class Kind:
    """How subjects of one kind are shown and decided. Forms take the ``dispute`` that is shown and what was sent."""

    model: type[Comparison] | type[Lineup]
    page: str
    dispute: Callable[[Any], Any]
    form: Callable[[Any, QueryDict | None], Form]
    gold_form: Callable[[Any, QueryDict | None], Form]
    adjudicate: Callable[..., object]
    make_gold: Callable[..., object]


def _gold_form(dispute: review.Dispute, sent: QueryDict | None) -> Form:
    verdict = dispute.verdict
    known = {"expected": verdict.verdict, "explanation": verdict.note} if verdict else {}
    return GoldForm(sent, initial=known, auto_id="gold_%s")


def _gold_order_form(dispute: unsettled.LineupDispute, sent: QueryDict | None) -> Form:
    verdict = dispute.verdict
    ranks = enumerate(verdict.ranks if verdict else [], start=1)
    known = {f"rank_{number}": rank for number, rank in ranks} | {"explanation": verdict.note if verdict else ""}
    return GoldOrderForm(sent, size=len(dispute.places), initial=known, auto_id="gold_%s")


KINDS = {
    "pair": Kind(
        model=Comparison,
        page="annotate:comparison",
        dispute=review.dispute_of,
        form=lambda dispute, sent: VerdictForm(sent),
        gold_form=_gold_form,
        adjudicate=lambda subject, **said: service.adjudicate(comparison=subject, **said),
        make_gold=lambda subject, **known: checks.make_gold(comparison=subject, **known),
    ),
    "ranking": Kind(
        model=Lineup,
        page="annotate:lineup",
        dispute=unsettled.dispute_of_lineup,
        form=lambda dispute, sent: OrderVerdictForm(sent, size=len(dispute.places)),
        gold_form=_gold_order_form,
        adjudicate=lambda subject, **said: service.adjudicate_lineup(lineup=subject, **said),
        make_gold=lambda subject, **known: checks.make_gold_lineup(lineup=subject, **known),
    ),
}


def dispute_context(kind: str, subject: Subject) -> dict[str, Any]:
    """What was said of it, and the forms to decide, as ``dispute.html`` and ``lineup_dispute.html`` show them."""
    dispute = KINDS[kind].dispute(subject)
    forms = {"form": KINDS[kind].form(dispute, None), "gold_form": KINDS[kind].gold_form(dispute, None)}
    return {"kind": kind, "subject": subject, "dispute": dispute, **forms}


@require_safe
@login_required
def decided(request: SignedInRequest, project_id: int, kind: str, subject_id: int) -> HttpResponse:
    """One comparison or lineup with everything that was said of it, to decide or to decide again."""
    membership, subject = _asked(request, project_id, kind, subject_id)
    return _page(request, membership, kind, subject)


@require_POST
@login_required
def adjudicate(request: SignedInRequest, project_id: int, kind: str, subject_id: int) -> HttpResponse:
    membership, subject = _asked(request, project_id, kind, subject_id)
    form = KINDS[kind].form(KINDS[kind].dispute(subject), request.POST)
    if not form.is_valid():
        return _page(request, membership, kind, subject, form=form)
    KINDS[kind].adjudicate(subject, reviewer=request.user, **form.cleaned_data)
    messages.success(request, _("Your verdict stands."))
    return redirect("annotate:review", project_id)


@require_POST
@login_required
def withdraw_verdict(request: SignedInRequest, project_id: int, kind: str, subject_id: int) -> HttpResponse:
    _membership, subject = _asked(request, project_id, kind, subject_id)
    if service.withdraw_verdict(subject=subject, reviewer=request.user):
        messages.success(request, _("No verdict stands any more. What was said before is kept."))
    else:
        messages.info(request, _("No verdict stood any more."))
    return redirect(KINDS[kind].page, project_id, subject_id)


@require_POST
@login_required
def make_gold(request: SignedInRequest, project_id: int, kind: str, subject_id: int) -> HttpResponse:
    """What is known of it becomes a question that annotators are measured by."""
    membership, subject = _asked(request, project_id, kind, subject_id)
    form = KINDS[kind].gold_form(KINDS[kind].dispute(subject), request.POST)
    if form.is_valid():
        try:
            KINDS[kind].make_gold(subject, actor=request.user, **form.cleaned_data)
        except checks.NotGoldError as error:
            form.add_error(None, str(error))
        else:
            messages.success(
                request, _("It is a gold question now. The project's settings say how often one is asked.")
            )
            return redirect(KINDS[kind].page, project_id, subject_id)
    return _page(request, membership, kind, subject, gold_form=form)


def _asked(request: SignedInRequest, project_id: int, kind: str, subject_id: int) -> tuple[Membership, Subject]:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    model: type[Any] = KINDS[kind].model
    subjects = model.objects.select_related("prompt", "project")
    return membership, get_object_or_404(subjects, pk=subject_id, project=membership.project_id)


def _page(request: SignedInRequest, membership: Membership, kind: str, subject: Subject, **sent: Form) -> HttpResponse:
    context = {
        "membership": membership,
        "project": membership.project,
        "tab": "annotate:review",
        "panels": [import_string(panel)(request, membership, subject) for panel in settings.JUDGED_PANELS],
        **dispute_context(kind, subject),
        **sent,
    }
    return render(request, "annotate/decided.html", context, status=422 if sent else 200)
