"""Triggers that keep the audit log as it was written.

SQLite drops a table's triggers when a later migration rebuilds the table: such a migration must end with ``guard``
again (tests/web/test_audit.py and ``manage.py verify`` find a log that lost them).
"""

from django.db import migrations

SQLITE = [
    f"""CREATE TRIGGER audit_append_only_{deed.lower()} BEFORE {deed} ON annotate_auditentry
    BEGIN SELECT RAISE(ABORT, 'The audit log is append-only.'); END"""
    for deed in ("UPDATE", "DELETE")
]
POSTGRES = [
    """CREATE FUNCTION annotate_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'The audit log is append-only.'; END $$""",
    """CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON annotate_auditentry
    FOR EACH ROW EXECUTE FUNCTION annotate_audit_append_only()""",
    """CREATE TRIGGER audit_append_only_truncate BEFORE TRUNCATE ON annotate_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION annotate_audit_append_only()""",
]
SQLITE_BACK = [f"DROP TRIGGER IF EXISTS audit_append_only_{deed}" for deed in ("update", "delete")]
POSTGRES_BACK = [
    "DROP TRIGGER IF EXISTS audit_append_only ON annotate_auditentry",
    "DROP TRIGGER IF EXISTS audit_append_only_truncate ON annotate_auditentry",
    "DROP FUNCTION IF EXISTS annotate_audit_append_only()",
]


def guard(apps, schema_editor):
    for statement in SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRES:
        schema_editor.execute(statement)


def unguard(apps, schema_editor):
    for statement in SQLITE_BACK if schema_editor.connection.vendor == "sqlite" else POSTGRES_BACK:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0001_initial"),
    ]

    operations = [
        migrations.RunPython(guard, unguard),
    ]
