"""The second factor: setting it up, signing in with it, recovery codes, and roles for which the site asks it."""

import re

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from annotate.models import AuditEntry, Project, User
from annotate.sealing import unseal
from tests.authenticator import code
from tests.cast import PASSWORD
from tests.web.test_security import inline


def sign_in(client: Client, user: User) -> str:
    """Where the password alone leads."""
    return client.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})["Location"]


def set_up(client: Client, user: User) -> tuple[str, list[str]]:
    """Sets it up as a person does, signed in anew; the key and the recovery codes."""
    client.force_login(user)
    page = reverse("mfa_activate_totp")
    confirm = client.get(page)["Location"]
    assert confirm.startswith(reverse("account_reauthenticate"))
    assert inline(client.get(confirm).content.decode()) == []
    assert client.post(confirm, {"password": "nonsense"}).status_code == 200
    assert client.post(confirm, {"password": PASSWORD})["Location"] == page
    body = client.get(page).content.decode()
    assert inline(body) == []
    secret = re.search(r'<code class="secret">([A-Z2-7]+)</code>', body)
    assert secret
    picture = client.get(reverse("mfa_qr"))
    assert picture["Content-Type"] == "image/svg+xml"
    assert "no-store" in picture["Cache-Control"]
    assert b"<path" in picture.content
    assert b"style" not in picture.content
    wrong = client.post(page, {"code": "000000"})
    assert "wrong" in wrong.content.decode()
    assert client.post(page, {"code": code(secret[1])})["Location"] == reverse("mfa_view_recovery_codes")
    shown = client.get(reverse("mfa_view_recovery_codes"))
    assert "no-store" in shown["Cache-Control"]
    assert inline(shown.content.decode()) == []
    codes = re.findall(r"<li>(\d{8})</li>", shown.content.decode())
    assert len(set(codes)) == 10
    assert client.get(reverse("mfa_download_recovery_codes")).content.decode().split() == codes
    return secret[1], codes


