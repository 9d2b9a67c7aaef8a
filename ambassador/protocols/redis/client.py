"""One client's conversation: what is passed on as it comes, what must wait, and how it ends.

Plain requests never get here (see `lanes`). A special one is served by a job in the session's own task, one at a time,
behind everything the client is owed; meanwhile nothing is read from it. So replies come in order whatever serves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from ambassador.errors import AmbassadorError, ClientError, CredentialError, Reason, UpstreamError
from ambassador.net.relay import End
from ambassador.net.taker import NOWHERE, Taker
from ambassador.protocols.base import Downstream, Link
from ambassador.protocols.redis import specials, subscriptions
from ambassador.protocols.redis.line import ENDED, LOST, Refusing, ServerLine, words_for
from ambassador.protocols.redis.owing import Line
from ambassador.protocols.redis.seat import Seat
from ambassador.protocols.redis.shared import SharedLine
from ambassador.wire.redis.commands import Code
from ambassador.wire.redis.messages import error
from ambassador.wire.redis.requests import PLAIN

if TYPE_CHECKING:
    from ambassador.access.base import Principal
    from ambassador.protocols.redis.hub import Hub
    from ambassador.protocols.redis.rules import Rules

HEAVY = 10.0
"""Seconds that a client has a connection of its own behind a large reply."""

GOODBYE = 5.0
"""Seconds that a client which has ended its side is owed its last replies."""

BRIEF_GOODBYE = 1.0
"""Seconds that it is kept while there is no server: drivers that have lost their patience connect anew, and many of
them would take the places of those who have not.
"""

MOST_OVERHEARD = 65536
"""Most bytes that a client may say behind a command that blocks it before nothing more is read from it."""


class Conversation(Seat, Link):
    """A client from its first command on. It is its stream's sink, and the session's link."""

    __slots__ = ("_called", "_end", "_ended", "_farewell", "_job", "_settled", "_task", "downstream", "stream")

    patient = False

    def __init__(self, downstream: Downstream, hub: Hub, rules: Rules, principal: Principal) -> None:
        super().__init__(downstream, hub, rules, principal)
        self.downstream = downstream
        self.stream = downstream.stream
        self._end: End | None = None
        self._job: Callable[[], Awaitable[None]] | None = None
        self._called: asyncio.Future[None] | None = None
        self._settled: asyncio.Future[None] | None = None
        self._task: asyncio.Task[object] | None = None
        self._ended = False
        self._farewell: asyncio.TimerHandle | None = None

    @property
    def bytes_in(self) -> int:
        return self.count

    @property
    def bytes_out(self) -> int:
        return self.sent

    @property
    def in_transaction(self) -> bool:
        return self.state.multi

    @property
    def waiting(self) -> bool:
        return not (self.owed or self._working or self.state.listening)

    def leave(self, reason: Reason) -> None:
        self.leaving = reason
        self.watched = True
        self._consider()

    def expel(self, reason: Reason) -> None:
        self.finish(End(reason, None, "self"))

    async def run(self) -> End:
        """Serve the client to its end."""
        self._task = asyncio.current_task()
        self.hub.join(self)
        try:
            if self._end is None:
                self.stream.pour(self)
            while self._end is None:
                await self._work()
        except asyncio.CancelledError:
            if self._end is None or self._task is None:
                raise
            self._task.uncancel()  # the client is gone, and what was done for it could be given up
        finally:
            self._task = None
            self._close()
        return self._end

    def finish(self, end: End) -> None:
        """It is over."""
        if self._end is not None:
            return
        self._end = end
        self.stream.unpour()
        self._call()
        if self._working and self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def fail(self, failure: AmbassadorError) -> None:
        """The client broke the protocol: behind all it is owed it is told in the server's words, and seen off."""
        if self.owed:
            self.halt(partial(self._fail_later, failure))
            return
        self.reply(error(f"ERR {failure.public}"))
        self.finish(End(failure.reason, str(failure), "self"))

    async def _fail_later(self, failure: AmbassadorError) -> None:
        await self.settled()
        self.fail(failure)

    def _close(self) -> None:
        self.hub.part(self)
        if self._farewell is not None:
            self._farewell.cancel()
        self.watched = False
        if self.pin is not None:
            self.let_pin_go(soiled=bool(self.owed or not self.state.leaves_nothing or self.is_midway))
        elif self.line is not None:
            self._disown(self.line)
        self.line = None

    def _disown(self, line: Line) -> None:
        """Replies that are still owed on a shared connection come for nobody."""
        if isinstance(line, SharedLine):
            line.wait_no_more(self)
        run = line.first
        while run is not None:
            if run.client is self:
                run.to = NOWHERE
                run.note = None
            run = run.after

    async def _work(self) -> None:
        job, self._job = self._job, None
        if job is None:
            self._called = asyncio.get_running_loop().create_future()
            await self._called
            self._called = None
            return
        self._working = True
        try:
            await job()
        finally:
            self._working = False
        if self._job is None and self._end is None:
            self._unpin_if_free()
            self.leave_pin()
            self.hear_again()
        if self._job is None and self._end is None:
            self._resume()

    def halt(self, job: Callable[[], Awaitable[None]] | None = None) -> None:
        """Take nothing more from the client until `job` is done."""
        self.halted = True
        self._job = job
        self._steer()
        self._call()

    def _call(self) -> None:
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    def _resume(self) -> None:
        try:
            self.go_on()
        except ClientError as failure:
            self.fail(failure)
            return
        self._steer()
        self._consider()

    def _steer(self) -> None:
        if self._end is not None:
            return
        # Who waits for what may never come is listened to, or nobody would notice that it has gone.
        overhears = (self.state.blocking or self.waits_for_server) and len(self.kept) < MOST_OVERHEARD
        if self.choked or (self.halted and not overhears):
            self.stream.pause_reading()
        else:
            self.stream.resume_reading()

    def overheard(self) -> None:
        """See `Asking`."""
        self._steer()

    async def settled(self) -> None:
        """Wait until the client is owed nothing."""
        while self.owed:
            self.watched = True
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled

    def special(self, code: int, request: bytes) -> None:
        """See `Asking`."""
        if code == Code.EMPTY:
            return
        if self.state.raw:
            specials.say_raw(self, request, line=code == Code.INLINE)
        elif not (specials.judge_now(self, request) if code == Code.JUDGED else self.forward_now(code, request)):
            self.halt(partial(specials.serve, self, code, request))

    def large(self, code: int) -> None:
        """See `Asking`."""
        if code < PLAIN and self.pin is None:
            self.halt(partial(specials.pin_large, self))

    def homeless(self) -> None:
        """See `Asking`."""
        if self.move_now():
            self.go_on()
        else:
            self.halt(self._find_line)

    def stalled(self) -> None:
        """See `Asking`."""
        if self.halted:
            return
        self.halted = True
        self._steer()
        line = self.pin or self.line
        if isinstance(line, ServerLine) and line.choked:
            line.when_free(self._unstall)
        else:
            self.watched = True

    def _unstall(self) -> None:
        if self.halted and not self._working and self._job is None and self._end is None:
            self._resume()

    def emptied(self) -> None:
        """See `Asking`."""
        settled = self._settled
        if settled is not None and not settled.done():
            settled.set_result(None)
        if self.pin is None and self.heavy:
            self.line = None
        self._unpin_if_free()
        lasting = self.pin is not None and not self.state.dedicated
        self.watched = lasting or self._ended or self.leaving is not None
        self.show_credential()
        self.leave_pin()
        self._unstall()
        self._consider()

    async def _find_line(self) -> None:
        """A job: get a connection; without one, what has come is answered by errors."""
        await self.settled()
        try:
            await self.house()
        except (UpstreamError, CredentialError) as trouble:
            self._refuse_kept(trouble)

    def _refuse_kept(self, trouble: AmbassadorError) -> None:
        words = words_for(trouble)
        self.line = Refusing(lambda kind: self.reply(words, kind=kind))
        try:
            self.go_on()
        except ClientError as failure:
            self.fail(failure)
        if isinstance(self.line, Refusing):
            self.line = None

    def _unpin_if_free(self) -> None:
        if self.pin is None or self.owed or self._working or self.is_midway:
            return
        if not self.state.is_free or self.heavy:
            return
        self.let_pin_go()

    def pin_lost(self) -> None:
        """See `Seat`."""
        state = self.state
        self.hub.unpinned(state.why)
        midway = self.is_midway
        broken_off = self.pin is not None and self.pin.broken_off
        ends = self.pin is not None and self.pin.ends
        self.pin = self.line = None
        self.streaming = False
        if self._end is not None:
            return
        if state.raw or state.tracking or broken_off:
            # What the server would have told it meanwhile nobody knows; a client that connects anew asks for itself.
            self.broken_off(ends=ends)
            return
        state.server_lost()
        self.look()
        self.deaf = state.listening
        if midway:
            self.swallow(ENDED if ends else LOST)
        else:
            self.hear_again()

    def hear_again(self) -> None:
        """See `Seat`. A job that is under way or waits for its turn comes first."""
        if self.deaf and not self._working and self._job is None:
            self.halt(partial(subscriptions.listen_again, self))

    def too_slow(self) -> None:
        """It does not take what it asked for, and others wait behind it."""
        self.stream.abort()  # not behind what it does not take
        words = "the client does not read its replies, and keeps others from theirs"
        self.finish(End(Reason.SLOW_CLIENT, words, "client"))

    def burdened(self) -> None:
        """See `Asking`: from the next time it is owed nothing, the client has a connection of its own for a while."""
        self.heavy_until = self.hub.clock.now() + HEAVY
        self.watched = True
        if isinstance(self.line, SharedLine) and len(self.hub.clients) > 1:
            self.line.make_way()

    def broken_off(self, *, ends: bool = False) -> None:
        """The rest of a reply will not come; it `ends`: because the credential of its connection does."""
        self.stream.close(reset=True)
        words = "the server went away in the middle of a reply"
        end = End(Reason.UPSTREAM_CLOSED, words, "upstream")
        self.finish(End(Reason.CREDENTIAL_ENDED, None, "self") if ends else end)

    @property
    def taker(self) -> Taker:
        """See `net.flow.Sink`."""
        return self

    def failed(self, failure: Exception) -> None:
        """See `Sink`."""
        if isinstance(failure, AmbassadorError):
            self.fail(failure)
        else:
            self.finish(End(Reason.INTERNAL, type(failure).__name__, "self"))

    def eof(self) -> None:
        """See `Sink`. Replies under way are still delivered, but for those that may never come."""
        self._ended = True
        if self.state.blocking or self.state.listening or self.state.raw:
            self.finish(End(Reason.CLIENT_CLOSED, None, "client"))
            return
        self.watched = True
        patience = BRIEF_GOODBYE if self.waits_for_server else GOODBYE
        self._farewell = asyncio.get_running_loop().call_later(patience, self._gone)
        self._consider()

    def _gone(self) -> None:
        self.finish(End(Reason.CLIENT_CLOSED, None, "client"))

    def lost(self, failure: BaseException | None) -> None:
        """See `Sink`."""
        words = None if failure is None or isinstance(failure, ConnectionResetError) else str(failure)
        self.finish(End(Reason.CLIENT_CLOSED, words, "client"))

    def pause(self) -> None:
        """See `Sink`: the client does not read; it shall not ask for more meanwhile."""
        self.choked = True
        self._steer()
        if self.pin is not None:
            self.pin.stream.pause_reading()
        elif isinstance(self.line, SharedLine):
            self.line.wait_for(self)

    def resume(self) -> None:
        """See `Sink`."""
        self.choked = False
        self._steer()
        if self.pin is not None:
            self.pin.stream.resume_reading()
        elif isinstance(self.line, SharedLine):
            self.line.wait_no_more(self)

    def _consider(self) -> None:
        """End, if that is wanted and this is the moment."""
        if self.owed or self._working or self._job is not None or self.halted or self._end is not None:
            return
        if self._ended:
            self._gone()
        else:
            self.leaves()

    def leaves(self) -> bool:
        """Whether it ends now that it is owed nothing, as it has been told to."""
        if self.leaving is None or self.state.in_multi:
            return False
        self.finish(End(self.leaving, None, "self"))
        return True
