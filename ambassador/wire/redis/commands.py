"""What each command is: from the server's own table, and from ours where it does not tell.

The compiled scan asks one question of a request: may it go over a connection that is shared? `classify` answers it for
every name beforehand. A command is *plain*, and may, when it gets exactly one answer, at once, that depends on nothing
but the data, and leaves the connection as it was. Everything else is special, and so is every name not in the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import Final

from ambassador.wire.redis.builtin import LINES
from ambassador.wire.redis.messages import Map, Value, bad_message


@unique
class Kind(IntEnum):
    """What sort of command, for metrics. As a class code it says besides that the command is plain."""

    READ = 0
    WRITE = 1
    OTHER = 2
    SCRIPT = 3
    TRANSACTION = 4
    BLOCKING = 5
    PUBSUB = 6
    CONNECTION = 7
    ADMIN = 8


@unique
class Code(IntEnum):
    """Why a request is special."""

    # Answered by us, or only after a look.
    AUTH = 16
    HELLO = 17
    RESET = 18
    QUIT = 19
    SELECT = 20
    CLIENT = 21
    CONFIG = 22
    ACL = 23
    # Need a connection until a later request.
    MULTI = 32
    EXEC = 33
    DISCARD = 34
    WATCH = 35
    UNWATCH = 36
    SUBSCRIBE = 40
    PSUBSCRIBE = 41
    SSUBSCRIBE = 42
    UNSUBSCRIBE = 43
    PUNSUBSCRIBE = 44
    SUNSUBSCRIBE = 45
    MONITOR = 48
    REPLICATION = 49  # SYNC, PSYNC, REPLCONF: the connection becomes a replica's
    CLUSTER_STATE = 50  # READONLY, READWRITE, ASKING: a mark on the connection
    # Need a connection until the answer.
    BLOCKING = 64
    SCRIPT = 65
    CLUSTER = 66
    OWN = 67  # anything else
    SCRIPTS = 68  # SCRIPT and FUNCTION: what concerns scripts, and runs none
    # By policy.
    JUDGED = 80  # plain, but whether it may depends on its arguments
    REFUSED = 81
    # What the scan says without asking.
    EMPTY = 253
    INLINE = 254
    UNKNOWN = 255


@dataclass(frozen=True, slots=True)
class KeySpec:
    """How some of a command's keys are found ("Key specifications" in Redis' manual). Places count from the name, 0.

    Attributes:
        begin: the place of the first key, or of the number of keys; what `keyword` stands before, if there is one.
        keyword: upper case; then `begin` is where the search for it begins, from the end if negative.
        count: there is first the number of keys, at this distance from the beginning; None: there is none.
        first: the distance of the first key, behind such a number.
        last: the distance of the last key; negative: counted from the request's end.
        step: from key to key.
        limit: 2 means the first half of what is left, and so on; 0 and 1 all.
        channels: they are no keys but channels, which only share their slots.
        known: False: they cannot be found so, or not all of them.
    """

    begin: int = 1
    keyword: bytes = b""
    count: int | None = None
    first: int = 0
    last: int = 0
    step: int = 1
    limit: int = 0
    channels: bool = False
    known: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """One command or sub-command.

    Attributes:
        name: upper case; a sub-command's is `CONFIG|GET`.
        arity: words, the name included; negative: at least so many; 0: not known.
        flags: in Redis' words: `write`, `readonly`, `blocking`, `movablekeys` ...
        categories: of access lists, without their `@`.
        first_key, last_key, step: an older form of `key_specs`; 0 where a server says no keys, or nothing.
        subcommands: by name in upper case, without the container's.
    """

    name: bytes
    arity: int = 0
    flags: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    first_key: int = 0
    last_key: int = 0
    step: int = 0
    key_specs: tuple[KeySpec, ...] = ()
    subcommands: Mapping[bytes, Command] = field(default_factory=dict)


# --- The server's table ---------------------------------------------------------------------------------------------


def parse_command_table(value: Value) -> dict[bytes, Command]:
    """Every command by its name in upper case, from the decoded answer to `COMMAND`, of whatever version.

    What a server does not tell is added from `BUILT_IN`. An entry that makes no sense is left out, so that its command
    counts as unknown.

    Raises:
        UpstreamError: it is no table at all.
    """
    if not isinstance(value, list) or not value:
        raise bad_message("the answer to COMMAND is not a table")
    commands = (_parse_entry(entry, BUILT_IN) for entry in value)
    return {command.name: command for command in commands if command}


def _parse_entry(entry: object, ours: Mapping[bytes, Command]) -> Command | None:
    match entry:
        case [bytes(name), int(arity), [*flags], int(first), int(last), int(step), *more]:
            pass
        case _:
            return None
    name = bytes(name).upper()
    known = ours.get(name.rpartition(b"|")[2], Command(name))
    flags_ = _words(flags)
    subcommands = known.subcommands
    if len(more) > 3 and isinstance(more[3], list):
        parsed = (_parse_entry(sub, known.subcommands) for sub in more[3])
        subcommands = {sub.name.rpartition(b"|")[2]: sub for sub in parsed if sub}
    specs = more[2] if len(more) > 2 else None
    return Command(
        name,
        arity,
        flags_,
        _words(more[0]) if more else known.categories or _implied(flags_),
        first,
        last,
        step,
        tuple(_parse_spec(_pairs(spec)) for spec in specs) if isinstance(specs, list) else known.key_specs,
        subcommands,
    )


def _words(value: object) -> frozenset[str]:
    words = value if isinstance(value, list) else []
    texts = (word.decode("utf-8", "replace") for word in words if isinstance(word, bytes))
    return frozenset(text.removeprefix("@").lower() for text in texts)


def _pairs(value: object) -> dict[bytes, object]:
    """A map of names, as RESP3 or RESP2 has it."""
    if isinstance(value, Map):
        return {key: item for key, item in value.pairs if isinstance(key, bytes)}
    items = value if isinstance(value, list) else []
    return {key: item for key, item in zip(items[::2], items[1::2], strict=False) if isinstance(key, bytes)}


def _parse_spec(spec: dict[bytes, object]) -> KeySpec:
    begin, find = _pairs(spec.get(b"begin_search")), _pairs(spec.get(b"find_keys"))
    where, how = _pairs(begin.get(b"spec")), _pairs(find.get(b"spec"))
    flags = _words(spec.get(b"flags"))
    channels = "not_key" in flags
    match begin.get(b"type"), where:
        case b"index", {b"index": int(start)}:
            keyword = b""
        case b"keyword", {b"keyword": bytes(keyword), b"startfrom": int(start)}:
            keyword = keyword.upper()
        case _:
            return KeySpec(channels=channels, known=False)
    known = "incomplete" not in flags
    match find.get(b"type"), how:
        case b"range", {b"lastkey": int(last), b"keystep": int(step), b"limit": int(limit)} if step > 0:
            return KeySpec(start, keyword, None, 0, last, step, limit, channels, known)
        case b"keynum", {b"keynumidx": int(count), b"firstkey": int(first), b"keystep": int(step)} if step > 0:
            return KeySpec(start, keyword, count, first, 0, step, 0, channels, known)
    return KeySpec(channels=channels, known=False)


_IMPLIED: Mapping[str, frozenset[str]] = {
    "write": frozenset({"write"}),
    "readonly": frozenset({"read"}),
    "admin": frozenset({"admin", "dangerous"}),
    "pubsub": frozenset({"pubsub"}),
    "blocking": frozenset({"blocking"}),
    "fast": frozenset({"fast"}),
}


def _implied(flags: Iterable[str]) -> frozenset[str]:
    """Categories that follow from flags, as Redis has it."""
    found = frozenset().union(*(_IMPLIED.get(flag, frozenset()) for flag in flags))
    return found if "fast" in found else found | {"slow"}


# --- Our own table --------------------------------------------------------------------------------------------------


def _built_in(lines: str) -> dict[bytes, Command]:
    commands: dict[bytes, Command] = {}
    subcommands: dict[bytes, dict[bytes, Command]] = {}
    for line in lines.split("\n")[1:-1]:
        flags, categories, keys, names = line.split(" / ")
        specs = tuple(_written(text) for text in keys.split(",") if text not in {"-", "*"})
        flags_ = frozenset(flags.split()) - {"-"}
        extra = frozenset(categories.split()) - {"-"}
        implied = _implied(flags_) - ({"read"} if "scripting" in extra else set())
        for name in names.encode().split():
            inside = subcommands.setdefault(name, {})
            made = Command(name, flags=flags_, categories=implied | extra, key_specs=specs, subcommands=inside)
            container, _, sub = name.partition(b"|")
            if sub:
                subcommands.setdefault(container, {})[sub] = made
            else:
                commands[name] = made
    return commands


def _written(text: str) -> KeySpec:
    """Keys in the form that `builtin` explains."""
    channels = text.startswith("c")
    begin, counted, step = text.removeprefix("c").partition("#")
    if counted:
        return KeySpec(int(begin), count=0, first=1, step=int(step), channels=channels)
    places = [int(place) for place in begin.split(":")]
    start, last, every = places + [0, 0, 1][len(places) :]
    return KeySpec(start, last=last, step=every, channels=channels)


BUILT_IN: Final[Mapping[bytes, Command]] = _built_in(LINES)


# --- Classes --------------------------------------------------------------------------------------------------------

_SPECIAL: Final[Mapping[bytes, Code]] = {
    **{code.name.encode(): code for code in Code if code < Code.MONITOR},
    b"MONITOR": Code.MONITOR,
    b"CLUSTER": Code.CLUSTER,
    **dict.fromkeys((b"SYNC", b"PSYNC", b"REPLCONF"), Code.REPLICATION),
    **dict.fromkeys((b"READONLY", b"READWRITE", b"ASKING"), Code.CLUSTER_STATE),
    # By name, because no server before 7 says which block, and nothing says that a script may take its time.
    **dict.fromkeys(
        (b"BLPOP", b"BRPOP", b"BRPOPLPUSH", b"BLMOVE", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP", b"XREAD",
         b"XREADGROUP", b"WAIT", b"WAITAOF"), Code.BLOCKING),
    **dict.fromkeys(
        (b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"), Code.SCRIPT),
    **dict.fromkeys((b"SCRIPT", b"FUNCTION"), Code.SCRIPTS),
    # Writes to the data, and to other servers too, which it waits for.
    b"MIGRATE": Code.OWN,
}  # fmt: skip

# No flag says so of them, but they are plain: one answer, at once, and the connection stays as it was.
_PLAIN: Final[Mapping[bytes, Kind]] = {
    **dict.fromkeys((b"PING", b"ECHO", b"TIME", b"INFO", b"LASTSAVE", b"ROLE", b"COMMAND", b"LOLWUT"), Kind.OTHER),
    **dict.fromkeys((b"PUBLISH", b"SPUBLISH", b"PUBSUB"), Kind.PUBSUB),
    **dict.fromkeys((b"OBJECT", b"MEMORY", b"XINFO"), Kind.READ),
    b"XGROUP": Kind.WRITE,
}
# With one of these, a command that reads or writes is special all the same.
_NOT_PLAIN: Final = frozenset({"blocking", "admin", "noscript", "asking", "pubsub"})


def classify(table: Mapping[bytes, Command]) -> dict[bytes, int]:
    """The class code of every command of the table, and of those that are special whatever a table says.

    Below 16 it is the `Kind`, and the command is plain; from there on it is a `Code`. A name that is missing is
    `Code.UNKNOWN`.
    """
    return {name: _class_of(command) for name, command in table.items()} | {
        name: int(code) for name, code in _SPECIAL.items()
    }


def _class_of(command: Command) -> int:
    if command.name in _PLAIN:
        return _PLAIN[command.name]
    if "blocking" in command.flags or "blocking" in command.categories:
        return Code.BLOCKING
    if command.flags & _NOT_PLAIN:
        return Code.OWN
    if "write" in command.flags:
        return Kind.WRITE
    return Kind.READ if "readonly" in command.flags else Code.OWN


_KINDS: Final[Mapping[int, Kind]] = {
    **dict.fromkeys(range(Code.AUTH, Code.CONFIG), Kind.CONNECTION),
    **dict.fromkeys(range(Code.MULTI, Code.UNWATCH + 1), Kind.TRANSACTION),
    **dict.fromkeys(range(Code.SUBSCRIBE, Code.SUNSUBSCRIBE + 1), Kind.PUBSUB),
    **dict.fromkeys((Code.CONFIG, Code.ACL, Code.MONITOR, Code.REPLICATION, Code.CLUSTER, Code.OWN), Kind.ADMIN),
    Code.CLUSTER_STATE: Kind.CONNECTION,
    Code.BLOCKING: Kind.BLOCKING,
    Code.SCRIPT: Kind.SCRIPT,
    Code.SCRIPTS: Kind.SCRIPT,
}


def kind_of(code: int) -> Kind:
    """The kind that a class code stands for; OTHER where it says nothing of the command."""
    return Kind(code) if code < Code.AUTH else _KINDS.get(code, Kind.OTHER)


def find(words: list[bytes], table: Mapping[bytes, Command]) -> Command | None:
    """The command or sub-command that a request names; None where the table knows none.

    As the server does: whole words, in any case of ASCII. A container without a sub-command, or with one that the table
    does not know, is the container.
    """
    command = table.get(words[0].upper())
    if command is None or len(words) == 1:
        return command
    return command.subcommands.get(words[1].upper(), command)
