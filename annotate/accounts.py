"""Rules for django-allauth: accounts come from invites and the command line, never from a sign-up form."""

from typing import ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from annotate.queries.accounts import needs_factor


class ClosedSignup(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types.
    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": _("User name or password is wrong."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class SecondFactor(DefaultMFAAdapter):  # type: ignore[misc]  # As above.
    error_messages: ClassVar = {
        **DefaultMFAAdapter.error_messages,
        "cannot_delete_authenticator": _("Your role needs a second factor here: it stays on."),
        "incorrect_code": _("That code is wrong, or was used already."),
    }

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        return not (settings.REQUIRE_MFA and needs_factor(authenticator.user))
