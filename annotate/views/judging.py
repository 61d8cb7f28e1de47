"""The pages on which people judge pairs, rate single answers, and rank several.

GET leases a slot. That is fine although GET changes nothing elsewhere on the site: it is idempotent (the same slot, the
same sides, the same submit id, however often), it costs nobody anything (a lease that nobody uses runs out by itself),
and a page that is opened is the only moment at which to know what a person was shown.

A POST saves the decision and answers with the next item in the same request: a fragment for htmx, a redirect without.
"""

import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial, wraps
from itertools import zip_longest
from typing import Any, cast
from zlib import crc32

from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from annotate.access import SignedInRequest, membership_for, seat_for
from annotate.forms.judging import DecisionForm, JudgmentForm, RankingForm, RatingForm, ReportForm, UndoForm
from annotate.models import Guideline, Judgment, Membership, PromptReport, Ranking, Rating, SkipReason, Slot
from annotate.queries.judging import (
    LineupToRank,
    Seat,
    answer_to_rate,
    lineup_to_rank,
    made_today,
    pair_to_judge,
    seat_of,
)
from annotate.queries.projects import newest_guideline
from annotate.queries.quiz import quiz_due
from annotate.rendering import render_markdown
from annotate.services.claims import Take, claim_slot, draw_take, release_slots, take_next
from annotate.services.corrections import last_decision, undo_last, undone
from annotate.services.edits import tidy
from annotate.services.guidelines import acknowledge_guideline
from annotate.services.judging import Conflict, Gone, Saved, record_judgment, record_rating
from annotate.services.limits import apply_limits, has_limits, quota_left
from annotate.services.rankings import record_ranking
from annotate.services.reporting import report_and_skip

logger = logging.getLogger(__name__)

# Which of two equal slots somebody gets is no secret, but workers that forked from one must not throw alike.
_RNG = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Page:
    """What differs between the pages."""

    kind: str
    url_name: str
    template: str
    item: str
    show: Callable[[Slot], object]
    form: type[DecisionForm]
    record: Callable[..., Saved[Any] | Conflict[Any] | Gone]


PAGES: dict[str, Page] = {
    page.kind: page
    for page in (
        Page(
            Slot.Kind.PAIR,
            "annotate:judge",
            "annotate/judge.html",
            "annotate/judging/pair.html",
            pair_to_judge,
            JudgmentForm,
            record_judgment,
        ),
        Page(
            Slot.Kind.THUMB,
            "annotate:thumbs",
            "annotate/thumbs.html",
            "annotate/judging/thumb.html",
            answer_to_rate,
            RatingForm,
            record_rating,
        ),
        Page(
            Slot.Kind.RANKING,
            "annotate:rank",
            "annotate/rank.html",
            "annotate/judging/ranking.html",
            lineup_to_rank,
            RankingForm,
            record_ranking,
        ),
    )
}


class _SeeOther(HttpResponseRedirect):
    """Says in so many words that the next request is a GET, so that a reload cannot post again."""

    status_code = 303


def _signed_in(
    view: Callable[[SignedInRequest, int], HttpResponse],
) -> Callable[[HttpRequest, int], HttpResponse]:
    """Like ``login_required``, but htmx gets a plain 401: it would follow a redirect and swap the sign-in page in."""

    @wraps(view)
    def wrapped(request: HttpRequest, project_id: int) -> HttpResponse:
        if request.user.is_authenticated:
            return view(cast(SignedInRequest, request), project_id)
        return _sign_in(request)

    return wrapped


def _sign_in(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=401) if _is_htmx(request) else redirect_to_login(request.get_full_path())


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def judge(request: HttpRequest, project_id: int) -> HttpResponse:
    """Two answers side by side: which one is better?"""
    return _asked(request, project_id, Slot.Kind.PAIR)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def thumbs(request: HttpRequest, project_id: int) -> HttpResponse:
    """One answer: is it good or bad?"""
    return _asked(request, project_id, Slot.Kind.THUMB)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def rank(request: HttpRequest, project_id: int) -> HttpResponse:
    """Several answers: in which order, from best to worst?"""
    return _asked(request, project_id, Slot.Kind.RANKING)


