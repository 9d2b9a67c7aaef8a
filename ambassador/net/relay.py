"""Relay: two streams joined until both have ended.

The hot path of the daemon. A chunk costs one callback in and one write out; there is no task, no queue and no clock.
A slow reader on one side stops the reading on the other. A half-close is passed on as a half-close, a reset as a
reset.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar, Literal

from ambassador.errors import Reason
from ambassador.net.lane import Lane
from ambassador.net.stream import Stream
from ambassador.net.taker import Taker

Who = Literal["client", "upstream", "self"]

_TRUNCATED = "the TLS connection ended without close_notify"
_REASONS: dict[Who, Reason] = {"client": Reason.CLIENT_CLOSED, "upstream": Reason.UPSTREAM_CLOSED, "self": Reason.CUT}


@dataclass(frozen=True, slots=True)
class End:
    """How a relay ended: why, in whose words, and who began it. `error` is for the log; None after a clean end."""

    reason: Reason
    error: str | None
    by: Who


class Relay:
    """Join `downstream` (the client) and `upstream` (the service).

    `upward` is the lane from the client to the service, `downward` the one back; a protocol that must look at what
    passes brings its own.
    """

    __slots__ = ("_done", "_early", "_first", "downstream", "downward", "upstream", "upward")

    truncation_resets: ClassVar[bool] = True
    """Whether a TLS side that ends without close_notify resets the other, which could not tell it from a clean end.

    A protocol whose messages carry their own length need not.
    """

    def __init__(
        self, downstream: Stream, upstream: Stream, upward: Lane | None = None, downward: Lane | None = None
    ) -> None:
        self.downstream = downstream
        self.upstream = upstream
        self.upward = upward or Lane(upstream.outlet)
        self.downward = downward or Lane(downstream.outlet)
        self._done: asyncio.Future[End] | None = None
        self._early: End | None = None
        self._first: _Side | None = None

    @property
    def bytes_in(self) -> int:
        """How much came from the client."""
        return self.upward.count

    @property
    def bytes_out(self) -> int:
        """How much came from the service."""
        return self.downward.count

    async def run(self) -> End:
        """Join the two until the end. Neither stream is closed here, but after a reset the other one is: by a
        reset behind the last byte it is owed.

        Raises:
            Exception: what a lane's `take`, or an override of `side_ended`, raised.
        """
        if self._early is not None:
            return self._early
        self._done = asyncio.get_running_loop().create_future()
        self.upward.to = self.upstream.outlet
        self.downward.to = self.downstream.outlet
        try:
            self.downstream.pour(_Side(self, "client"))
            if not self._done.done():
                self.upstream.pour(_Side(self, "upstream"))
            return await self._done
        finally:
            self._part()

    def finish(self, reason: Reason, error: str | None = None) -> None:
        """End the relay from outside, even before it runs.

        Both streams stay open, for last words; finishing twice does nothing.
        """
        self._end(End(reason, error, "self"))

    def _end(self, end: End) -> None:
        if self._done is None:
            self._early = self._early or end
        elif not self._done.done():
            self._done.set_result(end)
            self._part()

    def _part(self) -> None:
        self.downstream.unpour()
        self.upstream.unpour()

    def _failed(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
            self._part()

    def side_ended(self, by: Who) -> bool:  # noqa: ARG002 - for protocols that do something about it
        """One side sends no more: it ended, or its connection broke.

        A protocol that deals with it itself returns True. By default an end is passed on as an end, a reset as a reset.
        """
        return False

    def _eof(self, side: _Side) -> None:
        side.ended = True
        if self._dealt_with(side):
            return
        if self.truncation_resets and side.stream.truncated:
            side.other.close(reset=True)
            self._end(End(_REASONS[side.by], _TRUNCATED, side.by))
            return
        side.other.write_eof()
        if self._first is None:
            self._first = side
        else:
            first = self._first
            self._end(End(_REASONS[first.by], _TRUNCATED if first.stream.truncated else None, first.by))

    def _lost(self, side: _Side, error: BaseException | None) -> None:
        if error is None:
            side.other.abort()
            self._end(End(Reason.CUT, "the connection was closed here", "self"))
        elif side.ended or not self._dealt_with(side):
            side.other.close(reset=True)
            self._end(End(_REASONS[side.by], _words(error), side.by))

    def _dealt_with(self, side: _Side) -> bool:
        try:
            return self.side_ended(side.by)
        except Exception as error:  # noqa: BLE001 - handed to the one who awaits `run`
            self._failed(error)
            return True


class _Side:
    """The sink of one of the two streams: what it says is done to the other."""

    __slots__ = ("_relay", "by", "ended", "other", "patient", "stream", "taker")

    def __init__(self, relay: Relay, by: Literal["client", "upstream"]) -> None:
        self.taker: Taker = relay.upward if by == "client" else relay.downward
        self.ended = False
        # A service's last words are worth waiting for as long as there is a client to read them.
        self.patient = by == "upstream"
        self.by: Literal["client", "upstream"] = by
        self.stream = relay.downstream if by == "client" else relay.upstream
        self.other = relay.upstream if by == "client" else relay.downstream
        self._relay = relay

    def failed(self, error: Exception) -> None:
        self._relay._failed(error)  # noqa: SLF001 - a side is a part of its relay

    def eof(self) -> None:
        self._relay._eof(self)  # noqa: SLF001 - a side is a part of its relay

    def lost(self, error: BaseException | None) -> None:
        self._relay._lost(self, error)  # noqa: SLF001 - a side is a part of its relay

    def pause(self) -> None:
        self.other.pause_reading()

    def resume(self) -> None:
        self.other.resume_reading()


def _words(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
