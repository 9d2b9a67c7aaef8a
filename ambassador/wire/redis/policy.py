"""Which commands a listener's clients may use, on which keys.

Without a word of the operator's everything may be used, except what shows or changes *our* login: that is not the
client's. Refused are the access list's commands (but for those that say nothing of others), what makes the server show
the password it keeps to somebody whom the client names (REPLICAOF, FAILOVER, CLUSTER MEET and REPLICATE), what loads
code into the server, and CONFIG SET of a credential. An entry in `allow` that names such a command lifts that; for
CONFIG SET of a credential nothing does. What shows more than it should, and is useful otherwise, is not refused but
redacted: see `redact`. MIGRATE, MONITOR, DEBUG, PSYNC, SHUTDOWN and SAVE show nothing of a login, and are left to the
operator.

A script calls what it likes, with our login's rights. So what denies commands denies scripts as well, unless they are
allowed by name or as such. Two are refused whatever is allowed: SCRIPT DEBUG, which makes a debugger of a connection
that is not the client's alone, and DEBUG SET-DISABLE-DENY-SCRIPTS, with which a script could read our login.

With key rules, what reaches keys that it does not name is refused, unless `allow` names the command itself: KEYS, SCAN,
FLUSHALL, scripts (whatever keys they declare), SORT with patterns. So is what the table does not know, and CONFIG SET,
which could turn on what tells of keys. Channels are not keys: where the server's operator has turned on keyspace
notifications, a client that may subscribe may hear of them.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ambassador.wire.redis.commands import BUILT_IN, Code, Command, find
from ambassador.wire.redis.keys import keys_of, option
from ambassador.wire.redis.redact import is_secret

# As in Redis, who is not let in yet may use these, and so nobody is refused them.
_NEVER_REFUSED: Final = frozenset({b"AUTH", b"HELLO", b"QUIT", b"RESET"})

# What every driver sends, and what only ends or marks something of the connection itself.
_NEEDED: Final = _NEVER_REFUSED | {
    b"PING", b"ECHO", b"SELECT", b"COMMAND", b"READONLY", b"READWRITE", b"MULTI", b"EXEC", b"DISCARD", b"WATCH",
    b"UNWATCH", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE", b"CLIENT|SETNAME", b"CLIENT|GETNAME", b"CLIENT|ID",
    b"CLIENT|SETINFO", b"CLIENT|INFO", b"CLIENT|TRACKING", b"CLIENT|TRACKINGINFO", b"CLIENT|CACHING",
    b"CLIENT|GETREDIR", b"CLIENT|REPLY", b"CLIENT|NO-EVICT", b"CLIENT|NO-TOUCH", b"CLIENT|CAPA", b"CLIENT|HELP",
    b"CLIENT|MAINT_NOTIFICATIONS",
}  # fmt: skip

# What of it leads further than what is allowed: to other databases, to the names of all keys that change.
_LEADING_ON: Final = frozenset({b"SELECT", b"CLIENT|TRACKING"})

# What `allow` need not name.
_IMPLIED: Final = _NEEDED - _LEADING_ON

# What shows or changes a login, without any policy.
_GUARDED: Final = frozenset({
    b"ACL", b"REPLICAOF", b"SLAVEOF", b"FAILOVER", b"CLUSTER|MEET", b"CLUSTER|REPLICATE", b"MODULE|LOAD",
    b"MODULE|LOADEX", b"SENTINEL|SET", b"SENTINEL|CONFIG",
})  # fmt: skip
_NEVER: Final = frozenset({b"SCRIPT|DEBUG", b"DEBUG|SET-DISABLE-DENY-SCRIPTS"})
_CONTAINERS: Final = frozenset({b"SENTINEL", b"DEBUG"})
_NOT_GUARDED: Final = frozenset({b"ACL|WHOAMI", b"ACL|CAT", b"ACL|GENPASS", b"ACL|HELP", b"ACL|DRYRUN"})

_SCRIPTS: Final = frozenset({b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"})
_CHANGING: Final = frozenset({
    b"EVAL", b"EVALSHA", b"FCALL", b"SCRIPT|FLUSH", b"SCRIPT|KILL", b"SCRIPT|LOAD", b"FUNCTION|KILL", b"MEMORY|PURGE",
})  # fmt: skip

# Administration that changes nothing.
_READING: Final = frozenset({
    b"CONFIG|GET", b"SLOWLOG|GET", b"SLOWLOG|LEN", b"COMMANDLOG|GET", b"COMMANDLOG|LEN", b"LATENCY|DOCTOR",
    b"LATENCY|GRAPH", b"LATENCY|HISTOGRAM", b"LATENCY|HISTORY", b"LATENCY|LATEST", b"MODULE|LIST", b"CLIENT|LIST",
    b"CLIENT|NO-EVICT", b"CLUSTER|COUNT-FAILURE-REPORTS", b"CLUSTER|REPLICAS", b"CLUSTER|SLAVES", b"ACL|DRYRUN",
    b"MONITOR",
})  # fmt: skip

# What shows keys though it names none and reads no data, and what reads data and shows no key.
_SHOWING_KEYS: Final = frozenset({
    b"MONITOR", b"SYNC", b"PSYNC", b"REPLCONF", b"DEBUG", b"SLOWLOG|GET", b"COMMANDLOG|GET", b"CLUSTER|GETKEYSINSLOT",
    b"CLIENT|TRACKING", b"CONFIG|SET",
})  # fmt: skip
_SHOWING_NO_KEYS: Final = frozenset({b"DBSIZE", b"LOLWUT"})

NO_KEY: Final = "NOPERM No permissions to access a key"


@dataclass(frozen=True, slots=True)
class _Entries:
    """What a list of an operator's words says."""

    names: frozenset[bytes]
    categories: frozenset[str]

    @classmethod
    def of(cls, words: Iterable[str]) -> _Entries:
        stripped = [word.strip() for word in words]
        return cls(
            frozenset(word.upper().encode() for word in stripped if not word.startswith("@")),
            frozenset(word[1:].lower() for word in stripped if word.startswith("@")),
        )

    def __bool__(self) -> bool:
        return bool(self.names or self.categories)

    def name(self, subject: _Subject) -> bool:
        """Whether they name it, or all its container holds."""
        return subject.name in self.names or subject.container in self.names

    def cover(self, subject: _Subject) -> bool:
        """Whether they name it, or a category of its."""
        return self.name(subject) or "all" in self.categories or not self.categories.isdisjoint(subject.categories)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a request asks for: a command, or a sub-command that the table may not know."""

    container: bytes
    name: bytes
    flags: frozenset[str]
    categories: frozenset[str]
    command: Command | None

    def within(self, names: frozenset[bytes]) -> bool:
        return self.name in names or self.container in names


def _subject(words: list[bytes], table: Mapping[bytes, Command]) -> _Subject:
    container = words[0].upper()
    command = find(words, table)
    if len(words) == 1 or not _has_subcommands(container, table):
        name = command.name if command else container
        flags, categories = (command.flags, command.categories) if command else (frozenset[str](), frozenset[str]())
        return _Subject(container, name, flags, categories, command)
    name = container + b"|" + words[1].upper()
    # A sub-command that the table does not know counts as all that the container holds.
    every = [command, *command.subcommands.values()] if command and name not in _NEEDED else [command]
    flags = frozenset[str]().union(*(each.flags for each in every if each))
    categories = frozenset[str]().union(*(each.categories for each in every if each))
    return _Subject(container, name, flags, categories, command)


def _has_subcommands(container: bytes, table: Mapping[bytes, Command]) -> bool:
    # Of these no table tells, or not every server's.
    return container in _CONTAINERS or (container in table and bool(table[container].subcommands))


class Policy:
    """What the clients of one listener may do.

    Args:
        allow: commands (`GET`), sub-commands (`CONFIG|GET`) and categories (`@read`), in any case; then nothing else
            may be used, except what every driver needs to connect, and to end what it began: not SELECT, nor CLIENT
            TRACKING. Empty: everything may.
        deny: the same; wins over `allow`.
        read_only: refuse what may change data or the server.
        keys: prefixes of the keys that may be used; empty: all.
        scripts: scripts may be run although there is something in `deny`.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        deny: Sequence[str] = (),
        *,
        read_only: bool = False,
        keys: Sequence[str] = (),
        scripts: bool = False,
    ) -> None:
        self._allow = _Entries.of(allow)
        self._deny = _Entries.of(deny)
        self._read_only = read_only
        self._scripts = scripts
        self._keys = tuple(prefix.encode("utf-8", "surrogateescape") for prefix in keys)

    def apply(self, classes: Mapping[bytes, int], table: Mapping[bytes, Command]) -> dict[bytes, int]:
        """The class codes under this policy: some become REFUSED, and plain ones to be looked at become JUDGED.

        Other special commands keep their codes, and must be judged as well before they are obeyed.
        """
        return {name: self._applied(name, code, table) for name, code in classes.items()}

    def _applied(self, name: bytes, code: int, table: Mapping[bytes, Command]) -> int:
        if not (self._allow or self._deny or self._read_only or self._keys):
            return code
        subject = _subject([name], table)
        inside = _has_subcommands(name, table)
        if not inside and self._is_refused(subject):
            return Code.REFUSED
        if code >= Code.AUTH:
            return code
        if not inside and self._keys and keys_of([name], subject.command or Command(name)) == []:
            return Code.REFUSED if self._key_refusal([name], subject) else code
        return Code.JUDGED if inside or self._keys else code

    def judge(self, words: list[bytes], table: Mapping[bytes, Command], user: str = "default") -> str | None:
        """Why a request is refused, in Redis' words; None when it may be obeyed.

        To be asked of every request that is not plain, whatever the policy.

        Args:
            words: the whole request, at least one word.
            table: the server's commands.
            user: the name to speak to the client by.
        """
        subject = _subject(words, table)
        # The server compares names up to a NUL in places, so that what we would not know might be obeyed all the same.
        if b"\0" in words[0]:
            return f"ERR unknown command '{_shown(words[0])}', with args beginning with: "
        if len(words) > 1 and b"\0" in words[1] and _has_subcommands(subject.container, table):
            return f"ERR unknown subcommand '{_shown(words[1])}'. Try {_shown(subject.container)} HELP."
        if self._is_refused(subject) or _sets_secret(words, subject):
            return f"NOPERM User {user} has no permissions to run the '{_shown(subject.name).lower()}' command"
        return self._key_refusal(words, subject) if self._keys else None

    def names(self, words: list[bytes], table: Mapping[bytes, Command]) -> bool:
        """Whether `allow` names what a request asks for."""
        return self._allow.name(_subject(words, table))

    def _is_refused(self, subject: _Subject) -> bool:
        """Whether it is refused with any arguments."""
        if subject.name in _NEVER_REFUSED:
            return False
        if self._is_denied(subject):
            return True
        if self._allow and not self._allow.cover(subject) and not subject.within(_IMPLIED):
            return True
        if subject.within(_GUARDED) and subject.name not in _NOT_GUARDED and not self._allow.name(subject):
            return True
        if subject.command is None and not self._allow.name(subject):
            # Whatever it is, it may be what these are to keep out.
            return bool(self._read_only or self._keys or self._deny.categories)
        return self._read_only and _changes(subject)

    def _is_denied(self, subject: _Subject) -> bool:
        """Whether `deny` keeps it out, or it could call what `deny` keeps out."""
        if self._deny.cover(subject) or subject.name in _NEVER:
            return True
        by_script = subject.name in _SCRIPTS and not (self._scripts or self._allow.name(subject))
        return by_script and bool(self._deny)

    def _key_refusal(self, words: list[bytes], subject: _Subject) -> str | None:
        keys = keys_of(words, subject.command) if subject.command else None
        if keys is None and subject.within(_NEEDED):
            return None
        if not self._allow.name(subject) and (keys is None or _reaches_all(words, subject, keys)):
            return NO_KEY
        return None if all(words[key].startswith(self._keys) for key in keys or []) else NO_KEY

    def unknown_commands(self, table: Mapping[bytes, Command]) -> list[str]:
        """What of `allow` and `deny` names no command of the table, nor of ours; each with the nearest that would."""
        names = {command.name.decode("utf-8", "replace") for command in _all(table)}
        names |= {name.decode() for name in _NEEDED}
        asked = {name.decode("utf-8", "replace") for entries in (self._allow, self._deny) for name in entries.names}
        asked = {name for name in asked if name.partition("|")[0].encode() not in _CONTAINERS}
        return [f"there is no command {name}{_nearest(name, names)}" for name in sorted(asked - names)]

    def unknown_categories(self) -> list[str]:
        """What of them names no category; no server has others than those we know."""
        known = {f"@{category}" for command in _all({}) for category in command.categories} | {"@all"}
        asked = {f"@{word}" for entries in (self._allow, self._deny) for word in entries.categories}
        return [f"there is no category {name}{_nearest(name, known)}" for name in sorted(asked - known)]


