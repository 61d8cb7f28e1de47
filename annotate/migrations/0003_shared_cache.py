"""The table of the cache that all processes share: rate limits of sign-ins, and codes that were used."""

from django.core.management import call_command
from django.db import migrations


def make(apps, schema_editor):
    call_command("createcachetable", "annotate_cache", database=schema_editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0002_audit_append_only"),
    ]

    operations = [
        migrations.RunPython(
            make, lambda apps, schema_editor: schema_editor.execute("DROP TABLE IF EXISTS annotate_cache")
        ),
    ]
