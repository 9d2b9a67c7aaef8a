"""Random programs for several Redis clients: what they say in turn, each time to the end before the next one speaks.

A program is made while it is carried out the first time, since what a client may say next depends on who waits for
what. Every answer follows from the seed alone: there is no random member, no time that passes, no id that the server
makes up (but for that of `HELLO`, which `without_ids` takes out). What is behind a blocking command in the same piece
only touches what no other client touches, for nobody knows when it is carried out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from tests.support.mutations import cut
from tests.support.redis_client import command
from tests.support.redis_words import BLOCKING, CONTROL, DATA, ODD, PRIVATE, PUBSUB, SCRIPTS, TIMED, Table, Words

LATEST = 8
"""Most steps of a program."""

_OWN_ID = re.compile(rb"(\+|\$2\r\n)id\r\n:\d+\r\n")


def without_ids(data: bytes) -> bytes:
    """What a server said, without the number that `HELLO` gives the connection."""
    return _OWN_ID.sub(rb"\1id\r\n:0\r\n", data)


@dataclass(frozen=True)
class Step:
    """What one client says in one go.

    Args:
        client: which, from 0.
        pieces: the bytes, cut somewhere.
        replies: how many it is owed for it, however late.
        blocks: it may have to wait for another client.
        timed: it may have to wait, but not for ever: the step is over when it has its replies.
        last: the server closes the connection behind the replies.
    """

    client: int
    pieces: tuple[bytes, ...]
    replies: int
    blocks: bool = False
    timed: bool = False
    last: bool = False


@dataclass
class Speaker:
    """What a program must know of a client to know what it may say.

    Args:
        protocol: 2 or 3.
        multi: it is in a transaction.
        names: what it is subscribed to, by the command that did it.
        skips: the next reply is not sent to it.
        gone: it has said good-bye.
    """

    protocol: int = 2
    multi: bool = False
    names: dict[bytes, set[bytes]] = field(default_factory=dict)
    skips: bool = False
    gone: bool = False

    def reset(self) -> None:
        """As in the beginning."""
        self.protocol, self.multi, self.names = 2, False, {}

    @property
    def confined(self) -> bool:
        """Whether the server takes hardly any command from it."""
        return self.protocol == 2 and any(self.names.values())


class Program:
    """A program in the making.

    Args:
        seed: the same one makes the same program, as long as the same clients are blocked.
        most: clients at the most.

    Attributes:
        clients: how many there are.
        seed: its number.
    """

    def __init__(self, seed: int, *, most: int = 10) -> None:
        self.seed = seed
        self._rng = rng = random.Random(seed)
        self.clients = min(most, rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 6, 10)))
        self._speakers = [Speaker() for _ in range(self.clients)]
        self._words = Words(rng, large=rng.random() < 0.06)
        self._left = rng.randrange(4, LATEST)
        self._long = rng.random() < 0.1  # its pipelines are
        self._inline = rng.random() < 0.05
        # What several changes are told in one message depends on how they arrive: one at a time then.
        self._broadcast = rng.random() < 0.04
        self._tells = rng.random() < 0.3  # there is much talk of channels
        self._owed: list[Step] = []

    def step(self, blocked: Collection[int] = ()) -> Step | None:
        """What is said next, and by whom; None: it is over.

        Args:
            blocked: the clients that still wait for replies; they say nothing.
        """
        free = [number for number in range(self.clients) if number not in blocked and not self._speakers[number].gone]
        if not free:
            return None
        if self._left == 0:
            # Whoever has something that it should not have is found out.
            self._left = -1
            self._owed = [Step(number, (command("PING", f"end{number}"),), 1) for number in free]
        if self._left < 0:
            return self._owed.pop() if self._owed else None
        self._left -= 1
        client = self._rng.choice(free)
        # One is always left to wake the others.
        return self._say(client, may_block=len(free) > 1)

    def _say(self, client: int, *, may_block: bool) -> Step:
        speaker = self._speakers[client]
        count = self._rng.choice((1, 1, 1, 2, 3, 5, 12))
        if self._long and self._rng.random() < 0.3:
            count = 150
        if self._broadcast:
            count = 1
        said: list[bytes] = []
        replies, blocks, timed, last = 0, False, False, False
        while len(said) < count and not last:
            words, owed, table = self._request(speaker, blocks=blocks, may_block=may_block and not timed)
            waits = not speaker.multi  # it would only be queued
            blocks, timed = blocks or (waits and table is BLOCKING), timed or (waits and table is TIMED)
            last = words[0].upper() == b"QUIT"
            if blocks and (speaker.protocol == 3 or any(speaker.names.values())):
                count = 0  # what it is told unasked comes before or behind the replies to what would follow
            replies += owed
            said.append(self._written(words))
            count += owed == 0 and count > 0  # who is mute says something more
        speaker.gone = last
        return Step(client, self._pieces(b"".join(said)), replies, blocks, timed, last)

    def _request(self, speaker: Speaker, *, blocks: bool, may_block: bool) -> tuple[list[bytes], int, Table]:
        """One request, how many replies it has, and where it is taken from."""
        if speaker.skips:
            speaker.skips = False
            return self._words.one(DATA), 0, DATA
        table = PRIVATE if blocks else self._source(speaker, may_block=may_block)
        words = self._words.one(table)
        if table is PUBSUB:
            return *self._about_channels(speaker, words), table
        if table is CONTROL:
            return *self._about_itself(speaker, words), table
        # What may tell something of the proxy's own login is refused where its answer would be one among many.
        guarded = table is ODD and words[0] in {b"CLIENT", b"ACL", b"CONFIG", b"SELECT"}
        if guarded and (speaker.multi or speaker.confined):
            words = [b"PING"]
        if words[0] == b"EXEC" and not speaker.confined:
            speaker.multi = False  # one that is refused for its form discards the transaction
        return words, 1, table

    def _source(self, speaker: Speaker, *, may_block: bool) -> Table:
        may_block = (may_block or speaker.multi) and not speaker.confined
        chances: dict[str, tuple[Table, float]] = {
            "blocking": (BLOCKING, 0.05 if may_block else 0),
            "timed": (TIMED, 0.005 if may_block else 0),
            "channels": (PUBSUB, 0.2 if self._tells else 0.03),
            "itself": (CONTROL, 0.08),
            "scripts": (SCRIPTS, 0.06),
            "odd": (ODD, 0.04),
            "data": (DATA, 0.6),
        }
        tables = [table for table, _ in chances.values()]
        return self._rng.choices(tables, [chance for _, chance in chances.values()])[0]

    def _about_channels(self, speaker: Speaker, words: list[bytes]) -> tuple[list[bytes], int]:
        verb = words[0]
        if not verb.endswith(b"SUBSCRIBE"):
            return words, 1
        if speaker.multi:  # whether that is taken differs between servers
            return [b"PING"], 1
        known = speaker.names.setdefault(verb.replace(b"UN", b""), set())
        if b"UN" not in verb:
            known.update(words[1:])
            return words, max(1, len(words) - 1)
        replies = len(words) - 1 or max(1, len(known))
        known.difference_update(words[1:] or tuple(known))
        return words, replies

    def _about_itself(self, speaker: Speaker, words: list[bytes]) -> tuple[list[bytes], int]:
        if speaker.multi and words[0] in {b"CLIENT", b"HELLO"}:
            words = [b"EXEC"]
        if speaker.confined and words[0] == b"CLIENT":  # of what is wrong in two ways either may be said
            words = [b"CLIENT", b"GETNAME"]
        if speaker.protocol == 3 and self._broadcast and not speaker.multi and words[:2] == [b"CLIENT", b"TRACKING"]:
            words = [b"CLIENT", b"TRACKING", b"ON", b"BCAST"]
        match words:
            case [b"RESET"]:
                speaker.reset()
            case _ if speaker.confined:
                pass
            case [b"CLIENT", b"REPLY", b"SKIP"]:
                speaker.skips = True
                return words, 0
            case [b"MULTI"]:
                speaker.multi = True
            case [b"EXEC"] | [b"DISCARD"]:
                speaker.multi = False
            case [b"HELLO", (b"2" | b"3") as protocol, *more] if len(more) != 1:
                speaker.protocol = int(protocol)
        return words, 1

    def _written(self, words: list[bytes]) -> bytes:
        plain = all(re.fullmatch(rb"[\w@:.*+-]+", word) for word in words)
        if plain and self._inline and sum(map(len, words)) < 1000 and self._rng.random() < 0.3:
            return b" ".join(words) + self._rng.choice((b"\r\n", b"\n"))
        return command(*words)

    def _pieces(self, data: bytes) -> tuple[bytes, ...]:
        return tuple(cut(data, self._rng)) if self._rng.random() < 0.4 else (data,)
