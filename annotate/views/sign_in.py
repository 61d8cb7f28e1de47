"""To the sign-in provider and back. allauth does the protocol; where it would redirect a form, a page leads on.

A browser holds a form to ``form-action`` through all redirects. A page that leads on keeps that policy at 'self',
whatever the provider's pages are.
"""

import logging

from allauth.socialaccount.providers.openid_connect import views as openid_connect
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from requests import RequestException

logger = logging.getLogger(__name__)


@require_POST
@never_cache
def provider_sign_in(request: HttpRequest) -> HttpResponse:
    """Leads to the provider; ``next`` is where to go after, ``process=connect`` connects it to who is signed in."""
    try:
        answer: HttpResponse = openid_connect.login(request, "oidc")
    except (RequestException, KeyError, ValueError) as error:
        logger.warning("the sign-in provider cannot be asked where people sign in: %s", error)
        return render(request, "account/provider_failed.html", status=502)
    if answer.status_code != 302:
        return answer
    return render(request, "account/continue.html", {"url": answer["Location"]})


@require_safe
@never_cache
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Where the provider sends people back to: its settings want this address."""
    try:
        answer: HttpResponse = openid_connect.callback(request, provider_id)
    except (RequestException, KeyError, ValueError) as error:
        logger.warning("the sign-in provider answered what nobody understands: %r", error)
        return render(request, "account/provider_failed.html", status=502)
    return answer
