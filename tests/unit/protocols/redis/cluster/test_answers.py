"""CLUSTER: one node, at the address that the client knows."""

from __future__ import annotations

import pytest

from ambassador.protocols.redis.cluster.answers import slot_named
from ambassador.wire.redis.cluster import parse_slots
from ambassador.wire.redis.messages import Map, decode
from tests.unit.protocols.redis.cluster.conftest import SLOTS, A, Member, Ring


async def test_one_node_serves_every_slot(member: Member) -> None:
    value, _ = decode(await member.ask("CLUSTER SLOTS"))
    assert isinstance(value, list)
    (entry,) = value
    assert isinstance(entry, list)
    assert entry[:2] == [0, 16383]
    parse_slots(value, "here")


async def test_every_way_of_asking_names_the_same_node(member: Member) -> None:
    identity = decode(await member.ask("CLUSTER MYID"))[0]
    assert isinstance(identity, bytes)
    assert len(identity) == 40
    for what in ("SLOTS", "SHARDS", "NODES"):
        assert identity in await member.ask(f"CLUSTER {what}")
    assert b"cluster_state:ok" in await member.ask("CLUSTER INFO")
    assert identity not in await member.ask("CLUSTER MYSHARDID")


async def test_shards_are_maps_in_resp3(member: Member) -> None:
    await member.ask("HELLO 3")
    value, _ = decode(await member.ask("CLUSTER SHARDS"))
    assert isinstance(value, list)
    assert isinstance(value[0], Map)
    assert value[0].pairs[0] == (b"slots", [0, 16383])


async def test_a_slot_s_keys_are_counted_at_its_node(ring: Ring, member: Member) -> None:
    ring.nodes[0].on("CLUSTER", "COUNTKEYSINSLOT", raw=b":5\r\n")
    assert await member.ask(f"CLUSTER COUNTKEYSINSLOT {SLOTS[A]}") == b":5\r\n"
    assert await member.ask(f"CLUSTER KEYSLOT {A}") == b":%d\r\n" % SLOTS[A]


@pytest.mark.parametrize(
    "said", ["MEET h 1", "RESET", "FAILOVER", "SETSLOT 1 NODE x", "ADDSLOTS 1", "COUNTKEYSINSLOT x"]
)
async def test_what_would_change_the_cluster_is_refused(member: Member, said: str) -> None:
    assert (await member.ask(f"CLUSTER {said}")).startswith((b"-ERR CLUSTER", b"-NOPERM"))


async def test_a_wrong_number_of_words_is_refused(member: Member) -> None:
    assert await member.ask("CLUSTER KEYSLOT") == b"-ERR wrong number of arguments for 'cluster|keyslot' command\r\n"


def test_slots_have_numbers() -> None:
    assert slot_named([b"", b"", b"16383"]) == 16383
    assert slot_named([b"", b"", b"16384"]) is None
    assert slot_named([b"", b""]) is None
