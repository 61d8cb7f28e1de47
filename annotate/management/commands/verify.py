"""``manage.py verify``: is everything in the tables as it must be? Run it after a crash, a restore, an upgrade."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils.module_loading import import_string


class Command(BaseCommand):
    help = (
        "Check the invariants of all tables, and the SQLite file itself. Changes nothing; fails when something is off."
    )

    def handle(self, **options: object) -> None:
        found = self._database()
        for path in settings.INVARIANTS:
            found += list(import_string(path)())
        for sentence in found:
            self.stderr.write(sentence)
        if found:
            raise CommandError(
                f"{len(found)} things are not as they must be. Keep a copy of the database and report them."
            )
        self.stdout.write("All is as it must be.")

    def _database(self) -> list[str]:
        if connection.vendor != "sqlite":
            return []
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA integrity_check")
            answers = [row[0] for row in cursor.fetchall()]
            cursor.execute("PRAGMA foreign_key_check")
            loose = [
                f"{table} row {row} points to a row of {parent} that is not there" for table, row, parent, _ in cursor
            ]
        return [f"SQLite: {answer}" for answer in answers if answer != "ok"] + loose
