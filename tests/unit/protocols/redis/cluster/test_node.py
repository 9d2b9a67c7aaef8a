"""The connections to one node."""

from __future__ import annotations

from ambassador.protocols.redis.cluster.node import ABORTED, HAS_MOVED
from tests.unit.protocols.redis.cluster.conftest import A, B, Member, Ring, until


async def test_its_connections_lead_to_it_and_nobody_else(ring: Ring) -> None:
    node = ring.hub.node(ring.place(ring.nodes[1]))
    line = await node.open_line(2, 1, 5)
    assert line.endpoint_stays
    assert str(line.lease.connection.endpoint) == ring.nodes[1].address
    assert node.line(2, 1) is line
    assert node.shared_lines() == [line]


async def test_the_commands_of_all_nodes_are_asked_for_once(ring: Ring) -> None:
    for fake in ring.nodes:
        await ring.hub.node(ring.place(fake)).open_line(2, 1, 5)
    assert sum(fake.asked("COMMAND") for fake in ring.nodes) == 1


async def test_one_that_leaves_answers_what_it_owes_and_goes(ring: Ring, member: Member) -> None:
    assert await member.ask(f"SET {A} 1", f"SET {B} 2") == b"+OK\r\n" * 2
    ring.nodes[0].on("GET", A, act="wait", times=1)
    member.say(f"GET {A}")
    await until("the question", lambda: ring.nodes[0].asked("GET", A) == 1)
    ring.hub.node(ring.place(ring.nodes[0])).leave()
    ring.nodes[0].release()
    assert await member.hear() == b"$1\r\n1\r\n"
    await until("its end", lambda: not ring.nodes[0].connections)


async def test_within_a_transaction_a_client_hears_nothing_of_nodes(ring: Ring, member: Member) -> None:
    assert await member.ask("MULTI", f"INCR {A}") == b"+OK\r\n+QUEUED\r\n"
    ring.nodes[0].on("INCR", A, raw=ring.moved(A, ring.nodes[1]))
    assert (await member.ask(f"INCR {A}")).startswith(b"-TRYAGAIN")
    ring.nodes[0].on("EXEC", raw=ring.moved(A, ring.nodes[1]))
    assert (await member.ask("EXEC")).startswith(b"-EXECABORT")
    assert await member.ask(f"GET {B}") == b"$-1\r\n"


async def test_nor_of_keys_that_are_on_two_nodes_while_their_slot_moves(ring: Ring, member: Member) -> None:
    split = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
    assert await member.ask("MULTI", f"INCR {A}") == b"+OK\r\n+QUEUED\r\n"
    ring.nodes[0].on("MGET", A, raw=split)
    assert await member.ask(f"MGET {A} {A}") == HAS_MOVED
    ring.nodes[0].on("EXEC", raw=split)
    assert await member.ask("EXEC") == ABORTED
    assert await member.ask(f"GET {B}") == b"$-1\r\n"
