"""allauth's forms for passkeys, for which an answer that is no answer is a wrong one and not an error of the site."""

from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn import forms


class _Checked:
    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()  # type: ignore[misc]  # allauth's, which ships no types.
        except (AttributeError, KeyError, TypeError, ValueError):
            # Not what a browser sends: parts are missing, or are of another kind.
            raise get_adapter().validation_error("incorrect_code") from None


class LoginForm(_Checked, forms.LoginWebAuthnForm):  # type: ignore[misc]  # As above.
    pass


class ReauthenticateForm(_Checked, forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    pass


class AuthenticateForm(_Checked, forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    pass
