# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False, embedsignature=False
"""The hot part of `wire`: what runs for every chunk of every session. Loops over bytes and integers, no objects out.

The same source is compiled with Cython, which finds the types in `scan.pxd`; so there is nothing to keep in step.
`SCAN` says which of the two serves.

Rules for this file, because it is compiled: constants are integers and declared in the `.pxd`; loops call into Python
only in rare cases; what a chunk costs, it costs per message header, never per byte.

How a direction is followed. The first `left` bytes to come belong to a message whose header has been seen. A message
that has not arrived as far as it must be seen (a header, ReadyForQuery's status, the beginning of an error) waits in
`held`, and is joined with what follows.

How the server's debt is followed. `owed` is a queue of what the client sent and the server has not answered:

    EXTENDED  one or more of Parse, Bind, Describe, Execute, Close; they still need a Sync
    POINT     Query or FunctionCall: one ReadyForQuery will come
    SYNC      the same; kept apart, because a server that reads COPY data ignores it
    COPIED    CopyDone or CopyFail; DONE when it is known which COPY it belongs to

ReadyForQuery removes everything up to the first POINT or SYNC. CopyInResponse removes the SYNCs that the client had
sent behind the COPY and before its end: the server reads them as part of the data and answers none of them.

When a COPY fails, it cannot be known from outside whether the server had read those SYNCs already ("cannot copy to
view" comes before, bad data after), and so whether it will answer them. `clean` is then false until a ReadyForQuery
comes that cannot be theirs: the answer to a SYNC in doubt is a ReadyForQuery with nothing before it.

Where the bytes leave two readings, and no later byte will tell, `clean` is false for the rest of the session: it may
come late or never, but not too early. So with a failure among extended messages, a Query and a Sync sent in one go: did
the Query fail, or did the server skip it on its way to the Sync?
"""

from typing import Literal

from ambassador.errors import ClientError, Reason, UpstreamError

# Longest message PostgreSQL can make or take: a 1 GiB buffer, and the length counts itself.
MAX_LENGTH = 0x4000_0003
# How much of a message is looked at, counted as its length is. An error's severity and SQLSTATE lead, behind a
# translated word.
HEADER_SEEN, STATUS_SEEN, ERROR_SEEN = 4, 5, 128
# How much the client may send ahead before we stop counting; the session goes on, but is never `clean` again.
MAX_OWED = 1 << 18

# What is owed, and so what a message from the client means to us; 0 means nothing.
EXTENDED, POINT, SYNC, COPIED, DONE, GOODBYE = 1, 2, 3, 4, 5, 6
# What a message from the server means to us; 0 is one that may come at any time and answers nothing.
ROW, ANSWER, READY, ERROR, COPY_IN = 1, 2, 3, 4, 5

# ReadyForQuery's status.
IDLE, IN_TRANSACTION, FAILED = 0x49, 0x54, 0x45

# How sure we are of it: in doubt since a COPY failed; never again.
SURE, DOUBTED, LOST = 0, 1, 2
# What the server said since it was last ready.
NOTHING, ANSWERED, FAILURE = 0, 1, 2


def _table(meanings: dict[bytes, int], default: int) -> bytes:
    """Tag byte to meaning."""
    table = bytearray([default]) * 256
    for tags, meaning in meanings.items():
        for tag in tags:
            table[tag] = meaning
    return bytes(table)


FROM_CLIENT = _table({b"PBDEC": EXTENDED, b"QF": POINT, b"S": SYNC, b"cf": COPIED, b"X": GOODBYE}, 0)
FROM_SERVER = _table({b"NAS": 0, b"Dd": ROW, b"Z": READY, b"E": ERROR, b"G": COPY_IN}, ANSWER)


