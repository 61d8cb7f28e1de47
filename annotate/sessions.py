"""Django's sessions in the database, each with the account that it is for, so that one statement reads both."""

from typing import Any, cast

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db

from annotate.models import Session


class SessionStore(db.SessionStore):
    """Reads, writes, expires and ends sessions as Django does, in a table of our own."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """The row to save, with the account whose sign-in ``data`` tells of."""
        session = cast(Session, super().create_model_instance(data))
        user = str(data.get(SESSION_KEY, ""))
        session.user_id = int(user) if user.isdecimal() else None
        return session

    @property
    def is_read(self) -> bool:
        """Was it read from the database already?"""
        return hasattr(self, "_session_cache")

    def read_from(self, kept: str) -> dict[str, Any]:
        """Takes what another statement has read of this session's row, and returns what it holds."""
        self.accessed = True
        self._session_cache: dict[str, Any] = self.decode(kept)
        return self._session_cache
