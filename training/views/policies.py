from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.models import Membership, Role
from annotate.telling import told_error
from annotate.views.tables import long_csv_file
from training.models import Job, Loop, Policy
from training.paths import merged_folder
from training.queries import registry
from training.queries.retracted import retracted_since
from training.queries.runs import settings_shown
from training.queries.sampler import why_not_sampled_from
from training.queries.trials import progress_of
from training.services.loops import LONGEST_REASON, CannotSampleError, choose_sampler
from training.services.outbound import newest_job, start_merge, start_push
from training.services.release import (
    CannotReleaseError,
    merge_job,
    merged_release_of,
    note_release,
    own_form,
    release_of,
)

KINDS = ("judgment", "rating", "ranking")


def _policy_of(membership: Membership, number: int) -> Policy:
    rows = Policy.objects.select_related(
        "project", "parent", "run__snapshot", "run__created_by", "run__recipe_run", "author"
    )
    return get_object_or_404(rows, project=membership.project, number=number)


@require_safe
@login_required
def policies(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    page = Paginator(registry.policies_of(membership.project), 25).get_page(request.GET.get("page"))
    shown = list(page.object_list)
    retracted, learned = retracted_since(shown), registry.learned_by(shown)
    context = {
        "membership": membership,
        "project": membership.project,
        "loop": Loop.objects.filter(project=membership.project).first(),
        "page": page,
        "policies": [
            (policy, retracted.get(policy.pk), learned.get(policy.pk), registry.in_short(policy.run))
            for policy in shown
        ],
        "lineage": registry.lineage(membership.project),
        "reward_models": registry.reward_models_of(membership.project),
    }
    return render(request, "training/policies.html", context)


@require_safe
@login_required
def policy(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _policy_of(membership, number)
    ancestors = registry.ancestors(found)
    learned = registry.learned_by(ancestors)
    loop = Loop.objects.select_related("sampler").filter(project=membership.project).first()
    context = {
        "membership": membership,
        "project": membership.project,
        "policy": found,
        "loop": loop,
        "not_sampled_from": why_not_sampled_from(found, loop) if loop is not None else None,
        "longest_reason": LONGEST_REASON,
        "children": found.children.order_by("number"),
        "responses": found.author.responses.count(),
        "retracted": retracted_since([found]).get(found.pk),
        "settings": settings_shown(found.run) if found.run else [],
        "versions": sorted(found.run.result.get("versions", {}).items()) if found.run else [],
        "files": sorted(found.manifest.get("files", {}).items()),
        "learned": learned.get(found.pk),
        "inherited": [(row, learned[row.pk]) for row in ancestors[1:] if row.pk in learned],
    } | _release_context(membership, found)
    return render(request, "training/policy.html", context)


@require_safe
@login_required
def learned(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """Every decision that the policy learned from, by its own run and by those of the policies it continues."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _policy_of(membership, number)
    kind = request.GET.get("kind", "")
    ancestors = registry.ancestors(found)
    rows = registry.learned_from(ancestors, kind=kind if kind in KINDS else "")
    page = Paginator(rows, 50).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "project": membership.project,
        "tab": "training:policies",
        "policy": found,
        "page": page,
        "lessons": [registry.lesson(item, ancestors) for item in page],
        "kind": kind,
    }
    return render(request, "training/learned.html", context)


@require_safe
@login_required
def learned_csv(request: SignedInRequest, project_id: int, number: int) -> StreamingHttpResponse:
    """The same as a file, a line for each decision."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _policy_of(membership, number)
    return long_csv_file(f"policy-{number}-learned-from-project{project_id}", _learned_rows(found))


def _learned_rows(policy: Policy) -> Iterator[Iterable[object]]:
    yield registry.LESSON_COLUMNS
    for lesson in registry.lessons(registry.ancestors(policy)):
        yield [getattr(lesson, name) for name in registry.LESSON_COLUMNS]


def _release_context(membership: Membership, found: Policy) -> dict[str, Any]:
    """What can be done with the weights, and how far the jobs are that get them ready."""
    jobs = {kind: newest_job(found, kind) for kind in (Job.Kind.MERGE, Job.Kind.PUSH)}
    merging, pushing = (None if job is None else progress_of(job) for job in jobs.values())
    active = [progress for progress in (merging, pushing) if progress is not None and progress.active]
    return {
        "membership": membership,
        "project": membership.project,
        "policy": found,
        "merging": merging,
        "pushing": pushing,
        "push_job": jobs[Job.Kind.PUSH],
        "merged": merge_job(found) is not None and merged_folder(found).is_dir(),
        "namespace": settings.HUB_NAMESPACE,
        "hub_private": settings.HUB_PRIVATE,
        "suggested": f"policy-{found.number}",
        "release_active": bool(active),
        "release_seen": "-".join(progress.seen if progress else "0" for progress in (merging, pushing)),
    }


@require_safe
@login_required
def release_state(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """The part of the page about taking the weights away; 204 while the browser has seen all there is."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    context = _release_context(membership, _policy_of(membership, number))
    if request.GET.get("seen") == context["release_seen"]:
        return HttpResponse(status=204)
    return render(request, "training/_release.html", context)


@require_POST
@login_required
def download(request: SignedInRequest, project_id: int, number: int) -> HttpResponseBase:
    """The policy's weights with model card and manifest, as a ZIP archive that is made while it is sent."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _policy_of(membership, number)
    merged = request.POST.get("what") == "merged"
    try:
        release = merged_release_of(found) if merged else release_of(found)
    except CannotReleaseError as error:
        messages.error(request, told_error(error))
        return redirect("training:policy", project_id, number)
    note_release(policy=found, what="merged" if merged else own_form(found), actor=request.user, to="download")
    answer = StreamingHttpResponse(release.stream(), content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{release.name}-project{project_id}.zip"'
    return answer


@require_POST
@login_required
def sample_from(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """The lead's choice of where the next answers come from."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    found = _policy_of(membership, number)
    try:
        choose_sampler(policy=found, actor=request.user, reason=request.POST.get("reason", ""))
    except CannotSampleError as error:
        messages.error(request, told_error(error))
    else:
        messages.success(request, _("The next answers come from %(policy)s.") % {"policy": found})
    return redirect("training:policy", project_id, number)


@require_POST
@login_required
def merge(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """Asks a worker for a whole model of base and adapter."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    try:
        start_merge(policy=_policy_of(membership, number))
    except CannotReleaseError as error:
        messages.error(request, told_error(error))
    return redirect("training:policy", project_id, number)


@require_POST
@login_required
def push(request: SignedInRequest, project_id: int, number: int) -> HttpResponse:
    """Asks a worker to push the policy to the Hub."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    try:
        start_push(
            policy=_policy_of(membership, number),
            name=request.POST.get("name", "").strip(),
            merged=request.POST.get("what") == "merged",
            started_by=request.user,
        )
    except CannotReleaseError as error:
        messages.error(request, told_error(error))
    return redirect("training:policy", project_id, number)
