from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Membership, Prompt, Role
from annotate.telling import told_error
from training.engine.checks import SpecError
from training.models import Loop, Policy, Trial
from training.queries import registry
from training.queries import trials as queries
from training.services import trials as service
from training.services.trials import CannotTryError, Chosen
from training.trial_forms import PlaygroundForm, SideBySideForm, TwoPolicies


def _context(membership: Membership, **more: Any) -> dict[str, Any]:
    return {"membership": membership, "project": membership.project, "tab": "training:policies"} | more


def _loop_of(membership: Membership) -> Loop | None:
    return Loop.objects.filter(project=membership.project).first()


def _chosen(request: SignedInRequest, membership: Membership) -> dict[str, int]:
    """The two policies that the address names, else the newest and its parent, by number."""
    found: dict[str, int] = {}
    for side, usual in zip(("left", "right"), queries.two_newest(membership.project), strict=True):
        named = request.GET.get(side, "")
        if named.isdecimal() and len(named) < 10:
            found[side] = int(named)
        elif usual is not None:
            found[side] = usual.number
    return found


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def compare(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Two policies side by side: metrics, settings, and, with a press, answers on prompts of the project."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project, loop = membership.project, _loop_of(membership)
    chosen = _chosen(request, membership)
    form = SideBySideForm(request.POST or None, project=project, loop=loop, initial=chosen)
    if request.method == "POST" and form.is_valid():
        rows = service.choose_prompts(
            project=project,
            split=form.cleaned_data["split"],
            containing=form.cleaned_data["containing"],
            numbers=form.cleaned_data["numbers"],
            count=form.cleaned_data["count"],
            seed=form.cleaned_data["seed"],
        )
        if (trial := _try(request, membership, form, rows)) is not None:
            return redirect("training:trial", project_id, trial.pk)
    elif request.method == "POST":
        chosen = {side: int(value) for side in chosen if (value := request.POST.get(side, "")).isdecimal()} or chosen
    pair = {
        side: Policy.objects.select_related("run__snapshot", "parent").filter(project=project, number=number).first()
        for side, number in chosen.items()
    }
    left, right = pair.get("left"), pair.get("right")
    context = _context(membership, form=form, left=left, right=right, loop=loop)
    if left is not None and right is not None:
        differ, same = queries.settings_of(left.run, right.run)
        learned = registry.learned_by([left, right])
        context |= {
            "differ": differ,
            "same": same,
            "both_metrics": [left.metrics, right.metrics],
            "learned": [learned.get(left.pk), learned.get(right.pk)],
            "trials": queries.trials_of(project).filter(left=left, right=right)[:10],
        }
    return render(request, "training/compare.html", context, status=422 if form.errors else 200)


def _try(request: SignedInRequest, membership: Membership, form: TwoPolicies, rows: list[Chosen]) -> Trial | None:
    try:
        return service.start_trial(
            project=membership.project,
            left=form.cleaned_data["left"],
            right=form.cleaned_data["right"],
            rows=rows,
            started_by=request.user,
            **form.sampling(),
        )
    except SpecError as error:
        form.refuse(error)
    except CannotTryError as error:
        form.add_error(None, told_error(error))
    return None


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def playground(request: SignedInRequest, project_id: int) -> HttpResponse:
    """A message of a lead's own, which two policies answer; ``after`` and ``side`` continue an earlier answer."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    history, initial = _history(request, membership)
    form = PlaygroundForm(request.POST or None, project=project, loop=_loop_of(membership), initial=initial)
    if request.method == "POST" and form.is_valid():
        system, message = form.cleaned_data["system"].strip(), form.cleaned_data["message"]
        begun = history or ([{"role": "system", "content": system}] if system else [])
        try:
            typed = service.check_messages([*begun, {"role": "user", "content": message}])
        except CannotTryError as error:
            form.add_error("message", told_error(error))
        else:
            if (trial := _try(request, membership, form, [Chosen(typed)])) is not None:
                return redirect("training:trial", project_id, trial.pk)
    context = _context(
        membership, form=form, history=history, trials=queries.trials_of(project).prefetch_related("rows")[:10]
    )
    return render(request, "training/playground.html", context, status=422 if form.errors else 200)


def _history(request: SignedInRequest, membership: Membership) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The conversation so far with one side's answer, and the policies and settings it was led with."""
    named, side = request.GET.get("after", ""), request.GET.get("side", "")
    initial: dict[str, Any] = dict(_chosen(request, membership))
    if not named:
        return [], initial
    row = queries.row_of(membership.project, int(named)) if named.isdecimal() and len(named) < 16 else None
    answer = {"left": row.left, "right": row.right}.get(side) if row is not None else None
    if row is None or not answer or not answer["text"]:
        raise Http404("there is no such answer to go on from")
    trial = row.trial
    initial = {"left": trial.left.number, "right": trial.right.number} | {
        name: trial.sampling[name] for name in ("temperature", "top_p", "max_new_tokens")
    }
    return [*row.messages, {"role": "assistant", "content": answer["text"]}], initial


def _trial_of(membership: Membership, pk: int) -> Trial:
    rows = Trial.objects.select_related("project", "left", "right", "job", "created_by")
    return get_object_or_404(rows, project=membership.project, pk=pk)


def _shown(membership: Membership, found: Trial) -> dict[str, Any]:
    return _context(
        membership,
        trial=found,
        progress=queries.progress_of(found.job),
        rows=found.rows.select_related("prompt"),
        splits=dict(Prompt.Split.choices),
    )


@require_safe
@login_required
def trial(request: SignedInRequest, project_id: int, trial_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    return render(request, "training/trial.html", _shown(membership, _trial_of(membership, trial_id)))


@require_safe
@login_required
def live(request: SignedInRequest, project_id: int, trial_id: int) -> HttpResponse:
    """The answers, or what they wait for; 204 while the browser has seen all there is."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    context = _shown(membership, _trial_of(membership, trial_id))
    if request.GET.get("seen") == context["progress"].seen:
        return HttpResponse(status=204)
    return render(request, "training/_trial.html", context)


@require_POST
@login_required
def keep(request: SignedInRequest, project_id: int, row_id: int) -> HttpResponse:
    """What was typed becomes a prompt of the project."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    row = queries.row_of(membership.project, row_id)
    if row is None:
        raise Http404("there is no such conversation")
    try:
        prompt, new = service.keep_as_prompt(row=row, actor=request.user)
    except CannotTryError as error:
        messages.error(request, told_error(error))
    else:
        values = {"number": prompt.pk, "split": prompt.get_split_display()}
        said = _("It is prompt %(number)s now: %(split)s.") if new else _("It was there already: prompt %(number)s.")
        messages.success(request, said % values)
    return redirect("training:trial", project_id, row.trial_id)
