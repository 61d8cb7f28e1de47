"""Connections to PostgreSQL are kept between requests, and looked at before the next one uses them."""

from typing import Any

from django.db.utils import ConnectionHandler
from environ import Env
from pytest_django.plugin import DjangoDbBlocker

from tests.jobs.postgres import PostgresServer


def test_a_connection_is_kept_until_the_server_hangs_up(
    postgres: PostgresServer, django_db_blocker: DjangoDbBlocker
) -> None:
    settings = {**Env.db_url_config(postgres.new_database()), "ENGINE": "config.postgresql"}
    settings |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    handler = ConnectionHandler({"default": settings, "other": settings})
    kept, other = handler["default"], handler["other"]

    def ask(connection: Any, sql: str) -> Any:
        # As before each request.
        connection.close_if_unusable_or_obsolete()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    with django_db_blocker.unblock():
        try:
            first = ask(kept, "SELECT pg_backend_pid()")
            assert ask(kept, "SELECT pg_backend_pid()") == first
            assert ask(other, f"SELECT pg_terminate_backend({first}, 60000)") is True
            assert ask(kept, "SELECT pg_backend_pid()") != first
        finally:
            handler.close_all()
