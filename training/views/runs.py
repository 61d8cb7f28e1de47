from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Membership, Role
from annotate.said import Said
from annotate.telling import told_error
from annotate.views.tables import csv_file
from training.advice import advice
from training.engine.checks import SpecError
from training.engine.methods import METHODS
from training.forms.runs import RunForm
from training.models import Loop, Run
from training.queries import curves
from training.queries import runs as queries
from training.queries.logs import log_tail
from training.queries.machines import ProfileShown, profile_shown
from training.queries.overview import overview
from training.queries.registry import offered_to
from training.queries.stock import offers
from training.services.defaults import default_settings, settings_of, usual_settings
from training.services.resuming import resume_run, score_again
from training.services.runs import AlreadyRunningError, CannotStartError, cancel_run, start_run, stop_run
from training.states import RUN_ACTIVE


def _context(membership: Membership, **more: Any) -> dict[str, Any]:
    return {"membership": membership, "project": membership.project} | more


def _run_of(membership: Membership, number: int) -> Run:
    rows = Run.objects.select_related(
        "project",
        "snapshot__copied_from__run",
        "parent",
        "round",
        "created_by",
        "recipe_run",
        "reward_model__run",
    )
    return get_object_or_404(rows, project=membership.project, number=number)


def start_form(loop: Loop, method: str | None = None, *, like: Run | None = None, profiled: bool = False) -> RunForm:
    """An unbound form: as the last run of this method was started, else (or ``profiled``) as an expert would choose."""
    chosen = method if method in METHODS else loop.method
    defaults = default_settings(method=chosen, base_model=loop.base_model)
    kept = loop.settings if chosen == loop.method and not profiled else {}
    return RunForm(
        method=chosen,
        settings=defaults | kept,
        aggregation=loop.aggregation,
        offers=offers(loop.project),
        like=like,
        reward_models=offered_to(chosen, loop.project),
    )


def form_like(loop: Loop, run: Run, *, changed: bool) -> RunForm:
    """The start form with the settings of ``run``; with ``changed``, as its end advises."""
    defaults = default_settings(method=run.method, base_model=loop.base_model)
    settings = defaults | settings_of(run)
    if changed:
        settings |= advice(run.code, run.spec).changes
    return RunForm(
        method=run.method,
        settings=settings,
        aggregation=run.snapshot.aggregation,
        offers=offers(loop.project),
        like=run,
        reward_models=offered_to(run.method, loop.project),
    )


