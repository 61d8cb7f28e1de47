"""Where leads steer what is asked of whom: assignments, priorities, groups."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.queue import GroupForm, SteerForm
from annotate.models import AnnotatorGroup, Assignment, Membership, Role
from annotate.queries.assignments import assignments_of, groups_of, waiting_in
from annotate.services import assignments as service

PER_PAGE = 20


@require_safe
@login_required
def queue(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    return _page(request, membership)


@require_POST
@login_required
def steer(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Assigns what is selected, or sets its priority."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    project = membership.project
    form = SteerForm(request.POST, project=project)
    if form.is_valid() and form.wants_priority:
        moved = service.set_priority(
            project=project, actor=request.user, selection=form.selection(), priority=form.cleaned_data["priority"]
        )
        said = ngettext(
            "%(n)d open judgment has this priority now.", "%(n)d open judgments have this priority now.", moved
        )
        (messages.success if moved else messages.info)(request, said % {"n": moved})
        return redirect("annotate:queue", project_id)
    if form.is_valid():
        try:
            made = service.assign(
                project=project, actor=request.user, selection=form.selection(), to=form.target(),
                most=form.cleaned_data["most"],
            )  # fmt: skip
        except service.NothingToAssignError as error:
            form.add_error(None, str(error))
        else:
            said = ngettext("Assigned to %(to)s: %(n)d.", "Assigned to %(to)s: %(n)d.", made.slots)
            messages.success(request, said % {"to": made.to, "n": made.slots})
            return redirect("annotate:queue", project_id)
    return _page(request, membership, steer=form)


@require_POST
@login_required
def undo_assignment(request: SignedInRequest, project_id: int, assignment_id: int) -> HttpResponse:
    membership_for(request.user, project_id, role=Role.LEAD)
    assignment = get_object_or_404(Assignment.objects.select_related("project"), pk=assignment_id, project=project_id)
    freed = service.undo_assignment(assignment=assignment, actor=request.user)
    if freed is None:
        messages.info(request, _("It was undone before."))
    else:
        messages.success(request, _("Undone. Open to everybody again: %(n)d.") % {"n": freed})
    return redirect("annotate:queue", project_id)


@require_POST
@login_required
def new_group(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    form = GroupForm(request.POST, project=membership.project)
    if not form.is_valid():
        return _page(request, membership, new_group=form)
    service.save_group(project=membership.project, actor=request.user, **form.cleaned_data)
    messages.success(request, _("The group is there."))
    return redirect("annotate:queue", project_id)


@require_POST
@login_required
def change_group(request: SignedInRequest, project_id: int, group_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    group = get_object_or_404(AnnotatorGroup, pk=group_id, project=project_id)
    form = GroupForm(request.POST, project=membership.project, group=group)
    if not form.is_valid():
        return _page(request, membership, changed={group_id: form})
    service.save_group(project=membership.project, actor=request.user, group=group, **form.cleaned_data)
    messages.success(request, _("Saved."))
    return redirect("annotate:queue", project_id)


@require_POST
@login_required
def delete_group(request: SignedInRequest, project_id: int, group_id: int) -> HttpResponse:
    membership_for(request.user, project_id, role=Role.LEAD)
    group = get_object_or_404(AnnotatorGroup.objects.select_related("project"), pk=group_id, project=project_id)
    freed = service.delete_group(group=group, actor=request.user)
    messages.success(request, _("The group is deleted. Open to everybody again: %(n)d.") % {"n": freed})
    return redirect("annotate:queue", project_id)


def _page(
    request: SignedInRequest,
    membership: Membership,
    *,
    steer: SteerForm | None = None,
    new_group: GroupForm | None = None,
    changed: dict[int, GroupForm] | None = None,
) -> HttpResponse:
    project = membership.project
    context: dict[str, Any] = {
        "membership": membership,
        "project": project,
        "form": steer or SteerForm(project=project),
        "new_group": new_group or GroupForm(project=project),
        "groups": [
            (group, (changed or {}).get(group.pk) or GroupForm(project=project, group=group))
            for group in groups_of(project)
        ],
        "waiting": waiting_in(project),
        "page": Paginator(assignments_of(project), PER_PAGE).get_page(request.GET.get("page")),
    }
    failed = steer or new_group or changed
    return render(request, "annotate/queue.html", context, status=422 if failed else 200)
