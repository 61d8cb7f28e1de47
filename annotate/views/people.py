from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.access import SignedInRequest, membership_for
from annotate.forms.people import InviteForm, JoinForm, PauseForm, QuotaForm, RoleForm
from annotate.models import Membership, Role, User
from annotate.queries.people import members_of, open_invites
from annotate.queries.quiz import quiz_of, quiz_questions_in
from annotate.services import people as service

BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_safe
@login_required
def people(request: SignedInRequest, project_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    form = InviteForm(roles=service.roles_given_by(membership))
    return render(request, "annotate/people.html", _people_context(membership, form))


@require_POST
@login_required
@never_cache
def new_invite(request: SignedInRequest, project_id: int) -> HttpResponse:
    """Makes an invite and shows its link in this answer only: nothing that could show it again is kept."""
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    form = InviteForm(request.POST, roles=service.roles_given_by(membership))
    if not form.is_valid():
        return render(request, "annotate/people.html", _people_context(membership, form), status=422)
    invite, token = service.create_invite(by=membership, **form.cleaned_data)
    link = request.build_absolute_uri(reverse("annotate:invite", args=[token]))
    blank = InviteForm(roles=service.roles_given_by(membership))
    context = _people_context(membership, blank) | {"new_invite": invite, "link": link}
    return render(request, "annotate/people.html", context)


@require_POST
@login_required
def revoke_invite(request: SignedInRequest, project_id: int, invite_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    invite = get_object_or_404(membership.project.invites, pk=invite_id)
    try:
        if service.revoke_invite(by=membership, invite=invite):
            messages.success(request, _("The invite is revoked: its link opens nothing any more."))
        else:
            messages.info(request, _("The invite could not be used any more already."))
    except service.NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:people", project_id)


@require_safe
@login_required
def member(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    return render(request, "annotate/member.html", _member_context(membership, _member(membership, member_id)))


@require_POST
@login_required
def change_role(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    person = _member(membership, member_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        return render(request, "annotate/member.html", _member_context(membership, person, role=form), status=422)
    try:
        service.change_role(by=membership, member=person, role=form.cleaned_data["role"])
        messages.success(request, _("%(person)s is now: %(role)s.") % _names(person))
    except service.NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:people", project_id)


@require_POST
@login_required
def pause(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    person = _member(membership, member_id)
    form = PauseForm(request.POST)
    if not form.is_valid():
        return render(request, "annotate/member.html", _member_context(membership, person, pause=form), status=422)
    try:
        service.pause_member(by=membership, member=person, reason=form.cleaned_data["reason"])
        messages.success(request, _("%(person)s is paused and gets no more work here.") % _names(person))
    except service.NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:people", project_id)


@require_POST
@login_required
def resume(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    person = _member(membership, member_id)
    try:
        service.resume_member(by=membership, member=person)
        messages.success(request, _("%(person)s can judge again.") % _names(person))
    except service.NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:people", project_id)


@require_POST
@login_required
def change_quota(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    person = _member(membership, member_id)
    # The form writes into the row that it is bound to; the page shows another one, as it is in the database.
    form = QuotaForm(request.POST, instance=_member(membership, member_id))
    if not form.is_valid():
        return render(request, "annotate/member.html", _member_context(membership, person, quota=form), status=422)
    try:
        service.change_quota(by=membership, member=person, daily_quota=form.cleaned_data["daily_quota"])
        messages.success(request, _("Saved."))
    except service.NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:member", project_id, member_id)


@require_POST
@login_required
def remove(request: SignedInRequest, project_id: int, member_id: int) -> HttpResponse:
    membership = membership_for(request.user, project_id, role=Role.LEAD)
    person = _member(membership, member_id)
    try:
        service.remove_member(by=membership, member=person)
    except service.NotAllowedError as error:
        messages.error(request, str(error))
        return redirect("annotate:people", project_id)
    messages.success(request, _("%(person)s is no longer in the project. Their judgments stay.") % _names(person))
    if person.user_id == request.user.pk:
        return redirect("annotate:home")
    return redirect("annotate:people", project_id)


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password1", "password2")
@never_cache
def invite(request: HttpRequest, token: str) -> HttpResponse:
    """Joins a project by link: as who one is signed in as, or with a new account."""
    try:
        opened = service.open_invite(token)
        if isinstance(request.user, User):
            form: Form | JoinForm = Form(request.POST or None)
            if request.method == "POST":
                joined = service.accept_invite(invite=opened, user=request.user)
                return redirect("annotate:project", joined.project_id)
        else:
            form = JoinForm(request.POST or None)
            if request.method == "POST" and form.is_valid():
                joined = service.join_with_new_account(
                    invite=opened, username=form.cleaned_data["username"], password=form.cleaned_data["password1"]
                )
                login(request, joined.user, backend=BACKEND)
                return redirect("annotate:project", joined.project_id)
    except service.InviteGoneError:
        return render(request, "annotate/invite_gone.html", status=404)
    context = {"invite": opened, "form": form, "token": token}
    return render(request, "annotate/invite.html", context, status=422 if form.errors else 200)


def _member(membership: Membership, member_id: int) -> Membership:
    return get_object_or_404(members_of(membership.project), pk=member_id)


def _names(person: Membership) -> dict[str, str]:
    return {"person": str(person.user), "role": str(Role(person.role).label)}


def _people_context(membership: Membership, form: InviteForm) -> dict[str, object]:
    members = list(members_of(membership.project))
    quiz = quiz_of(membership.project, members)
    questions = membership.project.quiz_questions
    return {
        "quiz_too_few": questions > 0 and quiz_questions_in(membership.project) < questions,
        "membership": membership,
        "project": membership.project,
        "members": [(person, service.may_change(membership, person), quiz.get(person.pk)) for person in members],
        "rankings": membership.project.asks_rankings or membership.project.rankings.exists(),
        "invites": open_invites(membership.project),
        "form": form,
    }


def _member_context(
    membership: Membership,
    person: Membership,
    *,
    role: RoleForm | None = None,
    pause: PauseForm | None = None,
    quota: QuotaForm | None = None,
) -> dict[str, object]:
    role_form = role or RoleForm(initial={"role": person.role})
    role_form.fields["role"].choices = [  # type: ignore[attr-defined]
        (given.value, given.label) for given in service.roles_given_by(membership)
    ]
    return {
        "membership": membership,
        "project": membership.project,
        "person": person,
        "quiz": quiz_of(membership.project, [person]).get(person.pk),
        "may_change": service.may_change(membership, person),
        "role_form": role_form,
        "pause_form": pause or PauseForm(),
        "quota_form": quota or QuotaForm(instance=person),
    }
