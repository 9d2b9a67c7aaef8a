"""A bound address: who is taken, who is told that there is no room, and what a reload changes."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ambassador.access.base import Principal
from ambassador.config.address import Address
from ambassador.config.schema import Keepalive
from ambassador.errors import ClientError, Reason
from ambassador.kit.drain import Drain
from ambassador.net.dial import dial
from ambassador.net.listen import bind
from ambassador.net.stream import Stream
from ambassador.protocols.base import Downstream, Hello
from ambassador.proxy import listener as module
from ambassador.proxy.listener import Listener
from tests.support.house import until
from tests.unit.proxy.conftest import NotedLink, Scene

ANY = Address("127.0.0.1", 0)


class Front:
    """A listener at a free port, and clients of it."""

    def __init__(self, scene: Scene, clients: AsyncExitStack) -> None:
        self.scene = scene
        self.listener = Listener(scene.plan, scene.clock)
        self.bound = bind(ANY)
        self._clients = clients

    async def client(self) -> Stream:
        host, port = self.bound.local.host, self.bound.local.port
        stream = await dial(Address(host, port), timeout=5)
        self._clients.push_async_callback(stream.wait_closed, 5)
        self._clients.callback(stream.abort)
        return stream

    async def joined(self) -> Stream:
        """A client whose two sides are joined."""
        client = await self.client()
        client.write(b"hello")
        assert await client.read() == b"hello"
        return client

    def links(self) -> list[NotedLink]:
        return [session.link for session in self.listener.sessions if isinstance(session.link, NotedLink)]


@pytest.fixture
async def front(scene: Scene) -> AsyncIterator[Front]:
    async with AsyncExitStack() as clients:
        made = Front(scene, clients)
        made.listener.open([made.bound])
        yield made
        await made.listener.stop(5)
        made.bound.close()


async def everything(client: Stream) -> bytes:
    said = b""
    async with asyncio.timeout(5):
        while data := await client.read():
            said += data
    return said


async def test_every_client_has_a_session_until_it_ends(front: Front) -> None:
    assert front.listener.addresses == (ANY,)
    clients = [await front.joined() for _ in range(3)]
    assert len(front.listener.sessions) == 3
    assert front.scene.plan.metrics.active == 3
    assert front.scene.plan.drain.members == 3
    for client in clients:
        client.abort()
    await until("the sessions to end", lambda: not front.listener.sessions)
    assert front.scene.plan.metrics.active == 0
    assert front.scene.plan.drain.members == 0


async def test_one_client_too_many_is_told_so_and_a_place_that_is_left_is_taken(front: Front) -> None:
    front.scene.limit(connections=2)
    front.listener.apply(front.scene.plan)
    first, second = await front.joined(), await front.joined()
    third = await front.client()
    assert await everything(third) == b"too_many_connections: sorry, too many clients already at this proxy"
    assert front.scene.lines("session ended")[0]["error"] == "listener front has its 2 connections (limits.connections)"
    first.abort()
    await until("the place to be free", lambda: len(front.listener.sessions) == 1)
    await front.joined()
    second.write(b"still here")
    assert await second.read() == b"still here"


async def test_refusals_do_not_take_places(front: Front) -> None:
    front.scene.limit(connections=1)
    front.listener.apply(front.scene.plan)
    first = await front.joined()
    for _ in range(3):
        assert await everything(await front.client()) != b""
    first.abort()
    await until("the place to be free", lambda: not front.listener.sessions)
    await front.joined()


async def test_a_flood_of_clients_over_the_limit_is_told_so_unheard(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        await downstream.stream.read()
        raise ClientError(Reason.CLIENT_CLOSED, "left")

    monkeypatch.setattr(module, "REFUSALS", 2)
    front.scene.protocol.accepting = accept
    front.scene.limit(connections=1)
    front.listener.apply(front.scene.plan)
    for _ in range(3):
        await front.client()
    await until("the sessions to begin", lambda: len(front.listener.sessions) == 3)
    told = await (await front.client()).read()
    assert told == front.scene.protocol.refuse(front.listener._full(), reveal=False)
    assert front.scene.results == {"too_many_connections": 1}
    assert len(front.listener.sessions) == 3


async def test_who_was_seen_off_and_stays_counts_and_gives_way_to_a_newcomer(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        raise ClientError(Reason.ACCESS_DENIED, "no")

    monkeypatch.setattr(module, "REFUSALS", 1)
    front.scene.protocol.accepting = accept
    front.scene.limit(connections=1)
    front.listener.apply(front.scene.plan)
    for _ in range(2):
        await front.client()
    await until("both to linger", lambda: len(front.listener._lingering) == 2)
    oldest = next(iter(front.listener._lingering))
    await front.client()
    await until("the third to be refused too", lambda: front.scene.results == {"access_denied": 3})
    await until("the oldest to be gone", lambda: oldest.closed)
    assert oldest not in front.listener._lingering


async def test_a_new_plan_is_for_those_who_come_now(front: Front) -> None:
    before = front.scene.plan
    await front.joined()
    front.scene.limit(connections=7)
    front.listener.apply(front.scene.plan)
    await front.joined()
    assert sorted(session.plan is before for session in front.listener.sessions) == [False, True]


async def test_a_new_plan_s_keepalive_is_set_on_connections_accepted_from_now_on(front: Front) -> None:
    front.scene.change(keepalive=Keepalive(idle=77, interval=7, count=3))
    front.listener.apply(front.scene.plan)
    assert front.bound.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77


async def test_closing_takes_no_more_and_leaves_those_who_are_here(front: Front) -> None:
    here = await front.joined()
    front.listener.close([ANY])
    assert front.listener.addresses == ()
    waiting = await front.client()
    waiting.write(b"anyone?")
    here.write(b"still here")
    assert await here.read() == b"still here"
    assert len(front.listener.sessions) == 1
    front.listener.open([front.bound])
    assert await waiting.read() == b"anyone?", "the socket itself was not closed: who waited there is taken"


async def test_a_cut_ends_everyone_now(front: Front) -> None:
    client = await front.joined()
    assert front.listener.cut() == 1
    assert await everything(client) == b""
    await until("the session to end", lambda: not front.listener.sessions)
    assert front.listener.cut() == 0
    assert front.scene.results == {"cut": 1}


async def test_a_drain_tells_everyone_who_is_here_and_everyone_who_still_comes(front: Front) -> None:
    await front.joined()
    (link,) = front.links()
    front.scene.plan.drain.start()
    assert link.told == [("leave", Reason.DRAINED)]
    assert await everything(await front.client()) == b"shutting_down: the proxy is shutting down"


async def test_bytes_of_live_sessions_are_counted_when_asked_for(front: Front) -> None:
    await front.joined()
    assert front.scene.plan.metrics.bytes_in == 0
    front.listener.fold()
    assert (front.scene.plan.metrics.bytes_in, front.scene.plan.metrics.bytes_out) == (5, 5)


async def test_stopping_ends_the_sessions_and_names_one_that_does_not_end(front: Front) -> None:
    go_on = asyncio.Event()

    async def accept(downstream: Downstream) -> tuple[Hello, Principal]:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        raise ClientError(Reason.CLIENT_CLOSED, "at last")

    front.scene.protocol.accepting = accept
    await front.client()
    await until("the session to begin", lambda: bool(front.listener.sessions))
    (session,) = front.listener.sessions
    await asyncio.sleep(0.01)
    await front.listener.stop(0.05)
    (line,) = front.scene.lines("session did not end")
    assert line["task"] == f"session {session.id}"
    go_on.set()
    await until("the session to end", lambda: not front.listener.sessions)


async def test_a_machine_that_cannot_take_clients_is_told_of_now_and_then(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: socket.socket) -> tuple[socket.socket, object]:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket.socket, "accept", full)
    client = await front.client()
    told = "client not accepted"
    await until("it to be told", lambda: bool(front.scene.lines(told)))
    assert front.scene.lines(told)[0].items() >= {"level": "error", "listener": "front"}.items()
    await asyncio.sleep(1.2)
    assert len(front.scene.lines(told)) == 1, "tried again, and not told again"
    await front.scene.clock.advance(module.COMPLAIN_EVERY)
    await until("it to be told again", lambda: len(front.scene.lines(told)) == 2)
    monkeypatch.undo()
    client.write(b"at last")
    assert await client.read() == b"at last"


async def test_a_task_that_fails_is_told(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(drain: Drain, member: object) -> None:
        raise RuntimeError("a fault")

    client = await front.joined()
    monkeypatch.setattr(Drain, "part", broken)
    client.abort()
    await until("the fault to be told", lambda: bool(front.scene.lines("task failed")))
    assert front.scene.lines("task failed")[0]["error"] == "RuntimeError: a fault"


# ---- sweeps


async def test_the_silent_are_expelled_by_the_sweep(front: Front) -> None:
    front.scene.limit(idle_timeout=4)
    front.listener.apply(front.scene.plan)
    client = await front.joined()
    (link,) = front.links()
    await front.scene.clock.advance(4)
    assert link.told == []
    await front.scene.clock.advance(1)
    assert link.told == [("expel", Reason.IDLE_TIMEOUT)]
    assert await everything(client) == b""


async def test_sweeps_end_with_the_limits_and_begin_again_with_new_ones(front: Front) -> None:
    clock = front.scene.clock
    assert clock.sleepers == 0
    front.scene.limit(idle_timeout=4)
    front.listener.apply(front.scene.plan)
    await clock.advance(1)
    assert clock.sleepers == 1
    front.scene.limit()
    front.listener.apply(front.scene.plan)
    await clock.advance(2)
    assert clock.sleepers == 0
    front.scene.limit(idle_timeout=4)
    front.listener.apply(front.scene.plan)
    await clock.advance(2)
    assert clock.sleepers == 1


async def test_limits_given_again_before_the_next_sweep_do_not_make_a_second_sweeper(front: Front) -> None:
    for limits in ({"idle_timeout": 4}, {}, {"idle_timeout": 4}):
        front.scene.limit(**limits)
        front.listener.apply(front.scene.plan)
    await front.scene.clock.advance(3)
    assert front.scene.clock.sleepers == 1


async def test_a_session_keeps_the_limits_it_began_with(front: Front) -> None:
    front.scene.limit(idle_timeout=4)
    front.listener.apply(front.scene.plan)
    await front.joined()
    (link,) = front.links()
    front.scene.limit()
    front.listener.apply(front.scene.plan)
    await front.scene.clock.advance(10)
    assert link.told == [("expel", Reason.IDLE_TIMEOUT)]
