from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Membership, Role
from training.forms.loops import LoopForm
from training.models import Loop
from training.paths import is_starter
from training.queries.overview import overview
from training.services.loops import base_model_is_fixed, change_loop, ensure_loop, set_paused
from training.services.sampling import start_sampling


def _loop_of(membership: Membership) -> Loop:
    return get_object_or_404(Loop.objects.select_related("project", "sampler"), project=membership.project)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def loop_settings(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Base model, sampling, and when rounds start by themselves. Saving it the first time sets the loop up."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    loop = Loop.objects.select_related("project", "sampler").filter(project=project).first()
    form = LoopForm(
        request.POST or None,
        instance=loop or Loop(project=project, base_model=str(settings.STARTER_DIR)),
        base_fixed=loop is not None and base_model_is_fixed(project),
    )
    if request.method == "POST" and form.is_valid():
        if loop is None:
            ensure_loop(project=project, **form.cleaned_data)
            messages.success(request, _("The loop is set up. The first answers are sampled once there are prompts."))
            return redirect("annotate:project", project_id)
        change_loop(loop=form.save(commit=False), changed=form.changed_data, actor=request.user)
        messages.success(request, _("Saved. It holds from the next sampling and the next round on."))
        return redirect("training:loop", project_id)
    context = {
        "membership": membership,
        "project": project,
        "loop": loop,
        "form": form,
        "starter": str(settings.STARTER_DIR),
        "on_starter": is_starter(form["base_model"].value() or ""),
    }
    return render(request, "training/loop.html", context, status=422 if form.errors else 200)


@require_safe
@login_required
def now(request: SignedInRequest, project_id: int) -> HttpResponse:
    """The moving part of the loop's panel; 204 while the browser has seen all there is."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    shown = overview(_loop_of(membership))
    if request.GET.get("seen") == shown.seen:
        return HttpResponse(status=204)
    context = {"membership": membership, "project": membership.project, "loop": shown.loop, "overview": shown}
    return render(request, "training/_now.html", context)


@require_POST
@login_required
def sample(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Sampling now, without waiting for the loop to try again."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    if start_sampling(loop=_loop_of(membership)) is None:
        messages.info(request, _("Answers are being sampled already, or there are no prompts to answer yet."))
    else:
        messages.success(request, _("Sampling starts as soon as a worker is free."))
    return redirect("annotate:project", project_id)


@require_POST
@login_required
def pause(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Pauses the loop, or lets it go on."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    set_paused(loop=_loop_of(membership), paused=request.POST.get("paused") == "1", actor=request.user)
    return redirect("training:loop", project_id)
