"""The life of one client connection: its phases, its ends, and what is told, counted and logged of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest

from ambassador.access.base import Principal
from ambassador.config.schema import ProxyProtocol, ServerTls
from ambassador.errors import AmbassadorError, ClientError, Overloaded, Reason, UpstreamError
from ambassador.net.relay import End
from ambassador.net.stream import Stream
from ambassador.net.tls import ServerContexts
from ambassador.protocols.base import Attach, Downstream, Hello
from ambassador.proxy.session import Phase, Session
from ambassador.upstreams.target import Target
from ambassador.wire.proxy_header import Endpoint, build_v1
from tests.support.certificates import Authority
from tests.support.house import until
from tests.support.streams import stream_pair
from tests.unit.proxy.conftest import NotedLink, Scene

Ends = tuple[Stream, Stream]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """The daemon's end of a client's connection, and the client's."""
    async with stream_pair() as pair:
        yield pair


def make(scene: Scene, stream: Stream) -> Session:
    return Session(stream, scene.plan, scene.clock, lambda: None)


def begin(scene: Scene, stream: Stream) -> Session:
    """A session in a task of its own, as a listener makes it."""
    session = make(scene, stream)
    session.task = asyncio.create_task(session.run())
    return session


async def ended(session: Session) -> None:
    assert session.task is not None
    async with asyncio.timeout(5):
        await session.task
    assert session.phase is Phase.CLOSED


async def everything(client: Stream) -> bytes:
    said = b""
    async with asyncio.timeout(5):
        while data := await client.read():
            said += data
    return said


async def relaying(session: Session) -> NotedLink:
    """Wait until the session has joined its two sides."""
    await until("the two sides to be joined", lambda: session.link is not None)
    assert isinstance(session.link, NotedLink)
    return session.link


# ---- a whole life


async def test_a_session_is_accepted_relayed_and_told_in_one_line(scene: Scene, ends: Ends) -> None:
    near, client = ends
    address = near.peer.address
    session = begin(scene, near)
    client.write(b"ping")
    assert await client.read() == b"ping"
    assert session.phase is Phase.RELAY
    await scene.clock.advance(2.5)
    client.write_eof()
    assert await everything(client) == b""
    await ended(session)
    line = scene.end()
    assert (
        line.items()
        >= {
            "level": "info",
            "session": session.id,
            "listener": "front",
            "client": address,
            "reason": "client_closed",
            "user": "app",
            "database": "orders",
            "upstream": "behind",
            "endpoint": scene.server.address,
            "phase": "relay",
            "bytes_in": 4,
            "bytes_out": 4,
            "duration_ms": 2500.0,
        }.items()
    )
    assert "error" not in line
    assert scene.results == {"client_closed": 1}
    assert (scene.plan.metrics.bytes_in, scene.plan.metrics.bytes_out) == (4, 4)
    assert scene.plan.metrics.session_seconds.count == 1


async def test_sessions_have_distinct_names(scene: Scene, ends: Ends) -> None:
    assert make(scene, ends[0]).id != make(scene, ends[0]).id


