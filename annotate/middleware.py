"""What holds before any view: numbers in addresses fit a database, and who needs a second factor has one."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from annotate.models import User
from annotate.queries.accounts import has_factor, needs_factor

# What it takes to set one up, or to leave instead.
OPEN = frozenset(
    {
        "account_login",
        "account_logout",
        "account_reauthenticate",
        "account_change_password",
        "account",
        "mfa_index",
        "mfa_activate_totp",
        "mfa_qr",
        "mfa_authenticate",
        "mfa_reauthenticate",
        "mfa_add_webauthn",
        "mfa_reauthenticate_webauthn",
        "mfa_login_webauthn",
    }
)


class NumbersFit:
    """An address with a number that no database holds leads nowhere (404); SQLite would fail on it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., object], args: tuple[Any], kwargs: dict[str, Any]
    ) -> None:
        if any(isinstance(value, int) and value.bit_length() > 63 for value in kwargs.values()):
            raise Http404("There is no such number here.")


class SecondFactorRequired:
    """Leads people whose role needs a second factor to setting one up (``PAIRLOOP_REQUIRE_MFA``)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., object], args: tuple[Any], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if not settings.REQUIRE_MFA or (match is not None and match.url_name in OPEN):
            return None
        if not isinstance(request.user, User) or has_factor(request.user) or not needs_factor(request.user):
            return None
        if request.headers.get("HX-Request") == "true":
            # htmx would swap the form into the page: the browser itself shall go there.
            return HttpResponse(status=403, headers={"HX-Redirect": reverse("mfa_activate_totp")})
        messages.warning(request, _("Your role needs a second factor here. Set it up to go on."))
        return redirect("mfa_activate_totp")
