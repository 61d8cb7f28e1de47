"""One's own account: name, password, second factor, sign-ins, sessions."""

from allauth.account.views import password_change as allauth_password_change
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotate.access import SignedInRequest
from annotate.forms.accounts import NameForm
from annotate.models import User
from annotate.queries.accounts import factors_of, has_factor
from annotate.services import accounts as service


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def account(request: SignedInRequest) -> HttpResponse:
    # The form writes into the row that it is bound to; the page shows the person as they are in the database.
    form = NameForm(request.POST or None, instance=User.objects.get(pk=request.user.pk))
    if request.method == "POST" and form.is_valid():
        service.rename(user=request.user, **form.cleaned_data)
        messages.success(request, _("Saved."))
        return redirect("annotate:account")
    factors = factors_of(request.user)
    context = {
        "form": form,
        "has_factor": has_factor(request.user),
        "app": any(factor.type == "totp" for factor in factors),
        "passkeys": [factor for factor in factors if factor.type == "webauthn"],
    }
    return render(request, "annotate/account.html", context, status=422 if form.errors else 200)


@login_required
def password_change(request: SignedInRequest) -> HttpResponse:
    """allauth's page; whoever the sign-in provider lets in has no password, and gets none behind its back."""
    if not request.user.has_usable_password():
        messages.info(request, _("You have no password here: the sign-in provider lets you in."))
        return redirect("annotate:account")
    answer: HttpResponse = allauth_password_change(request)
    return answer


@require_POST
@login_required
def sign_out_everywhere(request: SignedInRequest) -> HttpResponse:
    """Ends every session but this one."""
    service.end_sessions(user=request.user, by=request.user)
    update_session_auth_hash(request, request.user)
    messages.success(request, _("You are signed out on every other device."))
    return redirect("annotate:account")