def test_the_password_alone_opens_nothing_any_more(
    client: Client, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        secret, _ = set_up(client, bob)
    client.logout()
    asked = sign_in(client, bob)
    assert asked == reverse("mfa_authenticate")
    assert client.get(reverse("annotate:home")).status_code == 302
    assert inline(client.get(asked).content.decode()) == []
    assert "wrong" in client.post(asked, {"code": "000000"}).content.decode()
    assert client.get(reverse("annotate:home")).status_code == 302
    assert client.post(asked, {"code": code(secret)})["Location"] == "/"
    assert client.get(reverse("annotate:home")).status_code == 200
    noted = AuditEntry.objects.filter(subject="bob").order_by("id").values_list("verb", "detail")
    assert [verb for verb, _ in noted][1:] == [
        "account.sign_in_failed",  # The wrong password, where it was asked for again.
        "account.mfa_added",
        "account.mfa_added",
        "account.sign_in_failed",
        "account.signed_in",
    ]
    assert [detail for _, detail in noted][-2:] == [{"by": "totp"}, {"by": "password, mfa"}]
    assert secret not in str(list(noted))


def test_a_code_and_a_recovery_code_work_once_each(client: Client, bob: User) -> None:
    secret, codes = set_up(client, bob)
    for given in (code(secret, ahead=1), codes[0]):
        client.logout()
        asked = sign_in(client, bob)
        assert client.post(asked, {"code": given}).status_code == 302
        client.logout()
        asked = sign_in(client, bob)
        assert client.post(asked, {"code": given}).status_code == 200
        assert client.get(reverse("annotate:home")).status_code == 302


def test_guessing_codes_is_slowed_down(client: Client, bob: User) -> None:
    secret, _ = set_up(client, bob)
    client.logout()
    asked = sign_in(client, bob)
    for _ in range(8):
        client.post(asked, {"code": "000000"})
    assert "Too many" in client.post(asked, {"code": code(secret, ahead=1)}).content.decode()
    assert client.get(reverse("annotate:home")).status_code == 302


def test_it_is_switched_off_and_its_codes_renewed_by_who_confirms_it(
    client: Client, bob: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    _, codes = set_up(client, bob)
    new = reverse("mfa_generate_recovery_codes")
    assert inline(client.get(new).content.decode()) == []
    with django_capture_on_commit_callbacks(execute=True):
        assert client.post(new).status_code == 302
    assert codes[0] not in client.get(reverse("mfa_view_recovery_codes")).content.decode()
    off = reverse("mfa_deactivate_totp")
    # A session that has not confirmed is asked first; by a code or by the password.
    other = Client()
    other.force_login(bob)
    confirm = other.get(off)["Location"]
    assert confirm.startswith((reverse("account_reauthenticate"), reverse("mfa_reauthenticate")))
    with_code = reverse("mfa_reauthenticate")
    assert inline(other.get(with_code).content.decode()) == []
    assert "wrong" in other.post(with_code, {"code": "000000"}).content.decode()
    assert inline(client.get(off).content.decode()) == []
    assert client.post(off)["Location"] == reverse("mfa_index")
    client.logout()
    assert sign_in(client, bob) == "/"
    verbs = AuditEntry.objects.filter(subject="bob").values_list("verb", flat=True)
    assert {"account.mfa_renewed", "account.mfa_removed"} <= set(verbs)


def test_roles_that_need_it_are_led_to_it_and_cannot_switch_it_off(
    client: Client, project: Project, alice: User, lea: User, bob: User, settings: Settings
) -> None:
    settings.REQUIRE_MFA = True
    home = reverse("annotate:home")
    for person in (alice, lea, User.objects.create_superuser("root")):
        client.force_login(person)
        for page in (home, reverse("annotate:project", args=[project.pk]), "/admin/"):
            assert client.get(page)["Location"] == reverse("mfa_activate_totp")
        assert client.post(reverse("annotate:settings", args=[project.pk]))["Location"] == reverse("mfa_activate_totp")
        assert client.get(reverse("annotate:account")).status_code == 200
    client.force_login(bob)
    assert client.get(home).status_code == 200
    set_up(client, lea)
    assert client.get(home).status_code == 200
    refused = client.post(reverse("mfa_deactivate_totp"))
    assert "it stays on" in refused.content.decode()
    client.logout()
    assert sign_in(client, lea) == reverse("mfa_authenticate")


def test_a_fragment_is_not_swapped_for_the_form(
    client: Client, project: Project, lea: User, settings: Settings
) -> None:
    settings.REQUIRE_MFA = True
    client.force_login(lea)
    answer = client.post(reverse("annotate:judge", args=[project.pk]), headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Redirect"]) == (403, reverse("mfa_activate_totp"))


def test_without_the_setting_nobody_is_led_anywhere(client: Client, project: Project, alice: User) -> None:
    client.force_login(alice)
    assert client.get(reverse("annotate:project", args=[project.pk])).status_code == 200


def test_the_picture_of_a_key_is_only_for_who_sets_it_up(client: Client, bob: User) -> None:
    assert client.get(reverse("mfa_qr")).status_code == 302
    client.force_login(bob)
    assert client.get(reverse("mfa_qr")).status_code == 404


def test_keys_lie_encrypted_and_outlive_a_changed_secret_key(
    client: Client, bob: User, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, codes = set_up(client, bob)

    def stored() -> str:
        return str(list(Authenticator.objects.order_by("pk").values_list("data", flat=True)))

    def opens(given: str) -> bool:
        client.logout()
        return client.post(sign_in(client, bob), {"code": given}).status_code == 302

    assert secret not in stored()
    assert not set(codes) & set(re.findall(r"\d{8}", stored()))
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another key, and this one too is long enough to be a key, is it not?"
    assert not opens(codes[1])  # Sealed under a key that nobody has named: every code is wrong, and no error.
    with pytest.raises(CommandError, match="2 could not be opened"):
        call_command("reseal_second_factors")
    settings.SECRET_KEY_FALLBACKS = [old]
    assert opens(codes[1])
    call_command("reseal_second_factors")
    settings.SECRET_KEY_FALLBACKS = []
    assert opens(codes[2])
    assert opens(code(secret, ahead=1))


def test_a_key_from_before_encryption_still_counts_and_is_sealed(client: Client, bob: User) -> None:
    plain = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    factor = Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={"secret": plain})
    assert client.post(sign_in(client, bob), {"code": code(plain)}).status_code == 302
    call_command("reseal_second_factors")
    factor.refresh_from_db()
    assert plain not in str(factor.data)
    assert unseal(factor.data["secret"]) == plain


def test_a_last_passkey_stays_where_the_role_needs_a_factor(
    client: Client, project: Project, lea: User, bob: User, settings: Settings
) -> None:
    settings.REQUIRE_MFA = True
    first, second = (
        Authenticator.objects.create(user=lea, type=Authenticator.Type.WEBAUTHN, data={"name": name, "credential": {}})
        for name in ("Phone", "Key")
    )
    client.force_login(bob)
    assert client.get(reverse("mfa_remove_webauthn", args=[first.pk])).status_code == 404
    client.force_login(lea)
    assert client.get(reverse("annotate:home")).status_code == 200
    remove = reverse("mfa_remove_webauthn", args=[first.pk])
    client.post(client.get(remove)["Location"], {"password": PASSWORD})
    assert "“Phone”" in client.get(remove).content.decode()
    client.post(remove)
    refused = client.post(reverse("mfa_remove_webauthn", args=[second.pk]), follow=True)
    assert "it stays on" in refused.content.decode()
    assert list(Authenticator.objects.filter(user=lea)) == [second]


def test_a_passkey_that_proves_nothing_signs_nobody_in(client: Client, bob: User) -> None:
    asked = client.get(reverse("mfa_login_webauthn"), headers={"X-Requested-With": "XMLHttpRequest"}).json()
    assert asked["request_options"]["publicKey"]["userVerification"] == "required"
    for credential in ("", "{}", '{"id": "x"}', "[1]", '"x"'):
        client.post(reverse("mfa_login_webauthn"), {"credential": credential})
        assert client.get(reverse("annotate:home")).status_code == 302
