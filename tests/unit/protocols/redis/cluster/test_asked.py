"""One request on its way: sent elsewhere, asked again, or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ambassador.protocols.redis.cluster.asked import MOST_HOPS
from tests.unit.protocols.redis.cluster.conftest import SLOTS, A, B, C, MakeRing, Member, Ring, until


async def warm(member: Member) -> None:
    """Be connected to every node."""
    assert await member.ask(f"GET {A}", f"GET {B}", f"GET {C}") == b"$-1\r\n" * 3


async def test_what_has_moved_is_asked_where_it_is_now(ring: Ring, member: Member) -> None:
    await warm(member)
    ring.nodes[0].on("INCR", A, raw=ring.moved(A, ring.nodes[1]))
    assert await member.ask(f"INCR {A}", f"INCR {A}", f"INCR {A}") == b":1\r\n:2\r\n:3\r\n"
    assert ring.nodes[1].asked("INCR", A) == 3
    assert ring.upstream.counts.redirections == {"MOVED": 3}
    assert member.counts["WRITE"] == (3, 0)


async def test_what_is_moving_is_asked_for_once_elsewhere(ring: Ring, member: Member) -> None:
    await warm(member)
    ring.nodes[1].on("ASKING", raw=b"+OK\r\n")
    ring.nodes[0].on("INCR", A, raw=ring.moved(A, ring.nodes[1], "ASK"), times=1)
    assert await member.ask(f"INCR {A}", f"INCR {B}") == b":1\r\n:1\r\n"
    heard = ring.nodes[1].heard
    assert heard[heard.index([b"ASKING"]) + 1] == [b"INCR", A.encode()]
    assert ring.hub.topology.owners[SLOTS[A]] == ring.place(ring.nodes[0])


@pytest.mark.parametrize("word", ["TRYAGAIN", "CLUSTERDOWN", "LOADING"])
async def test_what_cannot_be_done_now_is_asked_again_soon(ring: Ring, member: Member, word: str) -> None:
    await warm(member)
    ring.nodes[0].on("INCR", A, raw=f"-{word} not now\r\n".encode(), times=2)
    assert await member.ask(f"INCR {A}", f"INCR {B}") == b":1\r\n:1\r\n"
    assert ring.nodes[0].asked("INCR", A) == 3


async def test_but_not_for_ever(make_ring: MakeRing) -> None:
    ring = make_ring(wait=0.2)
    member = await ring.guest()
    await warm(member)
    ring.nodes[0].on("INCR", A, raw=b"-TRYAGAIN not now\r\n")
    assert await member.ask(f"INCR {A}") == b"-TRYAGAIN not now\r\n"
    assert member.counts["WRITE"] == (0, 1)


async def test_nodes_that_do_not_agree_are_given_time(ring: Ring, member: Member) -> None:
    await warm(member)
    first, second, _ = ring.nodes
    first.on("INCR", A, raw=ring.moved(A, second), times=MOST_HOPS)
    second.on("INCR", A, raw=ring.moved(A, first))
    assert await member.ask(f"INCR {A}") == b":1\r\n"
    assert first.asked("INCR", A) == MOST_HOPS + 1


async def test_a_node_that_is_not_known_yet_is_connected_to(ring: Ring, member: Member) -> None:
    assert await member.ask(f"GET {A}") == b"$-1\r\n"
    ring.nodes[0].on("INCR", A, raw=ring.moved(A, ring.nodes[2]))
    ring.tell(ring.nodes[2], ring.nodes[1], ring.nodes[2])
    assert await member.ask(f"INCR {A}", f"INCR {A}") == b":1\r\n:2\r\n"


async def test_what_was_under_way_when_a_node_went_is_answered_by_an_error_in_its_place(
    ring: Ring, member: Member
) -> None:
    await warm(member)
    ring.nodes[0].on("INCR", A, act="reset")
    replies = [await member.ask(f"INCR {B}"), *[part async for part in said(member, f"INCR {A}", f"INCR {C}")]]
    assert replies == [
        b":1\r\n",
        b"-ERR the connection to the upstream server was lost before it answered\r\n",
        b":1\r\n",
    ]


async def said(member: Member, *commands: str) -> AsyncIterator[bytes]:
    member.say(*commands)
    for _ in commands:
        yield await member.hear()


async def test_what_only_reads_is_asked_again_where_that_is_wanted(make_ring: MakeRing) -> None:
    ring = make_ring(retry_reads=True)
    member = await ring.guest()
    await warm(member)
    ring.nodes[0].on("GET", A, act="reset", times=1)
    assert await member.ask(f"GET {A}") == b"$-1\r\n"
    assert ring.nodes[0].asked("GET", A) == 3


async def test_a_part_that_fails_is_the_reply_of_the_whole(ring: Ring, member: Member) -> None:
    await warm(member)
    for node in ring.nodes:
        node.on("DEL", raw=b":1\r\n")
    assert await member.ask(f"DEL {A} {B} {C}") == b":3\r\n"
    ring.nodes[1].on("DEL", raw=b"-ERR no\r\n")
    assert await member.ask(f"DEL {A} {B} {C}") == b"-ERR no\r\n"
    ring.nodes[1].on("DEL", raw=b"+OK\r\n")
    assert (await member.ask(f"DEL {A} {B} {C}")).startswith(b"-ERR")


async def test_a_part_that_has_moved_is_followed(ring: Ring, member: Member) -> None:
    await warm(member)
    ring.nodes[0].on("MGET", raw=ring.moved(A, ring.nodes[1]), times=1)
    ring.nodes[1].on("MGET", raw=b"*1\r\n$1\r\n1\r\n")
    assert await member.ask(f"MGET {A} {B}") == b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n"


async def test_our_own_login_is_no_client_s_business(ring: Ring, member: Member) -> None:
    await warm(member)
    ring.nodes[0].on("INCR", A, raw=b"-NOAUTH Authentication required.\r\n", times=1)
    assert b"no longer accepts the proxy's login" in await member.ask(f"INCR {A}")
    await until("another connection", lambda: ring.nodes[0].connections < 2)
    assert await member.ask(f"INCR {A}") == b":1\r\n"