@require_safe
@login_required
def runs(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    page = Paginator(queries.runs_of(membership.project), 25).get_page(request.GET.get("page"))
    loop = Loop.objects.select_related("project", "sampler").filter(project=membership.project).first()
    context = _context(membership, page=page, loop=loop)
    if loop is not None:
        form = start_form(loop, request.GET.get("method"))
        context |= {"overview": overview(loop), "form": form, "shown": profile_for(loop, form)}
    return render(request, "training/runs.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def start(request: SignedInRequest, project_id: int) -> HttpResponse:
    """The form by itself: of another method, like the run ``from``, or with what was wrong; and the press on Start."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    loop = get_object_or_404(Loop.objects.select_related("project", "sampler"), project=membership.project)
    like = _named_run(membership, request.GET.get("from", ""))
    method = request.GET.get("method")
    if like is not None and like.method in METHODS and method in (None, like.method):
        form = form_like(loop, like, changed="changed" in request.GET)
    else:
        form = start_form(loop, method, like=like, profiled="profiled" in request.GET)
    if request.method == "POST":
        form = bound_form(request, loop, like=like)
        if form.is_valid() and "check" not in request.POST:
            form.require_room(profile_for(loop, form))
            if form.is_valid() and (opened := _try_to_start(request, loop, form)) is not None:
                return redirect("training:run", project_id, opened.number)
    shown = profile_for(loop, form)
    context = _context(membership, loop=loop, form=form, shown=shown, overview=overview(loop), like=like)
    template = (
        "training/_start.html"
        if request.method == "GET" and request.headers.get("HX-Request")
        else "training/start.html"
    )
    return render(request, template, context, status=422 if form.errors else 200)


def profile_for(loop: Loop, form: RunForm) -> ProfileShown | None:
    """How a run with the form's settings would use the machine."""
    usual = usual_settings(method=form.chosen, base_model=loop.base_model)
    return profile_shown(base_model=loop.base_model, method=form.chosen, usual=usual, chosen=form.values_that_matter())


def _named_run(membership: Membership, number: str) -> Run | None:
    if not number.isdecimal() or len(number) > 9:
        return None
    rows = membership.project.runs.select_related("project", "snapshot__project", "parent", "round")
    return rows.filter(number=int(number)).first()


def bound_form(
    request: SignedInRequest,
    loop: Loop,
    *,
    method: str | None = None,
    like: Run | None = None,
    or_newest: bool = False,
) -> RunForm:
    """The form as it was sent; ``method`` where that is not to be chosen; ``or_newest`` as in the form."""
    method = method or request.POST.get("method", "")
    chosen = method if method in METHODS else loop.method
    defaults = default_settings(method=chosen, base_model=loop.base_model)
    return RunForm(
        request.POST,
        method=chosen,
        settings=defaults,
        offers=offers(loop.project),
        like=like,
        reward_models=offered_to(chosen, loop.project),
        or_newest=or_newest,
    )


def _try_to_start(request: SignedInRequest, loop: Loop, form: RunForm) -> Run | None:
    try:
        return start_run(
            loop=loop,
            method=form.chosen,
            settings=form.settings(),
            aggregation=form.cleaned_data.get("aggregation", ""),
            like=form.same_rows_as,
            reward_model=form.against,
            started_by=request.user,
            reason=Said("%(who)s pressed Start", who=str(request.user)),
        )
    except AlreadyRunningError as error:
        messages.info(request, told_error(error))
        return error.run
    except SpecError as error:
        form.refuse(error)
    except CannotStartError as error:
        form.add_error(None, told_error(error))
    return None


@require_safe
@login_required
def run(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _run_of(membership, number)
    points = curves.curve(found)
    offered = curves.comparable(found)
    overlaid = curves.chosen_of(offered, request.GET.getlist("with"))
    context = _context(
        membership,
        run=found,
        live=queries.live(found),
        points=curves.thinned(points),
        has_curve=bool(points),
        figures=curves.figures(found, overlaid),
        offered=offered,
        overlaid=overlaid,
        shown_runs=[found, *overlaid],
        last_values=curves.last_values([found, *overlaid]) if overlaid else [],
        log=log_tail(found),
        history=queries.history(found),
        settings=queries.settings_shown(found),
        **_results(found),
    )
    return render(request, "training/run.html", context)


def _results(found: Run) -> dict[str, Any]:
    return {"accounting": queries.accounting(found), "pairs": queries.before_after(found)}


@require_safe
@login_required
def live(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """The moving part of the run page; 204 while the browser has seen all there is."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _run_of(membership, number)
    shown = queries.live(found)
    if request.GET.get("seen") == shown.seen:
        return HttpResponse(status=204)
    return render(request, "training/_run_live.html", _context(membership, run=found, live=shown))


@require_safe
@login_required
def results(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """Accounting, scores and answers, once they are there; 204 while nothing new is."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _run_of(membership, number)
    shown = queries.live(found)
    if request.GET.get("seen") == shown.results_seen:
        return HttpResponse(status=204)
    context = _context(membership, run=found, live=shown, **_results(found))
    return render(request, "training/_run_results.html", context)


@require_safe
@login_required
def curve(request: SignedInRequest, project_id: int, number: int) -> JsonResponse:
    """Points after the event ``after``, and the id to ask with next time."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _run_of(membership, number)
    after = request.GET.get("after", "0")
    if not after.isdecimal() or len(after) > 18:
        raise Http404("after must be the number that the last answer gave")
    newest = curves.newest_event(found)
    active = found.state in RUN_ACTIVE
    return JsonResponse({"points": curves.curve(found, after=int(after)), "after": newest, "active": active})


@require_safe
@login_required
def log(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """The end of the engine's log; 204 while the browser has seen all there is."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _run_of(membership, number)
    tail = log_tail(found)
    if request.GET.get("seen") == tail.seen and found.state in RUN_ACTIVE:
        return HttpResponse(status=204)
    context = _context(membership, run=found, log=tail, live=queries.live(found))
    return render(request, "training/_run_log.html", context)


@require_safe
@login_required
def rows_csv(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """What the run trains on, a line for each row, with the judgments that went into it."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _run_of(membership, number)
    return csv_file(f"run-{number}-rows-project{project_id}", [queries.ROW_COLUMNS, *queries.snapshot_rows(found)])


@require_POST
@login_required
def cancel(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _run_of(membership, number)
    cancel_run(run=found, actor=request.user)
    messages.info(request, _("The run ends within a minute. What was judged stays; the next run trains on it."))
    return redirect("training:run", project_id, number)


@require_POST
@login_required
def stop(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """End early, and publish what has been learnt."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    if stop_run(run=_run_of(membership, number), actor=request.user):
        messages.info(request, _("The run ends after its step, and what it has learnt becomes a policy."))
    else:
        messages.warning(request, _("Only a run in training can be stopped and kept, and only once."))
    return redirect("training:run", project_id, number)


@require_POST
@login_required
def resume(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    try:
        resume_run(run=_run_of(membership, number), actor=request.user)
        messages.info(request, _("The run goes on from its last checkpoint as soon as a worker is free."))
    except CannotStartError as error:
        messages.warning(request, told_error(error))
    return redirect("training:run", project_id, number)


@require_POST
@login_required
def score(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """Measure the run's policy once more; nothing is trained."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    try:
        score_again(run=_run_of(membership, number), actor=request.user)
        messages.info(request, _("The policy is scored as soon as a worker is free."))
    except CannotStartError as error:
        messages.warning(request, told_error(error))
    return redirect("training:run", project_id, number)
