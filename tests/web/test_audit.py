"""The audit log: nothing in it can be changed or taken away, and sign-ins are in it."""

import csv
import io

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from annotate.models import AppendOnlyError, AuditEntry, Project, User
from annotate.services.audit import record_deed
from tests.cast import PASSWORD


def deeds(user: User) -> list[tuple[str, str]]:
    entries = AuditEntry.objects.filter(project=None, subject=user.username).order_by("id")
    return [(entry.verb, entry.detail.get("by", "")) for entry in entries]


def test_the_model_refuses_to_change_or_delete_an_entry(project: Project) -> None:
    entry = record_deed(project=project, actor=None, verb="test.done")
    entry.verb = "test.undone"
    for change in (
        entry.save,
        entry.delete,
        AuditEntry.objects.filter(pk=entry.pk).delete,
        project.audit_entries.all().delete,
        lambda: AuditEntry.objects.update(verb="test.undone"),
        lambda: AuditEntry.objects.bulk_update([entry], ["verb"]),
    ):
        with pytest.raises(AppendOnlyError), transaction.atomic():
            change()
    entry.refresh_from_db()
    assert entry.verb == "test.done"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE annotate_auditentry SET verb = 'x' WHERE id = %s", "DELETE FROM annotate_auditentry WHERE id = %s"],
)
def test_the_database_refuses_it_too(project: Project, statement: str) -> None:
    entry = record_deed(project=project, actor=None, verb="test.done")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, [entry.pk])
    entry.refresh_from_db()
    assert entry.verb == "test.done"


def test_verify_finds_a_log_that_lost_its_triggers(project: Project) -> None:
    with connection.cursor() as cursor:
        on_sqlite = connection.vendor == "sqlite"
        trigger = "audit_append_only_delete" if on_sqlite else "audit_append_only ON annotate_auditentry"
        cursor.execute(f"DROP TRIGGER {trigger}")
    errors = io.StringIO()
    with pytest.raises(CommandError):
        call_command("verify", stdout=io.StringIO(), stderr=errors)
    assert "lost the triggers" in errors.getvalue()


def test_sign_ins_and_those_that_failed_are_noted(client: Client, bob: User) -> None:
    url = reverse("account_login")
    client.post(url, {"login": "bob", "password": "nonsense"})
    client.post(url, {"login": "my secret password", "password": "oops"})
    client.post(url, {"login": "bob", "password": PASSWORD})
    assert deeds(bob) == [("account.sign_in_failed", "password"), ("account.signed_in", "password")]
    assert not AuditEntry.objects.filter(subject__contains="secret").exists()
    assert PASSWORD not in str(list(AuditEntry.objects.values()))


def test_a_changed_password_is_noted(client: Client, bob: User) -> None:
    client.force_login(bob)
    new = {"password1": "another long sentence", "password2": "another long sentence"}
    client.post(reverse("account_change_password"), {"oldpassword": PASSWORD, **new})
    assert ("account.password_changed", "") in deeds(bob)


def test_owners_of_the_site_read_its_log_and_nobody_elses(client: Client, project: Project, bob: User) -> None:
    client.post(reverse("account_login"), {"login": "bob", "password": "nonsense"})
    client.force_login(User.objects.create_superuser("root"))
    url = reverse("annotate:site_audit")
    page = client.get(url, {"verb": "account.sign_in_failed"}).content.decode()
    assert "account.sign_in_failed bob" in page
    assert "account.signed_in root" not in page
    assert "nobody signed in" in page
    assert "project.created" not in client.get(url).content.decode()
    answer = client.get(url, {"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))  # type: ignore[attr-defined]
    assert [(row["who"], row["what"], row["subject"]) for row in rows] == [
        ("root", "account.signed_in", "root"),
        ("", "account.sign_in_failed", "bob"),
    ]


def test_the_last_owner_of_the_site_stays_one_in_the_admin(client: Client, db: None) -> None:
    root = User.objects.create_superuser("root")
    client.force_login(root)
    page = reverse("admin:annotate_user_change", args=[root.pk])
    sent = {"username": "root", "date_joined_0": "2026-01-01", "date_joined_1": "12:00:00", "first_name": "Rosa"}
    assert client.post(page, sent).status_code == 302
    root.refresh_from_db()
    assert (root.first_name, root.is_superuser, root.is_staff, root.is_active) == ("Rosa", True, True, True)
    User.objects.create_superuser("second")
    assert client.post(page, sent | {"is_staff": "on"}).status_code == 302
    root.refresh_from_db()
    assert (root.is_superuser, root.is_active) == (False, True)


def test_what_is_done_to_accounts_in_the_admin_is_noted(client: Client, bob: User) -> None:
    root = User.objects.create_superuser("root")
    client.force_login(root)
    password = {"password1": "another long sentence", "password2": "another long sentence"}
    change = reverse("admin:auth_user_password_change", args=[bob.pk])
    assert client.post(change, password | {"usable_password": "true"}).status_code == 302
    assert client.post(reverse("admin:annotate_user_delete", args=[bob.pk]), {"post": "yes"}).status_code == 403
    noted = AuditEntry.objects.get(verb="account.changed")
    assert (noted.actor, noted.subject, noted.detail) == (root, "bob", {"fields": ["password"]})


def test_the_page_says_in_the_readers_language_what_was_done(client: Client, project: Project, alice: User) -> None:
    record_deed(project=project, actor=alice, verb="loop.paused", subject="here")
    record_deed(project=project, actor=alice, verb="forgotten.verb", subject="there")
    client.force_login(alice)
    url = reverse("annotate:audit", args=[project.pk])
    page = client.get(url, headers={"accept-language": "de"}).content.decode()
    assert "Schleife pausiert <span" in page
    assert "loop.paused here" in page
    assert "forgotten.verb there" in page  # entries outlive the code
    rows = list(csv.DictReader(io.StringIO(client.get(url, {"format": "csv"}).getvalue().decode())))  # type: ignore[attr-defined]
    assert {row["what"] for row in rows} >= {"loop.paused", "forgotten.verb"}


def test_the_filter_lists_the_deeds_of_its_log_and_takes_a_beginning(
    client: Client, project: Project, alice: User
) -> None:
    record_deed(project=project, actor=alice, verb="loop.paused", subject="here")
    client.force_login(alice)
    url = reverse("annotate:audit", args=[project.pk])
    page = client.get(url, {"verb": "loop."}).content.decode()
    assert '<option value="loop." selected>loop.</option>' in page
    assert '<option value="loop.paused">Loop paused</option>' in page
    assert 'value="account.signed_in"' not in page
    assert "loop.paused here" in page
    assert "project.created Parcel" not in page


def test_the_admin_shows_the_log_in_german(client: Client, project: Project) -> None:
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(
        reverse("admin:annotate_auditentry_changelist"), headers={"accept-language": "de"}
    ).content.decode()
    assert "Eintrag im Protokoll" in page
    assert "Projekt angelegt" in page
    assert "project.created" in page
