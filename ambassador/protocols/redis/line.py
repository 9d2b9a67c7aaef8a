"""One server connection and what it is used for: shared by many clients, or lent to one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ambassador.errors import AmbassadorError, Reason, UpstreamError
from ambassador.net.gather import Gathering
from ambassador.net.taker import NOWHERE, Taker
from ambassador.protocols.redis.login import ServerFacts
from ambassador.protocols.redis.owing import FAILED, Creditor, Line, Run
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.pool import State
from ambassador.upstreams.upstream import Lease
from ambassador.wire.redis.login import auth_request
from ambassador.wire.redis.messages import OK, Protocol, error, error_word, request
from ambassador.wire.redis.replies import Replies
from ambassador.wire.redis.requests import Requests

if TYPE_CHECKING:
    from ambassador.credentials.credential import Credential
    from ambassador.protocols.redis.client import Conversation
    from ambassador.protocols.redis.hub import Hub
    from ambassador.protocols.redis.seat import Seat

LOST = error("ERR the connection to the upstream server was lost before it answered")
"""What a client gets for a command that may or may not have been carried out."""

AUTH_REFUSED = frozenset({"NOAUTH", "WRONGPASS"})

ENDED = error("ERR the credential of the connection to the upstream server has ended before it answered")
"""The same, where we had to close the connection."""

UNFOLLOWED = error("ERR the upstream server sent what the proxy cannot follow, and the connection to it was closed")
"""What it gets for a command whose answer breaks the protocol, is nested too deep, or lies behind one that does."""

LOGGED_OUT = error("ERR the upstream server no longer accepts the proxy's login; try again")
"""What a client gets for a command that was not carried out for that reason."""


MOST_KEPT = 1 << 24
"""Most bytes of a reply to a question of ours: CLIENT LIST has some hundred for each client."""


class Answer(Taker):
    """Keeps replies to what we ask ourselves, or only looks at how replies to the client begin.

    As a note it calls `then` with the first `most` bytes; with None when the server has gone.
    """

    __slots__ = ("_most", "_then", "_to", "data")

    def __init__(self, then: Callable[[bytes | None], None], to: Taker = NOWHERE, *, most: int = MOST_KEPT) -> None:
        self._then = then
        self._to = to
        self._most = most
        self.data = b""

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        if len(self.data) < self._most:
            self.data += chunk[: self._most - len(self.data)]
        self._to.take(chunk)

    def answered(self) -> None:
        """See `Note`."""
        self._then(self.data)

    def lost(self) -> None:
        """See `Note`."""
        self._then(None)


class ServerLine(Line):
    """A `Line` on a logged-in stream, whose sink it is.

    Attributes:
        version: of the credential it has shown last.
        since: when it was opened.
        misplaced: the server has turned out not to be what is wanted.
        ends: it is closed because the credential that it has shown ends.
        parting: what those are told who are owed something when it closes.
        probed_at: when the sign of life that is missing was asked for; None: none is. `heard` is what `count` was then.
    """

    __slots__ = (
        "_stalled", "database", "ends", "heard", "hub", "lease", "misplaced", "parting", "probed_at", "protocol",
        "since", "stream", "version",
    )  # fmt: skip

    patient = True

    def __init__(self, hub: Hub, lease: Lease, protocol: Protocol, database: int, *, gathers: bool) -> None:
        stream = lease.stream
        super().__init__(Gathering(stream.outlet) if gathers else stream.outlet, Replies())
        self.hub = hub
        self.lease = lease
        self.stream = stream
        self.protocol = protocol
        self.database = database
        self.version = lease.connection.credential_version
        self.since = hub.clock.now()
        self.misplaced = False
        self.ends = False
        self.parting = LOST
        self.heard = 0
        self.probed_at: float | None = None
        self._stalled: list[Callable[[], None]] = []

    @property
    def facts(self) -> ServerFacts:
        """What the login learned."""
        facts: ServerFacts = self.lease.connection.facts
        return facts

    @property
    def taker(self) -> Taker:
        """See `net.flow.Sink`."""
        return self

    @property
    def endpoint(self) -> Endpoint:
        """Where it is connected to, and as what that was known at the time."""
        return self.lease.connection.endpoint

    @property
    def endpoint_stays(self) -> bool:
        """Whether the upstream still has the endpoint it is connected to, and it is what is wanted."""
        return not self.misplaced and self.hub.keeps(self.endpoint)

    @property
    def is_outlived(self) -> bool:
        """Whether the credential that it has shown ends, and there is a newer one."""
        return self.hub.upstream.is_outlived(self.version)

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it."""
        return False

    def probe_answered(self) -> None:
        """The server has given its sign of life."""
        self.probed_at, self.heard = None, self.count

    def begin(self) -> None:
        """Listen to the server from now on."""
        self.hub.live.add(self)
        self.stream.pour(self)

    # ---- asking for ourselves

    def say(self, *words: bytes | str | int, then: Callable[[bytes | None], None]) -> None:
        """Send a command of our own behind all others; `then` gets its reply, which nobody else sees."""
        self.expect(Answer(then), 1)
        self.to.take(request(*words))

    def question(self, *words: bytes | str | int) -> asyncio.Future[bytes | None]:
        """The same, with the reply to be awaited; None: the server has gone."""
        reply: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        # Who asked may have been cancelled meanwhile.
        self.say(*words, then=lambda found: None if reply.done() else reply.set_result(found))
        return reply

    def expect(self, answer: Answer, count: int) -> Run:
        """Owe `count` replies to `answer`."""
        run = Run(None, answer, count)
        run.note = answer
        run.apart = True
        self.append(run)
        return run

    def reauthenticate(self, credential: Credential) -> None:
        """Show `credential` on the open connection: what is under way goes on."""
        if credential.password is None or credential.version == self.version:
            return
        name = None if credential.username is None else credential.username.encode()
        version = credential.version

        def judged(reply: bytes | None) -> None:
            if reply == OK:
                self.lease.restamp(version)
                self.version = version
            elif reply is not None:
                self.hub.login_refused(version)
                self.kept_version()

        self.expect(Answer(judged, most=16), 1)
        self.to.take(auth_request(name, credential.password.reveal()))

    def kept_version(self) -> None:
        """It has shown a newer credential in vain. For a derived class."""

    # ---- called by the stream

    def failed(self, failure: Exception) -> None:
        """See `Sink`: the server has broken the protocol, or we have."""
        self.hub.line_failed(self, failure)
        self.parting = UNFOLLOWED
        self.drop()

    def eof(self) -> None:
        """See `Sink`."""
        self.drop()

    def lost(self, _: BaseException | None) -> None:
        """See `Sink`."""
        self.drop()

    def pause(self) -> None:
        """See `Sink`: the server does not read."""
        self.choked = True

    def resume(self) -> None:
        """See `Sink`."""
        self.choked = False
        stalled, self._stalled = self._stalled, []
        for go_on in stalled:
            go_on()

    def when_free(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once the server reads again, or is gone."""
        self._stalled.append(go_on)

    # ---- ends

    def drop(self) -> None:
        """The server is gone, or has to go: whoever is owed something is told."""
        if self.gone:
            return
        self.gone = True
        self.open = False
        self.stream.unpour()
        self.excuse(ENDED if self.ends else self.parting)
        self.lease.release()
        self.resume()
        self.hub.line_gone(self)

    def excuse(self, words: bytes) -> None:
        """Answer everything that is owed with an error; who has half a reply cannot be told, and is cut."""
        run, self.first, self.last = self.first, None, None
        halfway = run.client if run is not None and self.cut_short else None
        if halfway is not None:
            cast("Conversation", halfway).broken_off(ends=self.ends)
        while run is not None:
            following, run.after = run.after, None
            self.owed -= run.count
            if run.note is not None:
                run.note.lost()
            if run.client is not None and run.client is halfway:
                run.to = NOWHERE  # it would take the words for the rest of its reply
            excuse(run, words)
            run = following

    # ---- replies that concern our login

    def on_error(self, run: Run, error: bytes) -> bytes:
        """See `Line`. What the server says of our login is for us; a client is told in words of our own."""
        return error if run.client is None else self.translate(error, cast("Seat", run.client))

    def translate(self, error: bytes, client: Seat) -> bytes:
        """What a client is told where the server says `error`; and what follows of it for us."""
        word = error_word(error)
        if word in AUTH_REFUSED:
            self.hub.login_refused(self.version)
            self.retire()
            return LOGGED_OUT
        if word == "READONLY":
            self.hub.demoted(self)
            client.watched = True  # it may have to move, once it is owed nothing
        return self.hub.disguise(error, client)

    def retire(self) -> None:
        """Take no more requests; go once the last reply is delivered."""
        raise NotImplementedError


class PrivateLine(ServerLine):
    """Lent to one client at a time.

    Attributes:
        holder: is told when the server goes away; `moved` when it should be left as soon as that can be.
        soiled: it has a state that the next client must not find; it is closed and not lent again.
        asked: questions of ours for its client that it has not heard the answers of: what they have changed is not
            known, so without it the connection is not lent again.
    """

    __slots__ = ("asked", "holder", "idle_since", "moved", "soiled")

    def __init__(self, hub: Hub, lease: Lease, protocol: Protocol, database: int) -> None:
        super().__init__(hub, lease, protocol, database, gathers=False)
        self.holder: Callable[[], None] | None = None
        self.moved: Callable[[], None] | None = None
        self.soiled = False
        self.asked = 0
        self.idle_since = 0.0

    @property
    def is_idle(self) -> bool:
        """See `ServerLine`: it is kept for the next client."""
        return self.lease.connection.state is State.IDLE

    def retire(self) -> None:
        """See `ServerLine`: its holder goes on with it, and nobody after it."""
        self.soiled = True

    def kept_version(self) -> None:
        """See `ServerLine`: if what it has shown ends, its holder has waited for this."""
        if self.moved is not None and self.is_outlived:
            self.moved()

    def drop(self) -> None:
        """See `ServerLine`."""
        if self.gone:
            return
        super().drop()
        # Unless it was given back on the way, by a client that needs it no more once it is owed nothing.
        holder, self.holder = self.holder, None
        if holder is not None:
            holder()


class Refusing(Line):
    """In the place of a server that cannot be had: `answer` is told of each plain request, by its kind."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Callable[[int], None]) -> None:
        super().__init__(NOWHERE, Replies())
        self._answer = answer

    def ask(self, client: Creditor, data: bytes, walk: Requests) -> None:  # noqa: ARG002 - nothing is sent
        """See `Line`."""
        for _ in range(walk.count):
            self._answer(walk.kind)


PASSED_ON = {
    "LOADING": "the upstream server is loading its data",
    "MASTERDOWN": "the upstream server's link to its primary is down",
    "BUSY": "the upstream server is busy running a script",
}
"""Words of the server that tell a driver what to do, with a text of ours."""


def words_for(trouble: AmbassadorError) -> bytes:
    """What a client is told when no connection to the server is to be had."""
    code = trouble.code if isinstance(trouble, UpstreamError) else None
    return error(f"{code} {PASSED_ON[code]}" if code in PASSED_ON else f"ERR {trouble.public.removeprefix('ERR ')}")


def excuse(run: Run, words: bytes) -> None:
    """Answer what `run` is still owed with errors."""
    client = run.client
    if client is None:
        return
    client.owed -= run.count
    if client.metrics:
        _count_errors(run, client)
    client.sent += len(words) * run.count
    run.to.take(words * run.count)
    if client.owed == 0 and client.watched:
        client.emptied()


def _count_errors(run: Run, client: Creditor) -> None:
    done = run.total - run.count
    if run.kinds is None:
        client.metrics[run.kind].ok += done - run.errors
        client.metrics[run.kind].error += run.count
        return
    for index, kind in enumerate(run.kinds):
        if index >= done:
            client.metrics[kind].error += 1
        elif kind != FAILED:
            client.metrics[kind].ok += 1


def broken_protocol(failure: Exception) -> str:
    """For the log: what a server did that cannot be followed."""
    if isinstance(failure, UpstreamError):
        return str(failure)
    return f"{Reason.INTERNAL}: {type(failure).__name__}"
