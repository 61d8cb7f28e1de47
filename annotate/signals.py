"""Sign-ins and second factors, written to the audit log as Django and allauth report them (docs/people.md).

No addresses of machines: the proxy's log has them, and knows which of them to believe.
"""

from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.account.signals import password_changed
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
)
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.signals import social_account_added, social_account_removed
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from annotate.models import User
from annotate.services.audit import record_deed


@receiver(user_logged_in)
def _signed_in(request: HttpRequest, user: User, **more: Any) -> None:
    ways = [record["method"] for record in get_authentication_records(request, user)]
    record_deed(project=None, actor=user, verb="account.signed_in", subject=user.username, by=", ".join(ways) or "link")


@receiver(user_login_failed)
def _sign_in_failed(credentials: dict[str, Any], **more: Any) -> None:
    """Only for names that have an account: people type passwords into the wrong field, and strangers fill logs."""
    username = str(credentials.get("username", ""))
    if User.objects.filter(username=username).exists():
        record_deed(project=None, actor=None, verb="account.sign_in_failed", subject=username, by="password")


@receiver(authentication_failed)
def _code_failed(user: User, authenticator: Authenticator, **more: Any) -> None:
    record_deed(
        project=None, actor=None, verb="account.sign_in_failed", subject=user.username, by=str(authenticator.type)
    )


@receiver(password_changed)
def _password_changed(user: User, **more: Any) -> None:
    record_deed(project=None, actor=user, verb="account.password_changed", subject=user.username)


@receiver(authenticator_added)
def _factor_added(user: User, authenticator: Authenticator, **more: Any) -> None:
    _factor(user, authenticator, "account.mfa_added")


@receiver(authenticator_removed)
def _factor_removed(user: User, authenticator: Authenticator, **more: Any) -> None:
    _factor(user, authenticator, "account.mfa_removed")


@receiver(authenticator_reset)
def _factor_reset(user: User, authenticator: Authenticator, **more: Any) -> None:
    _factor(user, authenticator, "account.mfa_renewed")


def _factor(user: User, authenticator: Authenticator, verb: str) -> None:
    record_deed(project=None, actor=user, verb=verb, subject=user.username, kind=str(authenticator.type))


@receiver(social_account_added)
def _connected(sociallogin: SocialLogin, **more: Any) -> None:
    _connection(sociallogin.account, "account.connected")


@receiver(social_account_removed)
def _disconnected(socialaccount: SocialAccount, **more: Any) -> None:
    _connection(socialaccount, "account.disconnected")


def _connection(account: SocialAccount, verb: str) -> None:
    record_deed(project=None, actor=account.user, verb=verb, subject=account.user.username, provider=account.provider)
