"""Where a client sits: what it is, and on which connection its requests go.

A client shares a connection until a command needs one of its own: it is pinned then, and free again when nothing is
owed on it and no state of the client is left in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ambassador.errors import ClientError, CredentialError, Reason, UpstreamError
from ambassador.net.taker import NOWHERE, Taker
from ambassador.protocols.redis.lanes import Asking
from ambassador.protocols.redis.line import Answer, PrivateLine, Refusing, ServerLine
from ambassador.protocols.redis.owing import Run
from ambassador.protocols.redis.slot import is_permanent
from ambassador.protocols.redis.state import FORWARDED, Pin, Silence, State
from ambassador.wire.redis.commands import Kind, kind_of
from ambassador.wire.redis.login import Pairs
from ambassador.wire.redis.messages import Protocol
from ambassador.wire.redis.requests import INSIDE, LARGE, PLAIN, Requests

if TYPE_CHECKING:
    from ambassador.access.base import Principal
    from ambassador.protocols.base import Downstream
    from ambassador.protocols.redis.hub import Hub
    from ambassador.protocols.redis.rules import Rules

L = TypeVar("L", bound=ServerLine)

THRESHOLD = 65536
"""Bytes of a request beyond which it goes, as it comes, on a connection of the client's own."""

# Far from the server's own ids, which count up from one: CLIENT KILL or UNBLOCK of such a number is to meet nobody.
_NUMBERS = itertools.count((1 << 50) + 1)

_DEDICATED = "dedicated"

_NOTHING: dict[bytes, int] = {}
"""The classes of commands where each is to be looked at."""


