"""A PostgreSQL session after its login, followed from outside: may the two sides be parted now, and what happened?

The walk over the bytes is in `wire/scan.py`, compiled where it can be; its rules stand at the head of that file.
Here is what is asked seldom, and may be slow.
"""

from __future__ import annotations

from ambassador.wire.postgres import messages
from ambassador.wire.scan import PostgresWalk


class Tracker(PostgresWalk):
    """Fed with every chunk of both directions, in the order in which they are passed on.

    `from_client(chunk)` and `from_server(chunk)` are called once per chunk, whatever it holds, and cost next to
    nothing; they raise ClientError or UpstreamError when a message has an impossible length.

    Attributes (besides those of the walk: `clean idle waiting aligned server_aligned transactions errors terminated`):
        last_code: SQLSTATE of the last error, empty before the first.
        last_fatal: the last error ended the session (FATAL, PANIC), so that the end of the stream is no surprise.
    """

    __slots__ = ("last_code", "last_fatal")

    def __init__(self) -> None:
        super().__init__()
        self.last_code = ""
        self.last_fatal = False

    @property
    def status(self) -> bytes:
        """What the server said last: `I` idle, `T` in a transaction, `E` in a failed one."""
        return bytes((self.status_byte,))

    @property
    def in_transaction(self) -> bool:
        """The server said last that a transaction is open. A BEGIN that it has not answered does not count."""
        return self.status != b"I"

    def on_error(self, beginning: bytes) -> None:
        """Note the code, and whether this was the last word."""
        error = messages.parse_error(beginning)
        self.last_code = error.code
        self.last_fatal = error.fatal
