"""Who is signed in."""

from typing import TYPE_CHECKING

from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models

from annotate.models.people import User

if TYPE_CHECKING:
    from annotate.sessions import SessionStore


class Session(AbstractBaseSession):
    """One browser that is signed in, or on its way there. Its ``user`` is a copy of what ``session_data`` says."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="sessions")

    @classmethod
    def get_session_store_class(cls) -> type["SessionStore"]:
        from annotate.sessions import SessionStore  # noqa: PLC0415  (it imports this class)

        return SessionStore

    def __str__(self) -> str:
        return f"session of {self.user}"
