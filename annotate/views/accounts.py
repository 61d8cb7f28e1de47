"""Where the site's owners look after everybody's accounts."""

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from annotate.access import SignedInRequest, site_owner
from annotate.forms.accounts import AddressForm, DeactivateForm, FindForm
from annotate.models import User
from annotate.queries.accounts import accounts_like
from annotate.services import accounts as service
from annotate.services.people import NotAllowedError


@require_safe
@login_required
def accounts(request: SignedInRequest) -> HttpResponse:
    site_owner(request.user)
    form = FindForm(request.GET)
    found = accounts_like(form.cleaned_data["name"] if form.is_valid() else "")
    page = Paginator(found, 50).get_page(request.GET.get("page"))
    return render(request, "annotate/accounts.html", {"form": form, "page": page})


@require_safe
@login_required
def account_of(request: SignedInRequest, user_id: int) -> HttpResponse:
    site_owner(request.user)
    return _page(request, _person(user_id))


@require_POST
@login_required
def deactivate(request: SignedInRequest, user_id: int) -> HttpResponse:
    owner, person = site_owner(request.user), _person(user_id)
    form = DeactivateForm(request.POST)
    if not form.is_valid():
        return _page(request, person, close=form)
    return _done(
        request,
        person,
        lambda: service.deactivate_account(user=person, by=owner, reason=form.cleaned_data["reason"]),
        _("The account is closed. Its judgments stay."),
    )


@require_POST
@login_required
def reactivate(request: SignedInRequest, user_id: int) -> HttpResponse:
    owner, person = site_owner(request.user), _person(user_id)
    return _done(
        request, person, lambda: service.reactivate_account(user=person, by=owner), _("The account is open again.")
    )


@require_POST
@login_required
def end_sessions(request: SignedInRequest, user_id: int) -> HttpResponse:
    owner, person = site_owner(request.user), _person(user_id)
    return _done(
        request, person, lambda: service.end_sessions(user=person, by=owner), _("They are signed out everywhere.")
    )


@require_POST
@login_required
def remove_factors(request: SignedInRequest, user_id: int) -> HttpResponse:
    owner, person = site_owner(request.user), _person(user_id)
    return _done(
        request,
        person,
        lambda: service.remove_factors(user=person, by=owner),
        _("The second factor is removed: the password alone signs them in."),
    )


@require_POST
@login_required
def change_address(request: SignedInRequest, user_id: int) -> HttpResponse:
    owner, person = site_owner(request.user), _person(user_id)
    form = AddressForm(request.POST)
    if not form.is_valid():
        return _page(request, person, address=form)
    return _done(
        request,
        person,
        lambda: service.change_address(user=person, address=form.cleaned_data["address"], by=owner),
        _("Saved."),
    )


def _person(user_id: int) -> User:
    return get_object_or_404(accounts_like(""), pk=user_id)


def _done(request: SignedInRequest, person: User, deed: Callable[[], object], said: str) -> HttpResponse:
    try:
        deed()
        messages.success(request, said)
    except NotAllowedError as error:
        messages.error(request, str(error))
    return redirect("annotate:account_of", person.pk)


def _page(
    request: SignedInRequest, person: User, *, close: Form | None = None, address: Form | None = None
) -> HttpResponse:
    context = {
        "person": person,
        "memberships": person.memberships.select_related("project").order_by("project__name"),
        "close_form": close or DeactivateForm(),
        "address_form": address or AddressForm(initial={"address": person.email}),
    }
    return render(request, "annotate/account_of.html", context, status=422 if close or address else 200)