def _all(table: Mapping[bytes, Command]) -> Iterator[Command]:
    """Every command and sub-command of the table, and of ours."""
    for command in (*table.values(), *BUILT_IN.values()):
        yield command
        yield from command.subcommands.values()


def _nearest(word: str, known: set[str]) -> str:
    found = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _shown(word: bytes) -> str:
    """A client's word in an answer to it, as far as the server would repeat it."""
    return word.partition(b"\0")[0][:128].decode("utf-8", "replace")


def _changes(subject: _Subject) -> bool:
    """Whether it may change data or the server."""
    if subject.name in _READING or subject.within(_NEEDED):
        return False
    return bool(subject.flags & {"write", "admin"}) or subject.name in _CHANGING


def _sets_secret(words: list[bytes], subject: _Subject) -> bool:
    """Whether it is a CONFIG SET of a credential."""
    return subject.name == b"CONFIG|SET" and any(is_secret(name) for name in words[2::2])


def _reaches_all(words: list[bytes], subject: _Subject, keys: list[int]) -> bool:
    """Whether it may reach keys that it does not name."""
    if subject.within(_SCRIPTS | _SHOWING_KEYS):
        return True
    if subject.name in {b"SORT", b"SORT_RO"}:
        pairs = itertools.pairwise(words)
        return any(option(name) in {b"BY", b"GET"} and b"*" in pattern for name, pattern in pairs)
    reads = subject.flags & {"readonly", "write", "module"}
    return not keys and bool(reads) and subject.name not in _SHOWING_NO_KEYS
