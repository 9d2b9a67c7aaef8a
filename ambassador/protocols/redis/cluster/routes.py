"""Which node a request is for, or which ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ambassador.errors import ClientError, Reason
from ambassador.wire.redis.cluster import CROSSSLOT
from ambassador.wire.redis.commands import Command, find
from ambassador.wire.redis.keys import keys_of, slot
from ambassador.wire.redis.place import Place
from ambassador.wire.redis.split import BY_KEY, BY_NODE, Join, Part, split

ANY: Final = -1
"""Whichever node."""

HOME: Final = -2
"""One node for all that has to meet: whoever publishes and whoever is subscribed."""

Target: TypeAlias = int | Place
"""A slot, `ANY`, `HOME`, or a certain node."""

_MEETING: Final = frozenset({b"PUBLISH", b"PUBSUB"})


@dataclass(slots=True)
class Route:
    """Where a request goes.

    Attributes:
        target: if to one node.
        parts: if it is split by keys.
        every: if all nodes are asked.
        how: how replies are joined, in the last two cases.
    """

    target: Target = ANY
    parts: list[Part] = field(default_factory=list)
    every: bool = False
    how: Join | None = None


class Routes:
    """The ways of all commands.

    Attributes:
        table: the nodes' commands.
        single: the place of the only key of those commands that have one, always at the same place.
    """

    def __init__(self, table: Mapping[bytes, Command]) -> None:
        self.table = table
        self.single = {name: place for name, command in table.items() if (place := _only_key(command))}

    def slots(self, words: list[bytes]) -> set[int]:
        """The slots of a request's keys and sharded channels; none where they cannot be known."""
        command = find(words, self.table)
        places = None if command is None else keys_of(words, command, channels=True)
        return {slot(words[place]) for place in places or ()}

    def one(self, words: list[bytes]) -> Target:
        """The one target of a request.

        Raises:
            ClientError: its keys lie in several slots.
        """
        slots = self.slots(words)
        if len(slots) > 1:
            raise ClientError(Reason.UNSUPPORTED, CROSSSLOT)
        return slots.pop() if slots else HOME if words[0].upper() in _MEETING else ANY

    def find(self, words: list[bytes]) -> Route:
        """Where a request goes that may be split.

        Raises:
            ClientError: its keys lie in several slots, and it cannot be split.
        """
        name = words[0].upper()
        step, how = BY_KEY.get(name, (0, None))
        if how is not None and len(words) > step and (len(words) - 1) % step == 0:
            parts = split(words, step)
            return Route(parts[0].slot) if len(parts) == 1 else Route(parts=parts, how=how)
        whole = name + b"|" + words[1].upper() if len(words) > 1 else name
        how = BY_NODE.get(name) or BY_NODE.get(whole)
        return Route(self.one(words)) if how is None else Route(every=True, how=how)


def _only_key(command: Command) -> int:
    """The place of a command's only key; 0 when there may be others, or it may be elsewhere."""
    if command.subcommands or command.name in BY_KEY or len(command.key_specs) != 1:
        return 0
    spec = command.key_specs[0]
    simple = spec.known and not spec.keyword and spec.count is None and spec.last == 0 and spec.first == 0
    words = [b""] * (spec.begin + 1)
    return spec.begin if simple and keys_of(words, command, channels=True) == [spec.begin] else 0
