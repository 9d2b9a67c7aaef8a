"""Replies in the client's order, whichever node is the slowest."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.errors import Reason
from ambassador.protocols.redis.cluster import order
from tests.unit.protocols.redis.cluster.conftest import A, B, C, MakeRing, Member, Ring, until


async def test_a_slow_node_keeps_its_place(ring: Ring, member: Member) -> None:
    await member.ask(f"SET {A} 1", f"SET {B} 2", f"SET {C} 3")
    ring.nodes[0].on("GET", A, act="wait", times=1)
    member.say(f"GET {A}", f"GET {B}", f"GET {C}")
    await until("the last question", lambda: ring.nodes[2].asked("GET", C) == 1)
    assert member.talk.owed == 3
    ring.nodes[0].release()
    assert [await member.hear() for _ in range(3)] == [b"$1\r\n1\r\n", b"$1\r\n2\r\n", b"$1\r\n3\r\n"]
    assert member.talk.owed == 0


async def test_other_clients_do_not_wait_for_a_slow_node(ring: Ring, member: Member) -> None:
    other = await ring.guest()
    await member.ask(f"GET {A}", f"GET {B}")
    ring.nodes[0].on("GET", A, act="wait", times=1)
    member.say(f"GET {A}")
    assert await other.ask(f"GET {B}", f"GET {C}") == b"$-1\r\n" * 2
    ring.nodes[0].release()
    assert await member.hear() == b"$-1\r\n"


async def test_no_more_is_taken_than_can_be_kept_in_mind(
    ring: Ring, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambassador.protocols.redis.cluster.client.MOST_ASKED", 8)
    await member.ask(f"GET {A}")
    ring.nodes[0].on("INCR", A, act="wait", times=1)
    member.say(*[f"INCR {A}"] * 40)
    await until("the first", lambda: ring.nodes[0].asked("INCR", A) == 1)
    assert member.talk.owed == 8
    ring.nodes[0].release()
    assert [await member.hear() for _ in range(40)] == [f":{number}\r\n".encode() for number in range(1, 41)]


async def test_a_large_reply_flows_while_it_comes(ring: Ring, member: Member) -> None:
    await member.ask(f"GET {A}")
    ring.nodes[0].on("GET", A, raw=b"$200000\r\n" + b"x" * 150_000, act="wait", times=1)
    member.say(f"GET {A}", f"GET {B}")
    await until("its beginning", lambda: member.talk.sent > 100_000)
    ring.nodes[0].reset()
    end = await member.end()
    assert end.reason is Reason.UPSTREAM_CLOSED, "the rest of a reply will not come"


async def test_a_client_that_does_not_read_is_cut_at_last(
    ring: Ring, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "MOST_KEPT", 1 << 16)
    await member.ask(f"GET {A}")
    member.talk.pause()
    ring.nodes[0].on("GET", A, raw=b"$100000\r\n" + b"x" * 100_000 + b"\r\n")
    for _ in range(2):
        member.talk.take(b"*2\r\n$3\r\nGET\r\n$1\r\n%b\r\n" % A.encode())
    assert (await member.end()).reason is Reason.SLOW_CLIENT


async def test_one_that_reads_again_is_given_everything(ring: Ring, member: Member) -> None:
    await member.ask(f"SET {A} 1")
    member.talk.pause()
    member.talk.take(b"*2\r\n$3\r\nGET\r\n$1\r\n%b\r\n" % A.encode())
    await until("the answer", lambda: ring.nodes[0].asked("GET", A) == 1)
    await asyncio.sleep(0.05)
    assert member.talk.owed == 1
    member.talk.resume()
    assert await member.hear() == b"$1\r\n1\r\n"


async def test_a_client_that_leaves_owes_nobody(ring: Ring, member: Member) -> None:
    await member.ask(f"GET {A}")
    ring.nodes[0].on("INCR", A, raw=b"-TRYAGAIN later\r\n")
    member.say(f"INCR {A}")
    await until("a stray", lambda: bool(member.talk.strays))
    member.talk.expel(Reason.CUT)
    await member.end()
    assert not member.talk.strays
    assert not member.talk.queue


async def test_replies_that_are_not_wanted_are_thrown_away(ring: Ring, member: Member) -> None:
    member.say("CLIENT REPLY OFF", f"SET {A} 1", f"SET {B} 2", "CLIENT REPLY ON", f"GET {A}")
    assert await member.hear() == b"+OK\r\n"
    assert await member.hear() == b"$1\r\n1\r\n"
    member.say("CLIENT REPLY SKIP", f"SET {A} 3", f"GET {A}")
    assert await member.hear() == b"$1\r\n3\r\n"


def away(ring: Ring) -> None:
    """The slot of a key moves to a node that nobody is connected to, and that cannot be reached."""
    other = max(ring.nodes[1:], key=lambda node: node.port)  # the other one may be where all meet
    other.refuse_connections()
    ring.nodes[0].on("INCR", A, raw=ring.moved(A, other))
    ring.tell(other, *ring.nodes[1:])


async def test_what_strays_for_too_long_is_answered_by_an_error(make_ring: MakeRing) -> None:
    ring = make_ring(wait=0.3)
    member = await ring.guest()
    await member.ask(f"GET {A}")
    away(ring)
    member.say(f"INCR {A}", f"INCR {A}", "PUBLISH x y")
    replies = [await member.hear() for _ in range(3)]
    assert [reply[:4] for reply in replies] == [b"-ERR", b"-ERR", b":0\r\n"]


async def test_nobody_is_told_who_has_gone_meanwhile(make_ring: MakeRing) -> None:
    ring = make_ring(wait=0.3)
    member = await ring.guest()
    await member.ask(f"GET {A}")
    away(ring)
    member.say(f"INCR {A}")
    await until("a stray", lambda: bool(member.talk.strays))
    member.talk.expel(Reason.CUT)
    await member.end()
    await until("the end of the search", lambda: not member.talk.mending)
    assert member.talk.owed == 1, "and nothing was delivered"
