"""Sign-in rules for django-allauth: accounts come from invites and from the command line, never from a sign-up form."""

from typing import ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _


class ClosedSignup(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types.
    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": _("User name or password is wrong."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
