"""A long-lived process outlives its database connection: what to do when it breaks."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# What a restarted, unreachable or locked database raises.
BROKEN = (OperationalError, InterfaceError)


@contextmanager
def reconnecting() -> Iterator[None]:
    """Closes a connection that broke inside, so that the next query opens a new one. The error goes on."""
    try:
        yield
    except BROKEN:
        connection.close()
        raise


def patiently(deed: Callable[[], _T], *, seconds: float = 600.0) -> _T:
    """``deed()``, again on a fresh connection while the database is away, for up to ``seconds``.

    Celery and Django repair connections between tasks only; inside one, a restarted PostgreSQL fails every query until
    someone closes the dead connection (measured). The deed must be one transaction that is harmless to repeat: when the
    connection broke during its commit, nobody knows whether it went through.
    """
    deadline = time.monotonic() + seconds
    pause = 0.1
    while True:
        try:
            with reconnecting():
                return deed()
        except BROKEN as error:
            if time.monotonic() + pause > deadline:
                raise
            logger.warning("The database is away (%s); trying again in %.1f s.", str(error).strip(), pause)
        time.sleep(pause)
        pause = min(pause * 2, 5.0)
