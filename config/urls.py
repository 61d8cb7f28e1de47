"""All addresses of the site."""

from allauth.account import views as account
from allauth.account.decorators import secure_admin_login
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from allauth.socialaccount import views as socialaccount
from django.contrib import admin
from django.urls import include, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView
from django.views.i18n import set_language

from annotate.views import account as own
from annotate.views import second_factor, sign_in

# The admin's own sign-in knows no rate limit; ours does.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

# Of allauth only what is used: no sign-up, no mail, no password reset by mail.
account_patterns = [
    path("login/", account.login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("password/change/", own.password_change, name="account_change_password"),
    path("provider/", sign_in.provider_sign_in, name="provider_sign_in"),
    path("provider/callback/", sign_in.callback, {"provider_id": "oidc"}, name="openid_connect_callback"),
    path("provider/connected/", socialaccount.connections, name="socialaccount_connections"),
    path("confirm/", account.reauthenticate, name="account_reauthenticate"),
    path("second-factor/", RedirectView.as_view(pattern_name="annotate:account"), name="mfa_index"),
    path("second-factor/code/", mfa.authenticate, name="mfa_authenticate"),
    path("second-factor/confirm/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("second-factor/set-up/", never_cache(totp.activate_totp), name="mfa_activate_totp"),
    path("second-factor/set-up/qr.svg", second_factor.qr, name="mfa_qr"),
    path("second-factor/off/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path(
        "second-factor/recovery/",
        require_safe(never_cache(recovery_codes.view_recovery_codes)),
        name="mfa_view_recovery_codes",
    ),
    path("passkeys/", RedirectView.as_view(pattern_name="annotate:account"), name="mfa_list_webauthn"),
    path("passkeys/add/", never_cache(webauthn.add_webauthn), name="mfa_add_webauthn"),
    path("passkeys/confirm/", never_cache(webauthn.reauthenticate_webauthn), name="mfa_reauthenticate_webauthn"),
    path("passkeys/sign-in/", never_cache(webauthn.login_webauthn), name="mfa_login_webauthn"),
    path("passkeys/<int:pk>/remove/", second_factor.remove_passkey, name="mfa_remove_webauthn"),
    path("second-factor/recovery/new/", recovery_codes.generate_recovery_codes, name="mfa_generate_recovery_codes"),
    path(
        "second-factor/recovery/download/",
        require_safe(recovery_codes.download_recovery_codes),
        name="mfa_download_recovery_codes",
    ),
]

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include(account_patterns)),
    path("language/", set_language, name="set_language"),
    path("", include("annotate.urls")),
    path("", include("training.urls")),
]