def _asked(request: HttpRequest, project_id: int, kind: str) -> HttpResponse:
    """What the project does not ask leads to what it does."""
    slot = request.POST.get("slot", "")
    seat = seat_for(
        request, project_id, kind, slot_id=int(slot) if slot.isascii() and slot.isdigit() and len(slot) < 19 else None
    )
    if seat is None:
        return _sign_in(request)
    kinds = seat.membership.project.kinds
    if kind not in kinds:
        return redirect(PAGES[kinds[0]].url_name, project_id)
    return _decide(cast(SignedInRequest, request), seat, PAGES[kind])


@require_http_methods(["POST"])
@never_cache
@_signed_in
def stop(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Hands back what one holds, so that nobody waits for it, and leads away from the work."""
    membership = membership_for(request.user, project_id)
    release_slots(project=membership.project, annotator=request.user)
    return _SeeOther(reverse("annotate:project", args=[membership.project_id]))


@require_http_methods(["POST"])
@never_cache
@_signed_in
def undo(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Takes the last decision back and shows its item again. Pressed twice it is undone once."""
    membership, page = membership_for(request.user, project_id), _page_of(request)
    form = UndoForm(request.POST)
    if form.is_valid() and not membership.paused_at:
        undo_last(
            project=membership.project,
            annotator=request.user,
            kind=page.kind,
            client_id=form.cleaned_data["undone_id"],
            now=timezone.now(),
        )
    return _go_on(request, seat_of(membership, page.kind), page)


@require_http_methods(["POST"])
@never_cache
@_signed_in
def acknowledge(request: SignedInRequest, project_id: int) -> HttpResponse:
    """ "I have read it", about the version that was shown: a newer one would be shown next."""
    membership = membership_for(request.user, project_id)
    version = request.POST.get("version", "")
    if version.isascii() and version.isdigit() and len(version) < 9:
        acknowledge_guideline(project=membership.project, user=request.user, version=int(version))
    page = _page_of(request)
    return _go_on(request, seat_of(membership, page.kind), page)


@require_http_methods(["POST"])
@never_cache
@_signed_in
def report(request: SignedInRequest, project_id: int) -> HttpResponse:
    """The prompt of the held item is not fit to be judged: it is reported, and skipped."""
    membership, page = membership_for(request.user, project_id), _page_of(request)
    form = ReportForm(request.POST)
    if membership.paused_at or not form.is_valid():
        return _go_on(request, seat_of(membership, page.kind), page)
    given = form.cleaned_data
    outcome = report_and_skip(
        project=membership.project,
        annotator=request.user,
        kind=page.kind,
        slot_id=given["reported_slot"],
        client_id=given["reported_id"],
        reason=given["reason"],
        note=given["note"],
        now=timezone.now(),
    )
    return _after(request, seat_of(membership, page.kind), page, outcome, written=[given["note"]])


def _page_of(request: HttpRequest) -> Page:
    return PAGES.get(request.POST.get("kind", ""), PAGES[Slot.Kind.PAIR])


def _is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _decide(request: SignedInRequest, seat: Seat, page: Page) -> HttpResponse:
    membership = seat.membership
    if request.method != "POST":
        return _next(request, seat, page)
    form = page.form(membership.project, request.POST)
    valid = form.is_valid()
    if membership.paused_at:
        # Not 200: it was not saved, and its draft stays.
        written = [text for text in form.written() if text] if valid else []
        context = {"fragment": "annotate/judging/paused.html", "written": written}
        return respond(request, membership, page, context, status=409)
    if not valid:
        return _next(request, seat, page, form=form)
    now = timezone.now()
    outcome = page.record(
        project=membership.project,
        annotator=request.user,
        slot_id=form.cleaned_data["slot"],
        client_id=form.cleaned_data["client_id"],
        active_ms=form.cleaned_data["active_ms"],
        now=now,
        shown=seat.shown,
        then=_then(request, seat, page, now=now),
        **form.given(),
    )
    if isinstance(outcome, Saved) and not outcome.repeated:
        try:
            paused = apply_limits(project=membership.project, annotator=request.user, now=now)
            if paused:
                membership.paused_at, membership.paused_reason = paused.paused_at, paused.paused_reason
        except DatabaseError:
            # It is saved, and stays saved: the next judgment will look at the limits again.
            logger.exception("the limits of project %s could not be looked at", membership.project_id)
    return _after(request, seat, page, outcome, written=form.written())


def _then(request: SignedInRequest, seat: Seat, page: Page, *, now: datetime) -> Take | None:
    """The next slot, to be taken together with the decision; None where something else may have to come before it."""
    membership, project = seat.membership, seat.membership.project
    sure = _is_htmx(request) and "again" not in request.POST and seat.unread_id is None and not quiz_due(membership)
    if not sure or membership.daily_quota is not None or has_limits(project):
        return None
    return draw_take(project=project, annotator=request.user, kind=page.kind, now=now, rng=_RNG)


def _after(
    request: SignedInRequest,
    seat: Seat,
    page: Page,
    outcome: Saved[Any] | Conflict[Any] | Gone,
    *,
    written: Sequence[str],
) -> HttpResponse:
    """The next item after a saved decision, which may be the same submit once more; else why it was not saved."""
    if isinstance(outcome, Saved):
        last = None if outcome.repeated else outcome.decision
        return _go_on(request, seat, page, last=last, taken=outcome.taken)
    url = reverse(page.url_name, args=[seat.membership.project_id])
    return refused(request, seat.membership, page, outcome, url=url, written=written)


def _go_on(
    request: SignedInRequest,
    seat: Seat,
    page: Page,
    *,
    last: Judgment | Rating | Ranking | None = None,
    taken: Slot | None = None,
) -> HttpResponse:
    if _is_htmx(request):
        return _next(request, seat, page, last=last, taken=taken)
    return _SeeOther(reverse(page.url_name, args=[seat.membership.project_id]))


def refused(
    request: SignedInRequest,
    membership: Membership,
    page: Page,
    outcome: Conflict[Any] | Gone,
    *,
    url: str,
    written: Sequence[str],
) -> HttpResponse:
    """Nothing was saved: what stands instead, or what happened. ``url`` is where to go on; what the person wrote is
    shown once more, for them to keep."""
    context: dict[str, Any] = {"fragment": "annotate/judging/refused.html", "url": url}
    context["written"] = [text for text in written if text]
    if isinstance(outcome, Conflict):
        saved = outcome.saved
        context["saved"] = saved
        context["said"] = saved.get_choice_display() if isinstance(saved, Judgment) else saved.get_value_display()
    else:
        context["why"] = outcome.why.value
    return respond(request, membership, page, context, status=409)


def _next(
    request: SignedInRequest,
    seat: Seat,
    page: Page,
    *,
    form: DecisionForm | None = None,
    last: Judgment | Rating | Ranking | None = None,
    taken: Slot | None = None,
) -> HttpResponse:
    """What to decide next, or why there is nothing; after a form that failed the same item, and why.

    ``last`` is what was decided just now, for the undo button; without it the database is asked. ``taken`` is what was
    taken with it.
    """
    now, membership = timezone.now(), seat.membership
    if instead := _instead(request, seat, page):
        return instead
    enough = quota_left(membership, now) == 0
    about: dict[str, Any] = {"project": membership.project, "annotator": request.user, "kind": page.kind}
    slot = None
    if not enough:
        # Who has just decided holds nothing more but in another tab, which is theirs to finish there, or after an undo.
        claim = partial(take_next, taken=taken) if last and "again" not in request.POST else claim_slot
        slot = claim(**about, now=now, rng=_RNG)
        if slot is None and "poll" in request.GET:
            return HttpResponse(status=204)
    # What was taken at this very moment was never decided before.
    before = None if slot is None or slot.shown_at == now or slot is taken else undone(slot, request.user)
    shell = "" if before or form else _shell_mark(membership, page)
    if slot and last and shell and shell == request.headers.get("Pairloop-Shell"):
        item = render_to_string("annotate/judging/item.html", {"item": page.show(slot), "last": last})
        return HttpResponse(item, headers={"Pairloop-Item": "alone"})
    context: dict[str, Any] = {
        "shell": shell,
        "last": last or last_decision(**about, now=now),
        "today": made_today(**about),
    }
    if slot is None:
        context["fragment"] = "annotate/judging/enough.html" if enough else "annotate/judging/nothing.html"
        return respond(request, membership, page, context)
    same = form is not None and form.data.get("slot") == str(slot.pk)
    context |= item_context(page, slot, membership, form=form if same else None, before=before)
    context["errors"] = form.non_field_errors() if form else None
    return respond(request, membership, page, context, status=422 if form else 200)


def _instead(request: SignedInRequest, seat: Seat, page: Page) -> HttpResponse | None:
    """What comes before any item: a pause, a guideline to read, the quiz."""
    membership = seat.membership
    if membership.paused_at:
        return respond(request, membership, page, {"fragment": "annotate/judging/paused.html"})
    if seat.unread_id is not None:
        unread = Guideline.objects.get(pk=seat.unread_id)
        context = {"fragment": "annotate/judging/guideline.html", "unread": unread}
        return respond(request, membership, page, context | {"unread_html": render_markdown(unread.text)})
    if quiz_due(membership):
        return respond(request, membership, page, {"fragment": "annotate/judging/quiz.html"})
    return None


def _shell_mark(membership: Membership, page: Page) -> str:
    """Names all that the pages of two pairs have in common; empty where they have too little of it.

    A page with that mark is sent the next pair alone, and judge.js puts it into the rest (``make bench``).
    """
    project = membership.project
    if page.kind != Slot.Kind.PAIR or project.allow_edits:
        return ""
    settings = [project.pk, project.ask_strength, project.ask_rationale, project.reason_tags]
    return f"{crc32(json.dumps([get_language(), settings]).encode()):08x}"


def item_context(
    page: Page,
    slot: Slot,
    membership: Membership,
    *,
    form: DecisionForm | None = None,
    before: Judgment | Rating | Ranking | None = None,
) -> dict[str, Any]:
    """Everything that the page of one item shows: ``before`` is what the person had said of it, and takes back."""
    said = None
    if before is not None:
        said = before.choice if isinstance(before, Judgment) else before.value
    return {
        "fragment": page.item,
        "item": _ranked(page.show(slot), form=form, before=before),
        "skip_reasons": SkipReason.choices,
        "report_reasons": PromptReport.Reason.choices,
        "before": before,
        "said": said,
        "trouble": bool(form and form.trouble),
        "rationale": form.data.get("rationale", "") if form else before.rationale if before else "",
        "chosen_tags": form.tags if form else before.tags if before else [],
    } | _improvements(page, slot, membership, form=form, before=before)


def _ranked(item: object, *, form: DecisionForm | None, before: Judgment | Rating | Ranking | None) -> object:
    """A lineup with the ranks that were chosen before; any other item as it is."""
    if not isinstance(item, LineupToRank):
        return item
    ranks: list[int | None] = []
    if isinstance(form, RankingForm):
        ranks = form.ranks
    elif isinstance(before, Ranking):
        ranks = before.ranks
    places = [replace(place, rank=rank) for place, rank in zip_longest(item.places, ranks[: len(item.places)])]
    return replace(item, places=places)


def _improvements(
    page: Page,
    slot: Slot,
    membership: Membership,
    *,
    form: DecisionForm | None,
    before: Judgment | Rating | Ranking | None,
) -> dict[str, Any]:
    """For each answer of a pair the box in which it may be improved, with what was written there so far."""
    if page.kind != Slot.Kind.PAIR or not membership.project.allow_edits:
        return {}
    pair = pair_to_judge(slot)
    boxes = {}
    for side, text in (("A", pair.a), ("B", pair.b)):
        written = form.data.get(f"edited_{side.lower()}", "") if form else ""
        if form is None and isinstance(before, Judgment) and before.edited is not None and before.choice == side:
            written = before.edited.text
        trouble = form is not None and form.trouble == side
        touched = trouble or tidy(written) not in ("", tidy(text))
        boxes[side] = {"side": side, "text": written if touched else text, "touched": touched, "trouble": trouble} | {
            "original": text
        }
    return {"improve": boxes}


def respond(
    request: SignedInRequest, membership: Membership, page: Page, own: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """The fragment alone for htmx, else the whole page around it."""
    project = membership.project
    context: dict[str, Any] = {
        "membership": membership,
        "project": project,
        "url": reverse(page.url_name, args=[project.pk]),
        "kind": page.kind,
    } | own
    if _is_htmx(request):
        return render(request, context["fragment"], context, status=status)
    context["guideline"] = guideline = newest_guideline(project)
    context["guideline_html"] = render_markdown(guideline.text) if guideline else ""
    return render(request, page.template, context, status=status)
