"""All nodes, as one hub."""

from __future__ import annotations

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.protocols.redis.cluster.routes import ANY, HOME
from ambassador.protocols.redis.line import ENDED
from tests.unit.protocols.redis.cluster.conftest import SLOTS, A, B, C, MakeRing, Member, Ring, until
from tests.unit.protocols.redis.conftest import CREDENTIAL


async def test_every_target_has_its_place(ring: Ring) -> None:
    hub = ring.hub
    assert hub.place_of(HOME) is None, "nothing is known yet"
    await hub.topology.learn(5)
    places = [ring.place(node) for node in ring.nodes]
    assert [hub.place_of(SLOTS[key]) for key in (A, B, C)] == places
    assert hub.place_of(places[2]) == places[2]
    assert {hub.place_of(ANY) for _ in range(9)} == set(places)
    assert {hub.place_of(HOME) for _ in range(9)} == {min(places)}


async def test_a_slot_that_nobody_serves_is_waited_for(make_ring: MakeRing) -> None:
    ring = make_ring(wait=0.2)
    await ring.hub.topology.learn(5)
    ring.hub.topology.owners[SLOTS[A]] = None
    with pytest.raises(UpstreamError, match="no node"):
        await ring.hub.open(SLOTS[A], 2, 1)


async def test_a_dead_node_is_waited_for_until_another_one_has_its_slots(ring: Ring, member: Member) -> None:
    assert await member.ask(f"SET {A} 1") == b"+OK\r\n"
    ring.nodes[0].refuse_connections()
    ring.nodes[0].reset()
    dead = ring.hub.node(ring.place(ring.nodes[0]))
    await until("the end of its connections", lambda: not dead.shared_lines())
    member.say(f"SET {A} 2", f"GET {A}")
    await until("it to be tried", lambda: ring.upstream.counts.topology_refreshes["ok"] > 1)
    ring.tell(ring.nodes[1], ring.nodes[1], ring.nodes[2])
    assert await member.hear() == b"+OK\r\n"
    assert await member.hear() == b"$1\r\n2\r\n"
    assert ring.nodes[1].asked("GET", A) == 1


async def test_nodes_that_are_gone_are_let_go(ring: Ring, member: Member) -> None:
    await member.ask(f"GET {A}", f"GET {B}", f"GET {C}")
    assert len(ring.hub.nodes) == 3
    ring.tell(ring.nodes[1], ring.nodes[1], ring.nodes[1])
    await ring.hub.topology.refresh()
    assert set(ring.hub.nodes) == {ring.place(ring.nodes[1])}
    assert await member.ask(f"GET {A}", f"GET {C}") == b"$-1\r\n" * 2
    await until("its end", lambda: not ring.nodes[0].connections)


async def test_as_a_hub_it_leads_to_the_node_where_all_meet(ring: Ring) -> None:
    home = min(map(ring.place, ring.nodes))
    shared = await ring.hub.shared((2, 0))
    private = await ring.hub.private((2, 0))
    assert {line.lease.connection.endpoint.address.port for line in (shared, private)} == {home.port}
    assert ring.hub.ready((2, 0)) is None
    assert ring.hub.idle((2, 0)) is None
    ring.hub.give_back(private)
    assert ring.hub.owed == 0


# ---- the end of a credential


@pytest.fixture
async def secured(make_ring: MakeRing, password: str) -> Ring:
    """A cluster whose nodes want a login."""
    ring = make_ring(password=password)
    for node in ring.nodes:
        node.user("app", password)
    return ring


async def replace(ring: Ring, left: int = 0) -> None:
    """Rotate, and wait until only so many connections show the old version."""
    for node in ring.nodes:
        node.user("app", "second")
    ring.rotate("second")
    await until("the shared ones to be replaced", lambda: users(ring) == left)


def users(ring: Ring) -> int:
    """How many connections, of all nodes, show the first version."""
    return ring.store.in_use(CREDENTIAL, 1)


async def test_at_no_node_anybody_notices_that_the_old_one_ends(secured: Ring) -> None:
    member = await secured.guest()
    await member.ask(f"SET {A} 1", f"SET {B} 1", f"SET {C} 1")
    assert users(secured) >= 3
    await replace(secured)
    secured.store.ending(CREDENTIAL, 1, final=False)
    secured.store.ending(CREDENTIAL, 1, final=True)
    assert await member.ask(f"INCR {A}", f"INCR {B}", f"INCR {C}") == b":2\r\n" * 3


async def test_who_waits_at_one_node_is_told_and_the_others_go_on(secured: Ring) -> None:
    member, other = await secured.guest(), await secured.guest()
    await member.ask(f"GET {A}", f"GET {B}")
    secured.nodes[0].on("SET", act="hang", times=1)
    member.say(f"SET {A} 1", f"SET {B} 1")
    await until("both to be asked", lambda: all(node.asked("SET") for node in secured.nodes[:2]))
    await replace(secured, left=1)
    await until("both to have another", lambda: secured.store.in_use(CREDENTIAL, 2) >= 2)
    secured.store.ending(CREDENTIAL, 1, final=False)
    assert await other.ask(f"SET {A} 2", f"SET {C} 2") == b"+OK\r\n" * 2
    assert users(secured) == 1
    secured.store.ending(CREDENTIAL, 1, final=True)
    assert await member.hear() + await member.hear() == ENDED + b"+OK\r\n"
    assert users(secured) == 0
    assert secured.metrics.credential(CREDENTIAL).ended["cut"] == 1


async def test_who_is_blocked_at_a_node_is_told(secured: Ring) -> None:
    member = await secured.guest()
    member.say(f"BLPOP {A} 0")
    await until("it to block", lambda: secured.nodes[0].asked("BLPOP") == 1)
    await replace(secured, left=1)
    secured.store.ending(CREDENTIAL, 1, final=False)
    assert users(secured) == 1
    secured.store.ending(CREDENTIAL, 1, final=True)
    assert await member.hear() == ENDED
    assert await member.ask(f"SET {B} 1") == b"+OK\r\n"


@pytest.mark.parametrize("final", [False, True])
async def test_a_transaction_at_a_node_is_finished_or_aborted(secured: Ring, final: bool) -> None:
    member = await secured.guest()
    await member.ask("MULTI", f"SET {A} 1")
    await replace(secured, left=1)
    secured.store.ending(CREDENTIAL, 1, final=final)
    assert users(secured) == (0 if final else 1)
    reply = await member.ask("EXEC")
    assert reply.startswith(b"-EXECABORT") if final else reply == b"*1\r\n+OK\r\n"
    await until("the old one to be left", lambda: users(secured) == 0)
    assert await member.ask("MULTI", f"INCR {B}", "EXEC") == b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n"


async def test_half_a_reply_of_a_node_cannot_be_made_good(secured: Ring) -> None:
    member = await secured.guest()
    secured.nodes[0].on("GET", raw=b"$300000\r\n" + b"x" * 200_000, act="hang")
    member.say(f"GET {A}")
    await until("a part to have come", lambda: member.talk.bytes_out > 65536)
    secured.store.ending(CREDENTIAL, 1, final=True)
    assert (await member.end()).reason is Reason.CREDENTIAL_ENDED