async def test_a_client_that_opens_and_closes_is_no_news(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        assert await downstream.stream.read() == b""
        raise ClientError(Reason.CLIENT_CLOSED, "without a word")

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    ends[1].write_eof()
    await ended(session)
    assert scene.end()["level"] == "debug"
    assert scene.end()["phase"] == "accept"
    assert await everything(ends[1]) == b""


# ---- refusals


@pytest.mark.parametrize(
    "error",
    [
        ClientError(Reason.ACCESS_DENIED, "the log's", public="no"),
        UpstreamError(Reason.CONNECT_FAILED, "the log's", public="no"),
        Overloaded(Reason.TOO_MANY_CONNECTIONS, "the log's", public="no"),
    ],
)
async def test_a_refused_client_hears_the_public_words_and_the_log_the_others(
    scene: Scene, ends: Ends, error: AmbassadorError
) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        raise error

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == f"{error.reason}: no".encode()
    await ended(session)
    assert scene.end().items() >= {"level": "warning", "reason": error.reason, "error": "the log's"}.items()
    assert scene.results == {error.reason: 1}


@pytest.mark.parametrize(("reveal", "words"), [(False, b"no"), (True, b"10.0.0.7 is down")])
async def test_the_operator_s_words_are_told_only_where_the_upstream_says_so(
    scene: Scene, ends: Ends, reveal: bool, words: bytes
) -> None:
    async def relay(downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        raise UpstreamError(Reason.CONNECT_FAILED, "10.0.0.7 is down", public="no")

    scene.protocol.relaying = relay
    scene.change(upstream={"reveal_errors": reveal})
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b"connect_failed: " + words
    await ended(session)


async def test_nothing_is_revealed_before_there_is_an_upstream(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        raise ClientError(Reason.ACCESS_DENIED, "the log's", public="no")

    scene.protocol.accepting = accept
    scene.change(upstream={"reveal_errors": True})
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b"access_denied: no"
    await ended(session)


async def test_a_server_that_hangs_up_during_the_login_is_news_to_the_client_and_to_the_log(
    scene: Scene, ends: Ends
) -> None:
    async def relay(downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        raise UpstreamError(Reason.UPSTREAM_CLOSED, "10.0.0.7 hung up", public="no")

    scene.protocol.relaying = relay
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b"upstream_closed: no"
    await ended(session)
    assert scene.end()["level"] == "warning"


async def test_who_the_client_says_it_is_stands_in_the_log_also_when_it_is_refused(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        downstream.introduce(Hello("mallory", "orders"))
        raise ClientError(Reason.AUTH_FAILED, "no")

    scene.protocol.accepting = accept
    await ended(begin(scene, ends[0]))
    assert scene.end().items() >= {"user": "mallory", "database": "orders"}.items()


@pytest.mark.parametrize("draining", [False, True])
async def test_a_session_counts_until_its_last_words_have_left(scene: Scene, draining: bool) -> None:
    words = b"x" * 2_000_000

    async def relay(downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        downstream.stream.write(words)
        if draining:
            scene.plan.drain.start()
        return End(Reason.UPSTREAM_CLOSED, None, "upstream")

    scene.protocol.relaying = relay
    async with stream_pair(unix=True) as (near, client):
        session = begin(scene, near)
        await until("the session to be over", lambda: session.phase is Phase.CLOSED)
        await asyncio.sleep(0.1)
        assert session.task is not None
        assert not session.task.done()
        assert await everything(client) == words
        await ended(session)


async def test_a_cancel_request_gets_no_answer(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        raise ClientError(Reason.CANCEL_REQUEST, "done")

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b""
    await ended(session)
    assert scene.end()["level"] == "info"


async def test_a_client_that_does_not_finish_its_login_is_told(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        while True:
            await downstream.stream.read()

    scene.protocol.accepting = accept
    scene.limit(login_timeout=0.05)
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b"login_timeout: the login was not finished within 0.05 s"
    await ended(session)


async def test_a_lost_connection_is_the_client_s_end(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        await downstream.stream.read()
        raise AssertionError("a reset was taken for bytes")

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    await asyncio.sleep(0.01)
    ends[1].abort()
    await ended(session)
    assert scene.end()["reason"] == "client_closed"
    assert "error" in scene.end()


async def test_a_fault_of_ours_ends_the_session_and_not_the_process(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        raise ZeroDivisionError("a detail")

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b"internal: internal error"
    await ended(session)
    assert scene.end().items() >= {"reason": "internal", "error": "ZeroDivisionError"}.items()
    (fault,) = scene.lines("session failed")
    assert fault["error"] == "ZeroDivisionError: a detail"
    assert "Traceback" in fault["traceback"]


async def test_a_protocol_that_names_nobody_is_a_fault_of_ours(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        return Hello(), None  # type: ignore[return-value]  # the fault

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b"internal: internal error"
    await ended(session)


async def test_words_for_a_client_that_is_gone_are_not_said(scene: Scene, ends: Ends) -> None:
    near, client = ends

    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        near.abort()
        await near.wait_closed(5)
        raise ClientError(Reason.ACCESS_DENIED, "no")

    scene.protocol.accepting = accept
    await ended(begin(scene, near))
    assert scene.end()["reason"] == "access_denied"
    with pytest.raises(ConnectionError):
        await client.read()


async def test_a_protocol_without_words_closes_without_a_word(
    scene: Scene, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.plan.drain.start()
    monkeypatch.setattr(type(scene.protocol), "refuse", lambda *_, **__: b"")
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b""
    await ended(session)
    assert scene.end()["reason"] == "shutting_down"


# ---- admission


async def test_a_session_takes_a_place_when_the_protocol_admits_it(scene: Scene, ends: Ends) -> None:
    taken: list[str] = []
    session = Session(ends[0], scene.plan, scene.clock, lambda: taken.append("place"))
    session.task = asyncio.create_task(session.run())
    await relaying(session)
    assert taken == ["place"]
    assert session.admitted
    ends[1].abort()
    await ended(session)


async def test_a_full_listener_refuses_in_the_protocol_s_words(scene: Scene, ends: Ends) -> None:
    def full() -> None:
        raise Overloaded(Reason.TOO_MANY_CONNECTIONS, "full", public="sorry")

    session = Session(ends[0], scene.plan, scene.clock, full)
    session.task = asyncio.create_task(session.run())
    assert await everything(ends[1]) == b"too_many_connections: sorry"
    await ended(session)
    assert not session.admitted


async def test_a_draining_listener_admits_nobody(scene: Scene, ends: Ends) -> None:
    scene.plan.drain.start()
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b"shutting_down: the proxy is shutting down"
    await ended(session)
    assert not session.admitted


# ---- leaving and being cut


async def test_a_session_told_to_leave_leaves_once(scene: Scene, ends: Ends) -> None:
    session = begin(scene, ends[0])
    link = await relaying(session)
    session.leave()
    session.leave()
    assert session.phase is Phase.DRAIN
    assert link.told == [("leave", Reason.DRAINED)]
    session.cut()
    await ended(session)
    assert link.told[-1] == ("expel", Reason.CUT)
    assert scene.end().items() >= {"reason": "cut", "phase": "drain", "level": "warning"}.items()


async def test_one_told_to_leave_during_its_login_leaves_when_it_is_joined(scene: Scene, ends: Ends) -> None:
    go_on = asyncio.Event()

    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        downstream.admit()
        await go_on.wait()
        return Hello(), Principal("app", "trust")

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    scene.plan.drain.join(session, session.leave)
    await asyncio.sleep(0.01)
    scene.plan.drain.start()
    assert session.link is None
    go_on.set()
    link = await relaying(session)
    assert link.told == [("leave", Reason.DRAINED)]
    assert session.phase is Phase.DRAIN
    session.cut()
    await ended(session)


async def test_one_whose_endpoint_is_taken_out_during_its_login_leaves_when_it_is_joined(
    scene: Scene, ends: Ends
) -> None:
    async def relay(downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        lease = await target.lease(scene.protocol._login)
        target.upstream.replace(())
        link = NotedLink(downstream.stream, lease.stream)
        attach(link, lease.connection)
        try:
            return await link.run()
        finally:
            lease.release()

    scene.protocol.relaying = relay
    session = begin(scene, ends[0])
    link = await relaying(session)
    assert link.told == [("leave", Reason.DRAINED)]
    session.cut()
    await ended(session)


async def test_a_cut_before_the_sides_are_joined_is_told_as_shutting_down(scene: Scene, ends: Ends) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        await downstream.stream.read()
        raise AssertionError("the client says nothing here")

    scene.protocol.accepting = accept
    session = begin(scene, ends[0])
    await asyncio.sleep(0.01)
    session.cut()
    assert await everything(ends[1]) == b"shutting_down: the proxy takes no more connections"
    await ended(session)
    assert scene.end()["reason"] == "cut"


async def test_a_session_that_is_not_running_cannot_be_cut(scene: Scene, ends: Ends) -> None:
    session = make(scene, ends[0])
    session.cut()
    assert session.phase is Phase.OPEN


# ---- the end of a credential


async def test_a_session_leaves_because_its_credential_ends_and_is_counted(scene: Scene, ends: Ends) -> None:
    scene.secure()
    session = begin(scene, ends[0])
    link = await relaying(session)
    assert session.shows("db", 1)
    assert not session.shows("db", 2)
    assert not session.shows("other", 1)
    session.leave(Reason.CREDENTIAL_ENDED)
    session.leave(Reason.CREDENTIAL_ENDED)
    assert link.told == [("leave", Reason.CREDENTIAL_ENDED)]
    link.finish(Reason.CREDENTIAL_ENDED)
    await ended(session)
    assert not session.shows("db", 1), "it is over"
    line = scene.end()
    assert line.items() >= {"reason": "credential_ended", "credential": "db", "version": 1, "level": "info"}.items()
    assert scene.metrics.credential("db").ended == {"left": 1, "cut": 0}
    assert scene.results == {"credential_ended": 1}


async def test_one_that_is_cut_for_it_is_news(scene: Scene, ends: Ends) -> None:
    scene.secure()
    session = begin(scene, ends[0])
    link = await relaying(session)
    session.leave(Reason.CREDENTIAL_ENDED)
    session.cut(Reason.CREDENTIAL_ENDED)
    await ended(session)
    assert link.told[-1] == ("expel", Reason.CREDENTIAL_ENDED)
    assert scene.end().items() >= {"reason": "credential_ended", "level": "warning"}.items()
    assert scene.metrics.credential("db").ended == {"left": 0, "cut": 1}


async def test_one_that_ends_for_another_reason_meanwhile_is_not_counted(scene: Scene, ends: Ends) -> None:
    scene.secure()
    session = begin(scene, ends[0])
    await relaying(session)
    session.leave(Reason.CREDENTIAL_ENDED)
    session.cut()
    await ended(session)
    assert scene.metrics.credential("db").ended == {"left": 0, "cut": 0}


def relay_of(scene: Scene, meanwhile: Callable[[], None]) -> Callable[..., Awaitable[End]]:
    """The usual relay, with something that happens between the login and the joining."""

    async def relay(downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        lease = await target.lease(scene.protocol._login)
        meanwhile()
        link = NotedLink(downstream.stream, lease.stream)
        attach(link, lease.connection)
        try:
            return await link.run()
        finally:
            lease.release()

    return relay


async def test_one_whose_credential_ends_during_its_login_leaves_when_it_is_joined(scene: Scene, ends: Ends) -> None:
    scene.secure()

    def meanwhile() -> None:
        scene.rotate()
        scene.store.ending("db", 1, final=False)

    scene.protocol.relaying = relay_of(scene, meanwhile)
    session = begin(scene, ends[0])
    link = await relaying(session)
    assert link.told == [("leave", Reason.CREDENTIAL_ENDED)]
    session.cut()
    await ended(session)


async def test_one_whose_credential_ended_during_its_login_is_cut_when_it_is_joined(scene: Scene, ends: Ends) -> None:
    scene.secure()
    scene.protocol.relaying = relay_of(scene, lambda: scene.store.ending("db", 1, final=True))
    session = begin(scene, ends[0])
    link = await relaying(session)
    await ended(session)
    assert link.told == [("expel", Reason.CREDENTIAL_ENDED)]
    assert scene.metrics.credential("db").ended == {"left": 0, "cut": 1}


async def test_without_a_newer_one_it_may_as_well_stay(scene: Scene, ends: Ends) -> None:
    scene.secure()
    scene.store.ending("db", 1, final=False)
    session = begin(scene, ends[0])
    link = await relaying(session)
    assert link.told == []
    session.cut()
    await ended(session)


async def test_a_protocol_that_does_not_log_in_is_not_concerned(
    scene: Scene, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(scene.protocol), "logs_in", False)
    scene.secure()
    scene.protocol.relaying = relay_of(scene, lambda: scene.store.ending("db", 1, final=True))
    session = begin(scene, ends[0])
    link = await relaying(session)
    assert link.told == []
    assert not session.shows("db", 1)
    session.cut()
    await ended(session)


async def test_a_session_that_is_not_joined_shows_nothing(scene: Scene, ends: Ends) -> None:
    scene.secure()
    assert not make(scene, ends[0]).shows("db", 1)


# ---- silence


async def test_a_session_that_is_not_joined_is_not_judged(scene: Scene, ends: Ends) -> None:
    scene.limit(idle_timeout=1, session_timeout=1)
    session = make(scene, ends[0])
    session.sweep(scene.clock.now() + 100)
    assert session.phase is Phase.OPEN


async def test_silence_is_measured_from_sweep_to_sweep(scene: Scene, ends: Ends) -> None:
    scene.limit(idle_timeout=10)
    session = begin(scene, ends[0])
    link = await relaying(session)
    start = scene.clock.now()
    session.sweep(start + 9)
    ends[1].write(b"x")
    assert await ends[1].read() == b"x"
    session.sweep(start + 12)
    assert session.idle(start + 15) == 3
    session.sweep(start + 21)
    assert link.told == []
    session.sweep(start + 22)
    assert link.told == [("expel", Reason.IDLE_TIMEOUT)]
    await ended(session)
    assert scene.end()["reason"] == "idle_timeout"


async def test_a_server_at_work_is_not_idle_and_a_transaction_has_its_own_limit(scene: Scene, ends: Ends) -> None:
    scene.limit(idle_timeout=1, idle_in_transaction_timeout=5)
    session = begin(scene, ends[0])
    link = await relaying(session)
    start = scene.clock.now()
    link.busy = True
    session.sweep(start + 100)
    link.busy, link.open_transaction = False, True
    session.sweep(start + 4)
    assert link.told == []
    session.sweep(start + 5)
    assert link.told == [("expel", Reason.IDLE_IN_TRANSACTION_TIMEOUT)]
    await ended(session)


async def test_a_session_that_has_lived_long_enough_is_asked_to_leave(scene: Scene, ends: Ends) -> None:
    scene.limit(session_timeout=60)
    session = begin(scene, ends[0])
    link = await relaying(session)
    session.sweep(scene.clock.now() + 59)
    session.sweep(scene.clock.now() + 60)
    assert link.told == [("leave", Reason.SESSION_TIMEOUT)]
    session.cut()
    await ended(session)


async def test_idleness_of_one_that_is_not_joined_counts_from_its_start(scene: Scene, ends: Ends) -> None:
    session = make(scene, ends[0])
    assert session.idle(scene.clock.now() + 7) == 7


async def test_bytes_are_folded_into_the_metrics_once(scene: Scene, ends: Ends) -> None:
    session = begin(scene, ends[0])
    session.fold()
    await relaying(session)
    ends[1].write(b"12345")
    assert await ends[1].read() == b"12345"
    session.fold()
    session.fold()
    assert (scene.plan.metrics.bytes_in, scene.plan.metrics.bytes_out) == (5, 5)
    ends[1].write(b"678")
    assert await ends[1].read() == b"678"
    ends[1].abort()
    await ended(session)
    assert (scene.plan.metrics.bytes_in, scene.plan.metrics.bytes_out) == (8, 8)


# ---- TLS and PROXY headers


@pytest.fixture
def server_tls(authority: Authority) -> ServerContexts:
    pair = authority.server("localhost")
    return ServerContexts(ServerTls(cert=pair.cert, key=pair.key))


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


async def test_tls_is_begun_for_a_protocol_that_does_not_do_so_itself(
    scene: Scene, ends: Ends, server_tls: ServerContexts, authority: Authority
) -> None:
    scene.change(tls=server_tls)
    session = begin(scene, ends[0])
    await ends[1].start_tls(trusting(authority), server_side=False, server_hostname="localhost")
    ends[1].write(b"secret")
    assert await ends[1].read() == b"secret"
    ends[1].abort()
    await ended(session)


async def test_a_client_that_does_not_speak_tls_there_is_not_answered_in_the_clear(
    scene: Scene, ends: Ends, server_tls: ServerContexts
) -> None:
    scene.change(tls=server_tls)
    session = begin(scene, ends[0])
    ends[1].write(b"GET / HTTP/1.1\r\n\r\n")
    said = await everything(ends[1])
    await ended(session)
    assert scene.end()["reason"] == "tls_failed"
    # A TLS alert record and nothing else: type 21, two bytes of version, two of length.
    assert (said[:1], len(said)) in {(b"\x15", 5 + int.from_bytes(said[3:5])), (b"", 0)}


async def test_one_that_never_finishes_its_handshake_is_not_answered_in_the_clear(
    scene: Scene, ends: Ends, server_tls: ServerContexts
) -> None:
    scene.change(tls=server_tls)
    scene.limit(login_timeout=0.05)
    session = begin(scene, ends[0])
    assert await everything(ends[1]) == b""
    await ended(session)
    assert scene.end()["reason"] == "login_timeout"


@pytest.fixture
def migrating(scene: Scene, server_tls: ServerContexts, authority: Authority) -> Scene:
    pair = authority.server("localhost")
    scene.change(tls=server_tls)
    scene.plan = replace(
        scene.plan,
        settings=scene.plan.settings.model_copy(update={"tls": ServerTls(cert=pair.cert, key=pair.key, mode="allow")}),
    )
    return scene


async def test_where_both_are_let_in_the_first_byte_tells_which(
    migrating: Scene, ends: Ends, authority: Authority
) -> None:
    plain = begin(migrating, ends[0])
    ends[1].write(b"PING")
    assert await ends[1].read() == b"PING"
    ends[1].abort()
    await ended(plain)
    async with stream_pair() as (near, client):
        session = begin(migrating, near)
        await client.start_tls(trusting(authority), server_side=False, server_hostname="localhost")
        client.write(b"PING")
        assert await client.read() == b"PING"
        client.abort()
        await ended(session)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01"])
async def test_where_both_are_let_in_who_says_too_little_is_not_waited_for(
    migrating: Scene, ends: Ends, said: bytes
) -> None:
    migrating.limit(login_timeout=0.05)
    session = begin(migrating, ends[0])
    if said:
        ends[1].write(said)
    await everything(ends[1])
    await ended(session)
    assert migrating.end()["reason"] == "login_timeout"


async def test_the_client_that_a_balancer_names_is_the_one_in_the_log_and_for_the_protocol(
    scene: Scene, ends: Ends
) -> None:
    scene.change(proxy_protocol=ProxyProtocol(trusted=(ip_network("127.0.0.0/8"),)))
    session = begin(scene, ends[0])
    ends[1].write(build_v1(Endpoint("192.0.2.7", 4711), Endpoint("192.0.2.1", 5432)) + b"hello")
    assert await ends[1].read() == b"hello"
    ends[1].abort()
    await ended(session)
    assert scene.end()["client"] == "192.0.2.7:4711"


async def test_the_upstream_is_told_who_the_client_is_where_it_wants_to_know(scene: Scene, ends: Ends) -> None:
    near, client = ends
    scene.change(upstream={"send_proxy_protocol": "v1"})
    session = begin(scene, near)
    client.write(b"x")
    expected = build_v1(Endpoint("127.0.0.1", near.peer.port or 0), Endpoint("127.0.0.1", near.local.port or 0))
    said = b""
    while len(said) <= len(expected):
        said += await client.read()
    assert said == expected + b"x"
    client.abort()
    await ended(session)


def test_an_impossible_change_of_phase_is_a_fault_of_ours() -> None:
    async def run(scene_plan: object) -> None:
        async with stream_pair() as (near, _):
            session = Session(near, scene_plan, _Clock(), lambda: None)  # type: ignore[arg-type]  # not looked at here
            with pytest.raises(AssertionError, match="cannot go from open to relay"):
                session._enter(Phase.RELAY)

    asyncio.run(run(None))


class _Clock:
    def now(self) -> float:
        return 0.0
