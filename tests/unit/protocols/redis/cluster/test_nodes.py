"""All nodes, as one hub."""

from __future__ import annotations

import pytest

from ambassador.errors import UpstreamError
from ambassador.protocols.redis.cluster.routes import ANY, HOME
from tests.unit.protocols.redis.cluster.conftest import SLOTS, A, B, C, MakeRing, Member, Ring, until


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