class Seat(Asking):
    """A client's place among the connections of a hub.

    Args:
        rules: what clients of this listener may do.

    Attributes:
        principal: who it has proven to be; None: it must do so again.
        number: what CLIENT ID tells; no other client has it.
        deaf: its subscriptions went away with a server, and are to be renewed.
        pin: the connection of its own, if it has one now.
        leaving: why it shall end as soon as that can be; None.
        choked: it does not read.
        waits_for_server: a connection is being looked for.
    """

    __slots__ = (
        "_in_vain", "_said", "_working", "choked", "deaf", "heavy_until", "hub", "leaving", "number", "pin",
        "principal", "rules", "state", "waits_for_server",
    )  # fmt: skip

    def __init__(self, downstream: Downstream, hub: Hub, rules: Rules, principal: Principal) -> None:
        super().__init__(downstream.stream.outlet, Requests({}, THRESHOLD), downstream.requests)
        self.hub = hub
        self.rules = rules
        self.principal: Principal | None = principal
        self.number = next(_NUMBERS)
        self.state = State(dedicated=hub.options.mode == _DEDICATED)
        self.pin: PrivateLine | None = None
        self.deaf = False
        self.heavy_until = 0.0
        self.leaving: Reason | None = None
        self.choked = False
        self.waits_for_server = False
        self._working = False
        self._in_vain: UpstreamError | CredentialError | None = None  # why no connection was to be had
        self._said = 0  # bytes that had been received by then

    @property
    def way(self) -> tuple[Protocol, int]:
        """What connections for this client must have."""
        return self.state.protocol, self.state.database

    @property
    def heavy(self) -> bool:
        """Whether the client has been sent a large reply of late, for which others would have had to wait."""
        return self.heavy_until > self.hub.clock.now()

    def move_now(self) -> bool:
        """Go to another shared connection without waiting, if that can be done."""
        if self.owed or self.state.dedicated or self.heavy or not self.rules.classes:
            return False
        self.line = self.hub.ready(self.way)
        self.look()  # its first request is as plain as the others
        return self.line is not None

    async def house(self) -> None:
        """Have a line to ask on, shared or one's own, whichever it has to be.

        Raises:
            UpstreamError, CredentialError: none was to be had.
        """
        if self.state.dedicated:
            await self.take_pin(Pin.DEDICATED)
        elif self.heavy:
            await self.take_pin(Pin.LARGE)
        elif self.pin is None and (self.line is None or not self.line.open):
            self.line = await self.patiently(self.hub.shared(self.way))
        self.rules.learn(self.hub.commands)
        self.look()

    async def patiently(self, reaching: Coroutine[Any, Any, L]) -> L:
        """The connection that `reaching` waits for. What the client had said when that was in vain is not worth
        another wait, or each request of a pipeline would have its own.

        Raises:
            UpstreamError, CredentialError: none was to be had.
        """
        if self._in_vain is not None and self.count - len(self.kept) <= self._said:
            reaching.close()
            raise self._in_vain.with_traceback(None)
        self._in_vain = None
        self.waits_for_server = True
        self.overheard()  # it is listened to, or nobody would notice that it has gone
        try:
            return await reaching
        except (UpstreamError, CredentialError) as trouble:
            if not is_permanent(trouble):  # that took no time, and may concern this request alone
                self._in_vain, self._said = trouble, self.count
            raise
        finally:
            self.waits_for_server = False

    def take_heart(self) -> None:
        """The next look for a connection is worth a wait, whatever came of the last one."""
        self._in_vain = None

    async def greet(self, protocol: Protocol) -> Pairs:
        """Go to where `protocol` is spoken; returns what the server says of itself there.

        Raises:
            UpstreamError, CredentialError: it was not to be had.
            ClientError: the server knows no HELLO.
        """
        line = await self.patiently(self.hub.shared((protocol, self.state.database)))
        if line.facts.hello is None:
            raise ClientError(Reason.UNSUPPORTED, "ERR unknown command 'HELLO'")
        self.line = line
        return list(line.facts.hello)

    async def use(self, database: int) -> None:
        """Go to where `database` is selected.

        Raises:
            UpstreamError, CredentialError: it was not to be had.
            ClientError: the server does not have it.
        """
        try:
            self.line = await self.patiently(self.hub.shared((self.state.protocol, database)))
        except UpstreamError as refused:
            if refused.code == "SELECT":
                raise ClientError(Reason.UNSUPPORTED, refused.public) from refused
            raise
        self.state.database = database

    async def take_pin(self, why: Pin) -> PrivateLine:
        """Have a connection of one's own.

        Raises:
            UpstreamError, CredentialError: none was to be had.
        """
        if self.pin is None:
            self.hold_pin(await self.patiently(self.hub.private(self.way)), why)
        if self.pin is None:
            raise AssertionError("it has just been taken")
        return self.pin

    def hold_pin(self, line: PrivateLine, why: Pin) -> None:
        """Have `line` for one's own."""
        self.pin = self.line = line
        self.streaming = True
        line.listener = self.to
        line.holder = self.pin_lost
        line.moved = self.leave_pin
        self.state.why = why
        self.hub.pinned(why)
        if self.choked:
            line.stream.pause_reading()
        self.state.credential_due = self.hub.is_stale(line)
        self.watched = self.watched or not self.state.dedicated or self.state.credential_due

    def let_pin_go(self, *, soiled: bool = False) -> None:
        """Share again."""
        pin, self.pin = self.pin, None
        if pin is None:
            return
        self.hub.unpinned(self.state.why)
        pin.soiled = pin.soiled or soiled
        self.streaming = False
        pin.listener = NOWHERE
        pin.moved = None
        pin.stream.resume_reading()
        self.line = self.hub.ready(self.way)
        self.hub.give_back(pin)

    @property
    def is_midway(self) -> bool:
        """A part of a plain request has gone to the client's own connection, and the rest has not come yet."""
        walk = self.walk
        return self.streaming and walk.stop in {INSIDE, LARGE} and 0 <= walk.code < PLAIN

    def forward(self, code: int, request: bytes) -> None:
        """Send a request on the client's own connection; its one reply goes to the client."""
        line = self.pin
        if line is None:
            raise AssertionError("only a client with a connection of its own has something sent there")
        to: Taker = NOWHERE if self.mute else self.to
        run = Run(self, to, 1)
        run.kind = code if code < PLAIN else kind_of(code)
        then = self.state.sent(code)
        if then is not None:
            answer = Answer(then, to, most=16)
            run.to, run.note, run.apart = answer, answer, True
        line.append(run)
        line.to.take(request)

    async def ask_server(self, code: int, data: bytes) -> None:
        """Send a request on: a plain one where all plain ones go, another one on a connection of the client's own.

        Raises:
            UpstreamError, CredentialError: none was to be had.
        """
        if code >= PLAIN:
            await self.take_pin(FORWARDED.get(code, Pin.UNKNOWN))
        self.ask_here(code, data)

    def ask_here(self, code: int, data: bytes) -> None:
        """Send a request on where the client is now."""
        if self.pin is not None:
            self.forward(code, data)
        elif self.line is not None:
            run = Run(self, self.outlet, 1)
            run.kind = code
            run.asked = data if self.line.remembers else None
            self.line.append(run)
            self.line.to.take(data)

    async def question(self, *words: bytes | str | int) -> bytes:
        """Ask something ourselves on the client's own connection.

        Raises:
            UpstreamError: the server went away.
        """
        if self.pin is None:
            raise AssertionError("only a client with a connection of its own has something asked there")
        pin = self.pin
        pin.asked += 1  # not in a finally: a client that leaves in the moment of the answer never learns of it
        reply = await pin.question(*words)
        pin.asked -= 1
        if reply is None:
            raise UpstreamError(Reason.UPSTREAM_CLOSED, "the server closed the connection")
        return pin.translate(reply, self) if reply.startswith(b"-") else reply

    def reply(self, words: bytes, *, kind: int = Kind.CONNECTION, denied: bool = False) -> None:
        """Answer the client ourselves; `denied`: with what the listener's policy says."""
        counts = self.metrics[kind]
        if denied:
            counts.refused += 1
        elif words.startswith(b"-"):
            counts.error += 1
        else:
            counts.ok += 1
        if not self.mute:
            self.sent += len(words)
            self.to.take(words)

    @property
    def outlet(self) -> Taker:
        """Takes replies for the client; nobody does while it wants none."""
        return NOWHERE if self.mute else self.to

    def look(self) -> None:
        """Have the scan stop at what must be looked at now: at everything, or at what is special."""
        watchful = self.principal is None or self.state.lost == "multi" or self.state.raw
        watchful = watchful or self.state.silence is Silence.NEXT
        self.walk.classes = _NOTHING if watchful else self.rules.classes

    def proven(self, principal: Principal | None) -> None:
        """It has shown who it is; None: it must do so again."""
        self.principal = principal
        self.look()

    @property
    def shown_name(self) -> bytes:
        """What a client is told it is called."""
        name = "" if self.principal is None else self.principal.name
        return name.encode("utf-8", "surrogateescape") or b"default"

    async def call_itself(self, name: bytes) -> None:
        """Take the client's name for itself; a server whose connection it has all the time is told as well."""
        self.state.name = name or None
        if self.state.dedicated and self.pin is not None:
            await self.question("CLIENT", "SETNAME", name)

    def end_transaction(self) -> None:
        """It is over, without the server having said so."""
        self.state.multi = self.state.begun = False

    def found_again(self) -> None:
        """The client has been told what it lost when the server went away."""
        self.state.lost = ""
        self.look()

    def turn_raw(self, why: Pin) -> None:
        """From here on what the server sends is not looked at, and nearly nothing is asked."""
        if self.pin is None:
            raise AssertionError("only a connection of the client's own becomes something else")
        self.state.raw = self.pin.raw = True
        self.hub.unpinned(self.state.why)
        self.hub.pinned(why)
        self.state.why = why
        self.look()

    def show_credential(self) -> None:
        """Show the new credential on the client's own connection, if that is due and can be done now."""
        state, pin, credential = self.state, self.pin, self.hub.upstream.credential
        if not state.credential_due or pin is None or credential is None:
            return
        if state.in_multi or self.is_midway or state.confined or state.raw:
            self.watched = True
            return
        state.credential_due = False
        pin.reauthenticate(credential)

    def leave_pin(self) -> None:
        """Go from a server that is not what is wanted any more, or that no longer knows us soon: as soon as nothing is
        lost by it."""
        pin = self.pin
        if pin is None or (pin.endpoint_stays and not pin.is_outlived):
            return
        if self.owed or self.is_midway or not self.state.leaves_nothing:
            self.watched = True
        elif not pin.endpoint_stays:
            pin.drop()
        elif not pin.owed:  # else it just shows a newer one, or we ask something ourselves
            pin.hub.rotating.end(pin, "left")

    def swallow(self, words: bytes) -> None:
        """Throw away the request under way, and answer it so."""
        self.streaming = True

        def answer(kind: int) -> None:
            self.line, self.streaming = None, False
            self.reply(words, kind=kind)
            self.hear_again()

        self.line = Refusing(answer)

    def forward_now(self, code: int, request: bytes) -> bool:
        """Pass on a special request at once, if all that it needs is a connection of the client's own."""
        state = self.state
        if code not in FORWARDED or state.lost or state.confined or self.walk.classes is not self.rules.classes:
            return False
        if not self.rules.trusts(code) or not self.walk.classes:
            return False
        if self.pin is None:
            if self.owed or self.leaving is not None:
                return False
            line = self.hub.idle(self.way)
            if line is None:
                return False
            self.hold_pin(line, FORWARDED[code])
        self.forward(code, request)
        return True

    def start_over(self) -> None:
        """Be as in the beginning."""
        self.let_pin_go(soiled=True)
        self.mute = self.deaf = False
        self.state = State(dedicated=self.state.dedicated)
        self.line = None
        self.look()

    def rotated(self) -> None:
        """There is a new credential: show it on the client's own connection, as soon as that can be done."""
        if self.pin is not None:
            self.state.credential_due = True
            self.watched = True
            self.show_credential()

    def pin_lost(self) -> None:
        """The server of the client's own connection is gone."""

    def hear_again(self) -> None:
        """Renew the subscriptions that went away with a server, if there are such."""
