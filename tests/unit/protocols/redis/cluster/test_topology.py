"""Who serves what: learned, and learned again."""

from __future__ import annotations

import pytest

from ambassador.errors import UpstreamError
from ambassador.wire.redis.cluster import Redirect
from ambassador.wire.redis.messages import encode
from tests.unit.protocols.redis.cluster.conftest import SLOTS, A, B, C, MakeRing, Ring, until


async def test_slots_are_learned_from_the_first_node_that_answers(ring: Ring) -> None:
    await ring.hub.topology.learn(5)
    places = [ring.place(node) for node in ring.nodes]
    assert ring.hub.topology.masters == places
    assert [ring.hub.topology.owners[SLOTS[key]] for key in (A, B, C)] == places
    assert ring.upstream.counts.topology_refreshes == {"ok": 1}


async def test_who_serves_a_slot_is_believed_at_once_and_the_rest_asked_anew(ring: Ring) -> None:
    topology = ring.hub.topology
    await topology.learn(5)
    epoch = topology.epoch
    first, second, third = ring.nodes
    ring.tell(second, second, third)
    topology.moved(Redirect(False, SLOTS[A], ring.place(second)))
    assert topology.owners[SLOTS[A]] == ring.place(second)
    assert topology.owners[SLOTS[A] + 1] == ring.place(first)
    await until("the answer", lambda: topology.owners[SLOTS[A] + 1] == ring.place(second))
    assert topology.masters == [ring.place(second), ring.place(third)]
    assert topology.epoch > epoch


async def test_what_is_known_already_changes_nothing(ring: Ring) -> None:
    topology = ring.hub.topology
    await topology.learn(5)
    epoch = topology.epoch
    topology.moved(Redirect(False, SLOTS[A], ring.place(ring.nodes[0])))
    await topology.refresh()
    assert topology.epoch == epoch


async def test_only_one_question_is_under_way(ring: Ring) -> None:
    assert ring.hub.topology.refresh() is ring.hub.topology.refresh()


async def test_a_node_that_gains_slots_has_its_turn_again(ring: Ring) -> None:
    topology = ring.hub.topology
    await topology.learn(5)
    first, second, third = map(ring.place, ring.nodes)
    assert topology.turns == {1: first, 2: second, 3: third}
    topology.moved(Redirect(False, SLOTS[C], first))
    assert topology.turns == {2: second, 3: third, 4: first}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"-ERR This instance has cluster support disabled\r\n", "cluster support disabled"),
        (encode([], 2), "nobody serves"),
        (b"+OK\r\n", "CLUSTER SLOTS"),
    ],
)
async def test_a_server_that_is_no_cluster_s_is_told_of(ring: Ring, answer: bytes, words: str) -> None:
    for node in ring.nodes:
        node.on("CLUSTER", "SLOTS", raw=answer)
    with pytest.raises(UpstreamError, match=words):
        await ring.hub.topology.learn(0)
    assert ring.upstream.counts.topology_refreshes["error"] == 1


async def test_known_nodes_are_asked_where_those_of_the_configuration_are_gone(ring: Ring) -> None:
    await ring.hub.topology.learn(5)
    ring.nodes[0].refuse_connections()
    ring.nodes[0].reset()
    await ring.hub.topology.refresh()
    assert ring.hub.topology.trouble is None
    assert ring.nodes[1].asked("CLUSTER", "SLOTS") == 1


async def test_it_is_asked_every_now_and_then(make_ring: MakeRing) -> None:
    ring = make_ring(cluster_refresh=0.02)
    member = await ring.guest()
    assert await member.ask("PING") == b"+PONG\r\n"
    await until("some questions", lambda: ring.upstream.counts.topology_refreshes["ok"] > 2)
    assert sum(node.asked("CLUSTER", "SLOTS") for node in ring.nodes) > 2


async def test_a_server_that_is_no_cluster_s_is_not_waited_for(make_ring: MakeRing) -> None:
    ring = make_ring(wait=60)
    for node in ring.nodes:
        node.on("CLUSTER", raw=b"-ERR This instance has cluster support disabled\r\n")
    member = await ring.guest()
    assert (await member.ask("PING")).startswith(b"-ERR")