class PostgresWalk:
    """Follows one PostgreSQL session, after the login, by its message headers.

    Attributes:
        status_byte: what ReadyForQuery said last: `IDLE`, `IN_TRANSACTION` or `FAILED`.
        transactions: how often the server became ready outside a transaction.
        errors: how many ErrorResponses came.
        terminated: the client has said good-bye.
    """

    __slots__ = (
        "_client_held",
        "_client_left",
        "_copying",
        "_doubt",
        "_first",
        "_ignored",
        "_last",
        "_owed",
        "_said",
        "_server_held",
        "_server_left",
        "errors",
        "status_byte",
        "terminated",
        "transactions",
    )

    def __init__(self) -> None:
        self._client_left = 0
        self._client_held = b""
        self._server_left = 0
        self._server_held = b""
        self._owed = bytearray(16)
        self._first = 0
        self._last = 0
        self.status_byte = IDLE
        self._copying = False
        self._ignored = 0
        self._doubt = SURE
        self._said = NOTHING
        self.transactions = 0
        self.errors = 0
        self.terminated = False

    # --- What is asked of it ------------------------------------------------------------------------------------

    @property
    def server_aligned(self) -> bool:
        """The server's next byte begins a message, so one of ours may be put before it."""
        return self._server_left == 0 and not self._server_held

    @property
    def aligned(self) -> bool:
        """Both directions stand between two messages."""
        return self._is_aligned()

    @property
    def idle(self) -> bool:
        """The server owes nothing and no message is under way; a transaction may be open."""
        return self._is_idle()

    @property
    def waiting(self) -> bool:
        """It is the client's turn, perhaps because it has stopped inside a message, which the server waits for."""
        if self._doubt != SURE or self._server_left or self._server_held:
            return False
        # A message counts as owed from its header on.
        return self._first == self._last or (self._client_left != 0 and self._last - self._first == 1)

    @property
    def clean(self) -> bool:
        """Idle, and outside a transaction: the one moment at which the two sides may be parted."""
        return self.status_byte == IDLE and not self.terminated and self._is_idle()

    def _is_aligned(self) -> bool:
        return self._client_left == 0 == self._server_left and not self._client_held and not self._server_held

    def _is_idle(self) -> bool:
        return self._first == self._last and not self._copying and self._doubt == SURE and self._is_aligned()

    # --- From the client ----------------------------------------------------------------------------------------

    def from_client(self, chunk: bytes) -> None:
        """Take what the client sent next. Raises ClientError for an impossible length."""
        if self._client_held:
            self._rejoin_client(chunk)
        else:
            self._walk_client(chunk, self._client_left)

    def _rejoin_client(self, chunk: bytes) -> None:
        """Complete a header that was cut."""
        missing = 5 - len(self._client_held)
        head = self._client_held + chunk[:missing]
        self._client_held = b""
        self._walk_client(head, 0)
        if missing < len(chunk):
            self._walk_client(chunk, missing + self._client_left)

    def _walk_client(self, chunk: bytes, position: int) -> None:
        size = len(chunk)
        data = chunk  # a pointer, when compiled
        while size - position >= 5:
            tag = data[position]
            length = data[position + 1]  # by itself, so that the shift is done in a type wide enough when compiled
            length = length << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4]
            if length < 4 or length > MAX_LENGTH:
                raise ClientError(Reason.BAD_MESSAGE, f"invalid length {length} of message {chr(tag)!r}")
            meaning = FROM_CLIENT[tag]
            if meaning:
                self._sent(meaning)
            position += 1 + length
        if position < size:
            self._client_left = 0
            self._client_held = chunk[position:]
        else:
            self._client_left = position - size

    def _sent(self, meaning: int) -> None:
        if meaning == EXTENDED:
            if self._first == self._last or self._owed[self._last - 1] != EXTENDED:
                self._owe(EXTENDED)
        elif meaning == POINT:
            self._owe(POINT)
        elif meaning == SYNC:
            if self._copying:
                self._ignored += 1
            else:
                self._owe(SYNC)
        elif meaning == COPIED:
            self._end_copy()
        else:
            self.terminated = True

    def _owe(self, what: int) -> None:
        if self._first == self._last:
            self._first = self._last = 0
        elif self._last == len(self._owed):
            self._make_room()
        if self._last < len(self._owed):
            self._owed[self._last] = what
            self._last += 1

    def _make_room(self) -> None:
        if self._first > len(self._owed) // 2:  # or a long queue would be moved for every message
            self._owed[: self._last - self._first] = self._owed[self._first : self._last]
            self._last -= self._first
            self._first = 0
        elif len(self._owed) < MAX_OWED:
            self._owed.extend(bytes(len(self._owed)))
        else:
            self._doubt = LOST

    def _end_copy(self) -> None:
        """CopyDone or CopyFail. With nothing owed it is left over from a COPY that failed, and the server skips it."""
        if self._first != self._last:
            self._owe(DONE if self._copying else COPIED)
        self._copying = False

    # --- From the server ----------------------------------------------------------------------------------------

    def from_server(self, chunk: bytes) -> None:
        """Take what the server sent next. Raises UpstreamError for an impossible length or status."""
        if self._server_held:
            self._rejoin_server(chunk)
        else:
            self._walk_server(chunk, self._server_left)

    def _rejoin_server(self, chunk: bytes) -> None:
        """Complete what was held, one need after the other: first a header, then what of its message must be seen."""
        used = 0
        while self._server_held and used < len(chunk):
            held = self._server_held
            stop = used + _needed(held) - len(held)
            self._server_held = b""
            self._walk_server(held + chunk[used:stop], 0)
            used = stop
        if used < len(chunk):
            self._walk_server(chunk, used + self._server_left)

    def _walk_server(self, chunk: bytes, position: int) -> None:
        size = len(chunk)
        data = chunk  # a pointer, when compiled
        while size - position >= 5:
            tag = data[position]
            length = data[position + 1]  # by itself, so that the shift is done in a type wide enough when compiled
            length = length << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4]
            if length < 4 or length > MAX_LENGTH:
                raise UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, f"invalid length {length} of message {chr(tag)!r}")
            meaning = FROM_SERVER[tag]
            if meaning > ROW:
                seen = _seen(meaning, length)
                if size - position < seen:
                    break
                if meaning == READY:
                    self._ready(length, data[position + seen - 1])
                else:
                    self._answered(meaning, chunk, position + 5, position + seen)
            position += 1 + length
        if position < size:
            self._server_left = 0
            self._server_held = chunk[position:]
        else:
            self._server_left = position - size

    def _answered(self, meaning: int, chunk: bytes, start: int, stop: int) -> None:
        """Anything but rows, ReadyForQuery and what may come unasked."""
        if meaning == ERROR:
            self._failed(chunk[start:stop])
        elif meaning == COPY_IN:
            self._begin_copy()
        if self._said == NOTHING:
            self._said = ANSWERED

    def _ready(self, length: int, status: int) -> None:
        if length != STATUS_SEEN or status not in (IDLE, IN_TRANSACTION, FAILED):
            raise UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, "ReadyForQuery has another length, or an unknown status")
        self.status_byte = status
        if status == IDLE:
            self.transactions += 1
        if self._doubt != DOUBTED or self._said != NOTHING:
            self._settle()
        elif self._first < self._last and self._owed[self._first] == SYNC:
            self._settle()  # it may as well answer a SYNC in doubt; then the next such answer finds none in front
        self._copying = False
        self._said = NOTHING
        self._ignored = 0

    def _settle(self) -> None:
        """Remove what a ReadyForQuery answers."""
        at = self._first
        runs = 0
        while at < self._last and self._owed[at] != POINT and self._owed[at] != SYNC:
            runs += self._owed[at] == EXTENDED
            at += 1
        point = at < self._last and self._owed[at] == POINT
        if at < self._last:
            at += 1
        while at < self._last and self._owed[at] >= COPIED:
            at += 1  # left over from a COPY that failed before it asked for data
        self._first = at
        if self._said == FAILURE and self._is_ambiguous(runs, point):
            self._doubt = LOST
        elif self._doubt == DOUBTED and self._said != NOTHING and not self._ignored:
            self._doubt = SURE

    def _is_ambiguous(self, runs: int, point: bool) -> bool:
        """Whether, after a failure, it is open which POINT or SYNC was answered, and no later answer will tell.

        A POINT behind EXTENDED may have been skipped on the way to a SYNC. And where a SYNC is in doubt, it may have
        been the one, unless nothing but the COPY stood between it and the next.
        """
        if self._ignored:
            return runs > 1 or (runs == 1 and point)
        return runs > 0 and point and SYNC in self._owed[self._first : self._last]

    def _begin_copy(self) -> None:
        """CopyInResponse: the command in front was a COPY; see the head of this file for its Syncs."""
        at = self._first
        while at < self._last and (self._owed[at] == EXTENDED or self._owed[at] == DONE):
            at += 1
        extended = at > self._first
        if at < self._last and self._owed[at] == POINT:
            at += 1  # the COPY itself, even behind EXTENDED: a server that reads data for another one takes no Query
            extended = False
        while at < self._last and self._owed[at] == DONE:
            at += 1
        stop = at
        while stop < self._last and self._owed[stop] == SYNC:
            stop += 1
        self._ignored += stop - at
        kept = self._last - stop
        self._owed[at : at + kept] = self._owed[stop : self._last]
        self._last = at + kept
        self._copying = True
        if kept and self._owed[at] == COPIED:
            self._owed[at] = DONE
            self._copying = False
            if extended and kept > 1 and self._owed[at + 1] != SYNC:
                self._doubt = LOST  # was it the COPY before that CopyDone, or one behind it, in the same segment?

    def _failed(self, beginning: bytes) -> None:
        self.errors += 1
        self._copying = False
        self._said = FAILURE
        if self._ignored and self._doubt == SURE:
            self._doubt = DOUBTED
        self.on_error(beginning)

    def on_error(self, beginning: bytes) -> None:
        """Called with the first bytes of each ErrorResponse's payload."""


def _seen(meaning: int, length: int) -> int:
    """How many bytes of a message from the server must be there before it can be judged."""
    most = STATUS_SEEN if meaning == READY else ERROR_SEEN if meaning == ERROR else HEADER_SEEN
    return 1 + min(most, length)


def _needed(held: bytes) -> int:
    """The same for a message of which `held` is the beginning."""
    if len(held) < 5:
        return 5
    return _seen(FROM_SERVER[held[0]], int.from_bytes(held[1:5], "big"))


SCAN: Literal["compiled", "pure"] = "pure" if __file__.endswith(".py") else "compiled"
