"""What allauth's pages for second factors lack: the QR code as a picture of its own, for a policy without data URIs."""

from allauth.mfa.adapter import get_adapter
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

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
