"""What a server keeps for a client, followed from outside: where it stands, and whether its connection may be shared.

Only what the replies say counts: a command that was refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum, auto, unique
from types import MappingProxyType

from ambassador.wire.redis.commands import Code
from ambassador.wire.redis.messages import QUEUED, Protocol, error_word

Told = Callable[[bytes | None], None]
"""Is told how the reply begins; None: none will come."""


class Pin(StrEnum):
    """Why a client has a connection of its own. A closed list: metric labels."""

    DEDICATED = "dedicated"
    TRANSACTION = "transaction"
    WATCH = "watch"
    BLOCKING = "blocking"
    SCRIPT = "script"
    SUBSCRIBE = "subscribe"
    MONITOR = "monitor"
    REPLICATION = "replication"
    TRACKING = "tracking"
    LARGE = "large"
    COMMAND = "command"
    UNKNOWN = "unknown"


@unique
class Silence(Enum):
    """Whose replies the client does not want."""

    NOBODY = auto()
    NEXT = auto()
    """Of the next request."""

    ALL = auto()


FORWARDED: Mapping[int, Pin] = MappingProxyType(
    {
        Code.MULTI: Pin.TRANSACTION,
        Code.EXEC: Pin.TRANSACTION,
        Code.DISCARD: Pin.TRANSACTION,
        Code.WATCH: Pin.WATCH,
        Code.UNWATCH: Pin.WATCH,
        Code.BLOCKING: Pin.BLOCKING,
        Code.SCRIPT: Pin.SCRIPT,
        Code.SCRIPTS: Pin.SCRIPT,
        Code.OWN: Pin.COMMAND,
        Code.CLUSTER: Pin.COMMAND,
        Code.CLUSTER_STATE: Pin.COMMAND,
        Code.UNKNOWN: Pin.UNKNOWN,
    }
)
"""Classes of requests that need nothing but a connection of the client's own, and why it is pinned for them."""


DISCARDING = frozenset({"EXECABORT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "CROSSSLOT"})
"""Words of an EXEC that was refused with the whole transaction: for what was queued, or because the node of a cluster
does not serve its keys, which it looks for once more then. After any other the transaction goes on."""


class State:
    """One client's.

    Attributes:
        protocol: 2 or 3, the RESP version.
        database: its number, as the client counts.
        name: what it calls itself.
        dedicated: it has a connection of its own from beginning to end.
        why: it has one now.
        multi: it is in a transaction, as far as replies have come; `begun`: as far as has been asked.
        watching: keys are watched.
        channels: what it is subscribed to: channels, patterns, sharded channels.
        blocking: how many replies it waits for that may never come.
        tracking: the server tells it of changed keys.
        raw: it watches the server's traffic, or takes part in it as a replica.
        stuck: something that nobody can take back is set on its connection.
        lost: the server went away within a transaction (`multi`), or with keys watched (`watch`); "" otherwise.
        silence: whose replies it does not want.
        credential_due: a new credential waits to be shown on its connection.
    """

    __slots__ = (
        "begun", "blocking", "channels", "credential_due", "database", "dedicated", "lost", "multi", "name", "protocol",
        "raw", "silence", "stuck", "tracking", "watching", "why",
    )  # fmt: skip

    def __init__(self, *, dedicated: bool) -> None:
        self.dedicated = dedicated
        self.why = Pin.DEDICATED
        self.protocol: Protocol = 2
        self.database = 0
        self.name: bytes | None = None
        self.lost = ""
        self.silence = Silence.NOBODY
        self.credential_due = False
        self.channels: dict[str, set[bytes]] = {"channel": set(), "pattern": set(), "shard": set()}
        self.multi = False
        self.begun = False
        self.watching = False
        self.blocking = 0
        self.tracking = False
        self.raw = False
        self.stuck = False

    @property
    def in_multi(self) -> bool:
        """Whether a request sent now may be queued by the server instead of answered."""
        return self.multi or self.begun

    @property
    def listening(self) -> bool:
        """Whether there are subscriptions."""
        return any(self.channels.values())

    @property
    def confined(self) -> bool:
        """Whether the server takes hardly any command from it: RESP2 with subscriptions."""
        return self.protocol == 2 and self.listening

    @property
    def leaves_nothing(self) -> bool:
        """Whether another client may have the connection after this one."""
        return not (self.in_multi or self.watching or self.listening or self.tracking or self.raw or self.stuck)

    @property
    def is_free(self) -> bool:
        """Whether nothing keeps the client on its own connection."""
        return not self.dedicated and self.leaves_nothing

    def sent(self, code: int) -> Told | None:
        """A request of class `code` goes to the server; returns who must be told of its reply."""
        if code == Code.MULTI:
            self.begun = True
            return self._began
        if code in {Code.EXEC, Code.DISCARD}:
            self.begun = False
        if code == Code.BLOCKING:
            self.blocking += 1
            return self._unblocked
        told: Mapping[int, Told] = {
            Code.EXEC: self._executed,
            Code.DISCARD: self._discarded,
            Code.WATCH: self._watched,
            Code.UNWATCH: self._unwatched,
            Code.CLUSTER_STATE: self._marked,
        }
        return told.get(code)

    def server_lost(self) -> None:
        """The connection is gone, and with it what the server kept for the client."""
        if self.begun:
            self.lost = "multi"
        elif self.watching:
            self.lost = "watch"
        self.multi = self.begun = self.watching = self.stuck = self.credential_due = False

    # ---- replies

    def _began(self, reply: bytes | None) -> None:
        self.multi = self.multi or (reply is not None and reply.startswith(b"+"))
        self.begun = self.begun and self.multi

    def _executed(self, reply: bytes | None) -> None:
        if reply is not None and (not reply.startswith(b"-") or error_word(reply) in DISCARDING):
            self.multi = self.watching = False
        elif reply is not None:
            self.begun = self.begun or self.multi

    def _discarded(self, reply: bytes | None) -> None:
        if reply is not None and reply.startswith(b"+"):
            self.multi = self.watching = False
        elif reply is not None:
            self.begun = self.begun or self.multi

    def _watched(self, reply: bytes | None) -> None:
        if reply is not None and reply.startswith(b"+OK"):
            self.watching = True

    def _unwatched(self, reply: bytes | None) -> None:
        if reply is not None and reply.startswith(b"+") and not QUEUED.startswith(reply):
            self.watching = False

    def _marked(self, reply: bytes | None) -> None:
        if reply is not None and reply.startswith(b"+OK"):
            self.stuck = True

    def _unblocked(self, _: bytes | None) -> None:
        self.blocking -= 1
