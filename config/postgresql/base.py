"""Django's PostgreSQL, but for how a connection that was kept is looked at before a request uses it."""

import select

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """Is the server still there? Django asks it for ``SELECT 1`` once a request, of four statements one.

        Here the socket is looked at. A server that goes says so and hangs up, and one that stays says nothing unasked.
        """
        if self.connection is None:
            return False
        # Of a connection that is known to be broken this is UNKNOWN.
        if self.connection.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)
