"""Sink: where a poured stream's bytes and events go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Sink(Protocol):
    """Takes what a stream gives. Called from the event loop: must not block, and not raise."""

    @property
    def data(self) -> Callable[[bytes], None]:
        """Takes the next bytes. Looked up once, when pouring begins."""

    def eof(self) -> None:
        """The peer sends no more; writing to it is still possible. `stream.truncated` says if TLS ended unsaid."""

    def lost(self, error: BaseException | None) -> None:
        """The connection is gone: through the peer or the network (`error`), or closed here (None)."""

    def pause(self) -> None:
        """Too much written to this stream is still unsent: write no more for now."""

    def resume(self) -> None:
        """Write again."""


class Events(Protocol):
    """What a transport tells besides bytes, as asyncio.Protocol names it."""

    def eof_received(self) -> bool:
        """FIN has come; True keeps the transport open."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""

    def pause_writing(self) -> None:
        """Too much is unsent."""

    def resume_writing(self) -> None:
        """Most of it has left."""


class Poured(asyncio.Protocol):
    """What a plain transport calls while its stream is poured.

    `data_received` is the sink's own function: between the event loop and the sink no frame of ours is run.
    """

    __slots__ = ("_events", "data_received")

    def __init__(self, events: Events, data: Callable[[bytes], None]) -> None:
        self._events = events
        self.data_received = data  # type: ignore[method-assign,assignment]  # the point of this class

    def eof_received(self) -> bool:
        """See `Events`."""
        return self._events.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `Events`."""
        self._events.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `Events`."""
        self._events.pause_writing()

    def resume_writing(self) -> None:
        """See `Events`."""
        self._events.resume_writing()
