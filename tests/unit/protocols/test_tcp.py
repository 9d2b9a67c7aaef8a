"""Any bytes, joined as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest import mock

import pytest

from ambassador.access.base import Authenticator, Principal, Proven
from ambassador.config.load import ConfigFaults, load_data
from ambassador.errors import Overloaded, Reason
from ambassador.net.relay import End
from ambassador.net.stream import Stream
from ambassador.protocols.base import Downstream, Hello
from ambassador.protocols.tcp import Tcp, TcpLink, TcpListenerOptions
from ambassador.telemetry.requests import RequestMetrics
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Attempt, Lease
from tests.support.streams import stream_pair

Four = tuple[Stream, Stream, Stream, Stream]


@pytest.fixture
async def four() -> AsyncIterator[Four]:
    """The client, the daemon's two ends, the server."""
    async with stream_pair() as (near, client), stream_pair() as (far, server):
        yield client, near, far, server


def tcp() -> Tcp:
    return Tcp(TcpListenerOptions(upstream="behind"), None)


async def run(link: TcpLink) -> asyncio.Task[End]:
    task = asyncio.create_task(link.run())
    await asyncio.sleep(0)
    return task


async def test_everyone_who_is_admitted_is_a_principal() -> None:
    async with stream_pair() as (near, _):
        access = mock.create_autospec(Authenticator, instance=True)
        access.identify.return_value = Proven(Principal("", "trust"))
        admitted: list[str] = []
        side = Downstream(near, near.peer, access, None, False, lambda: admitted.append("in"), (RequestMetrics(),))
        assert await tcp().accept(side) == (Hello(), Principal("", "trust"))
        assert admitted == ["in"]


async def test_nobody_is_asked_who_he_is_when_there_is_no_room() -> None:
    def full() -> None:
        raise Overloaded(Reason.TOO_MANY_CONNECTIONS, "full")

    async with stream_pair() as (near, _):
        access = mock.create_autospec(Authenticator, instance=True)
        with pytest.raises(Overloaded):
            await tcp().accept(Downstream(near, near.peer, access, None, False, full, (RequestMetrics(),)))
        access.identify.assert_not_called()


async def test_bytes_pass_both_ways_and_a_half_close_is_carried_over(four: Four) -> None:
    client, near, far, server = four
    task = await run(TcpLink(near, far))
    client.write(b"question")
    client.write_eof()
    assert await server.read() == b"question"
    assert await server.read() == b""
    server.write(b"answer")
    server.write_eof()
    assert await client.read() == b"answer"
    assert await client.read() == b""
    assert (await task).reason is Reason.CLIENT_CLOSED


async def test_a_drain_waits_for_the_session_s_own_end(four: Four) -> None:
    client, near, far, server = four
    link = TcpLink(near, far)
    task = await run(link)
    link.leave(Reason.DRAINED)
    client.write(b"going on")
    assert await server.read() == b"going on"
    assert not task.done()
    server.abort()
    assert (await task).reason is Reason.UPSTREAM_CLOSED


@pytest.mark.parametrize("verb", ["leave", "expel"])
async def test_any_other_reason_ends_it_now(four: Four, verb: str) -> None:
    link = TcpLink(four[1], four[2])
    task = await run(link)
    getattr(link, verb)(Reason.SESSION_TIMEOUT)
    assert await task == End(Reason.SESSION_TIMEOUT, None, "self")


async def test_a_cut_does_not_wait(four: Four) -> None:
    link = TcpLink(four[1], four[2])
    task = await run(link)
    link.expel(Reason.CUT)
    assert (await task).reason is Reason.CUT


async def test_a_session_leases_joins_and_gives_back(four: Four) -> None:
    client, near, far, server = four
    lease = mock.create_autospec(Lease, instance=True, stream=far, connection=mock.sentinel.connection)
    target = mock.create_autospec(Target, instance=True)
    target.lease.return_value = lease
    attached: list[object] = []
    side = Downstream(near, near.peer, mock.Mock(), None, False, lambda: None, (RequestMetrics(),))
    running = asyncio.create_task(tcp().relay(side, Hello(), target, lambda *shown: attached.extend(shown)))
    client.write(b"through")
    assert await server.read() == b"through"
    assert isinstance(attached[0], TcpLink)
    assert attached[1] is mock.sentinel.connection
    lease.release.assert_not_called()
    client.abort()
    assert (await running).reason is Reason.CLIENT_CLOSED
    lease.release.assert_called_once_with()


@pytest.mark.parametrize("tls", [True, False])
async def test_its_login_is_tls_where_that_is_on(tls: bool) -> None:
    attempt = mock.create_autospec(Attempt, instance=True)
    if not tls:
        attempt.tls = None
    await Tcp.try_login(attempt)
    assert attempt.start_tls.await_count == int(tls)


def test_it_has_no_words_for_a_refusal() -> None:
    assert tcp().refuse(Overloaded(Reason.SHUTTING_DOWN, "leaving"), reveal=True) == b""


def test_a_password_cannot_be_asked_for_and_so_cannot_be_configured() -> None:
    data = {
        "credentials": {"app": {"env": {"username": "U", "password": "P"}}},
        "upstreams": {"u": {"endpoints": "db:1"}},
        "listeners": {
            "l": {"listen": "127.0.0.1:1", "tcp": {"upstream": "u"}, "access": {"password": {"credential": "app"}}}
        },
    }
    with pytest.raises(ConfigFaults, match="no words to ask for a password"):
        load_data(data)
