"""Rules for django-allauth: accounts come from invites and the command line, never from a sign-up form.

A sign-in provider (OpenID Connect) lets in whom it is connected to, whom it knows by a verified address that an owner
of the site wrote down, whoever holds an invite, and addresses of the domains in ``OIDC_DOMAINS``. Nobody else.
"""

import logging
from typing import Any, ClassVar
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base import AuthError
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.models import Invite, User
from annotate.queries.accounts import factors_of, needs_factor
from annotate.sealing import seal, unseal
from annotate.services.audit import record_deed
from annotate.services.people import InviteGoneError, accept_invite, open_invite

logger = logging.getLogger(__name__)


class ClosedSignup(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types.
    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": _("User name or password is wrong."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def reauthenticate(self, user: User, password: str) -> bool:
        """Is it the user's password? Who confirms it stays signed in, also when it is stored anew on the way.

        Django hashes a password again as soon as it sees one that was hashed by an older rule, and ends the sessions
        that knew the old hash.
        """
        if not super().reauthenticate(user, password):
            return False
        hashed = user.password
        user.refresh_from_db(fields=["password"])
        if user.password != hashed:
            update_session_auth_hash(self.request, user)
        return True


class SecondFactor(DefaultMFAAdapter):  # type: ignore[misc]  # As above.
    error_messages: ClassVar = {
        **DefaultMFAAdapter.error_messages,
        "cannot_delete_authenticator": _("Your role needs a second factor here: it stays on."),
        "incorrect_code": _("That code is wrong, or was used already."),
    }

    def encrypt(self, text: str) -> str:
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(encrypted_text)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Where the person's role needs a second factor, the last one stays."""
        last = all(factor.pk == authenticator.pk for factor in factors_of(authenticator.user))
        return not (settings.REQUIRE_MFA and last and needs_factor(authenticator.user))

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002  (allauth's word)
        return gettext("Passkey %(number)s") % {"number": len(factors_of(user)) + 1}


class ProviderSignIn(DefaultSocialAccountAdapter):  # type: ignore[misc]  # As above.
    error_messages: ClassVar = {
        **DefaultSocialAccountAdapter.error_messages,
        "no_password": _("You have no password here: without this sign-in you could not come back."),
    }

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """Names as the provider says; of addresses only what it says to have verified, in whichever spelling."""
        sociallogin.email_addresses = [
            address for address in sociallogin.email_addresses if str(address.verified).lower() == "true"
        ]
        for address in sociallogin.email_addresses:
            address.verified = True
        user: User = super().populate_user(request, sociallogin, data)
        user.email = _address(sociallogin)
        return user

    def authenticate_by_email(self, sociallogin: SocialLogin) -> tuple[User, str] | None:
        """The open account for which an owner of the site wrote down the address that the provider has verified."""
        known = EmailAddress.objects.select_related("user").filter(verified=True, user__is_active=True)
        found = list(known.filter(email__iexact=_address(sociallogin))[:2]) if _address(sociallogin) else []
        return (found[0].user, found[0].email) if len(found) == 1 else None

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Refuses an answer whose two halves are about different people (OpenID Connect Core 1.0, 5.3.2)."""
        said = sociallogin.account.extra_data
        subjects = {part["sub"] for part in (said.get("userinfo"), said.get("id_token")) if part and "sub" in part}
        if len(subjects) > 1:
            logger.warning("the sign-in provider's userinfo is not about the subject of its ID token")
            raise ImmediateHttpResponse(render(request, "account/provider_failed.html", status=502))

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        address = _address(sociallogin)
        taken = Q(email__iexact=address) | Q(emailaddress__email__iexact=address)
        welcome = _invite(sociallogin) is not None or address.rpartition("@")[2] in settings.OIDC_DOMAINS
        if not welcome or (address and User.objects.filter(taken).exists()):
            raise ImmediateHttpResponse(render(request, "account/not_known.html", status=403))
        return True

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: None = None) -> User:
        """A new account without a password, and its place in the project of the invite: both or neither."""
        invite = _invite(sociallogin)
        try:
            with transaction.atomic():
                user: User = super().save_user(request, sociallogin, form)
                record_deed(project=None, actor=user, verb="account.created", subject=user.username, by="provider")
                if invite is not None:
                    joined = accept_invite(invite=invite, user=user)
                    sociallogin.state["next"] = reverse("annotate:project", args=[joined.project_id])
        except InviteGoneError:
            raise ImmediateHttpResponse(render(request, "annotate/invite_gone.html", status=404)) from None
        return user

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: SocialAccount) -> str:
        return reverse("socialaccount_connections")

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: object,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        if error == AuthError.CANCELLED:
            messages.info(request, gettext("You were not signed in: it was cancelled at the provider."))
            raise ImmediateHttpResponse(redirect("account_login"))
        logger.warning("signing in by the provider failed: %s %s", error, exception)
        raise ImmediateHttpResponse(render(request, "account/provider_failed.html", status=502))


def _address(sociallogin: SocialLogin) -> str:
    """The address that the provider has verified; empty without one."""
    return sociallogin.email_addresses[0].email.lower() if sociallogin.email_addresses else ""


def _invite(sociallogin: SocialLogin) -> Invite | None:
    """The invite whose page led to the provider, if it can still be used."""
    try:
        match = resolve(urlsplit(sociallogin.state.get("next") or "").path)
        return open_invite(match.kwargs["token"]) if match.view_name == "annotate:invite" else None
    except (Resolver404, InviteGoneError):
        return None
