"""What allauth's pages for second factors lack: a QR code that is a picture of its own, for a policy without data URIs,
and a last passkey that stays where the site needs one."""

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY
from allauth.mfa.webauthn.views import remove_webauthn
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from annotate.access import SignedInRequest


@require_safe
@login_required
@never_cache
def qr(request: SignedInRequest) -> HttpResponse:
    """The key that the page before this picture made, for this session only."""
    secret = request.session.get(SECRET_SESSION_KEY)
    if not secret:
        raise Http404("There is no key to show: open the page that sets up a second factor.")
    adapter = get_adapter()
    svg = adapter.build_totp_svg(adapter.build_totp_url(request.user, secret))
    return HttpResponse(svg, content_type="image/svg+xml")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def remove_passkey(request: SignedInRequest, pk: int) -> HttpResponse:
    """allauth's page, but for the last factor of somebody whose role needs one."""
    passkey = get_object_or_404(Authenticator, pk=pk, user=request.user, type=Authenticator.Type.WEBAUTHN)
    adapter = get_adapter()
    if not adapter.can_delete_authenticator(passkey):
        messages.error(request, str(adapter.error_messages["cannot_delete_authenticator"]))
        return redirect("annotate:account")
    answer: HttpResponse = remove_webauthn(request, pk=pk)
    return answer
