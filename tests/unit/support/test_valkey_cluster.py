"""The real cluster: it serves, its slots move, and it heals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority
from tests.support.processes import wait_until
from tests.support.redis_client import RedisClient
from tests.support.valkey import ValkeyServer, certificates, new_account, program
from tests.support.valkey_cluster import MASTERS, SLOTS, ValkeyCluster

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def own() -> Iterator[ValkeyCluster]:
    """A cluster that a test may change."""
    with ValkeyCluster(program("valkey9")) as found:
        yield found


def client_of(node: ValkeyServer) -> RedisClient:
    """A connection as a new user with every right."""
    account = new_account(node)
    client = RedisClient((node.host, node.port))
    client.ask("AUTH", account.name, account.password)
    return client


def test_every_slot_has_its_master_and_every_master_its_replica(cluster: ValkeyCluster) -> None:
    owners = [cluster.master(slot) for slot in (0, SLOTS // 2, SLOTS - 1)]
    assert owners == cluster.nodes[:MASTERS]
    assert [cluster.replicas(owner) for owner in owners] == [[node] for node in cluster.nodes[MASTERS:]]


def test_another_s_key_is_answered_with_the_way_to_it(cluster: ValkeyCluster) -> None:
    slot = cluster.slot("key")
    other = next(node for node in cluster.nodes[:MASTERS] if node is not cluster.master(slot))
    with client_of(other) as client:
        assert client.ask("GET", "key").error.text == f"MOVED {slot} 127.0.0.1:{cluster.master(slot).port}"


def test_a_slot_moves_with_its_keys_and_asks_on_the_way(own: ValkeyCluster) -> None:
    slot = own.slot("key")
    source = own.master(slot)
    target = own.another_master(slot)
    with client_of(source) as client:
        client.ask("SET", "key", "value")
        own.begin_move(slot, target)
        assert client.ask("GET", "key").value == b"value"
        own.move_keys(slot, target)
        assert client.ask("GET", "key").error.text == f"ASK {slot} 127.0.0.1:{target.port}"
        own.finish_move(slot, target)
        assert client.ask("GET", "key").error.text == f"MOVED {slot} 127.0.0.1:{target.port}"
    assert own.master(slot) is target
    assert target.ask("GET", "key") == "value"
    own.move(slot, source)
    assert (own.master(slot) is source, source.ask("GET", "key")) == (True, "value")


def test_a_killed_master_is_replaced_by_its_replica(own: ValkeyCluster) -> None:
    slot = own.slot("key")
    master = own.master(slot)
    (replica,) = own.replicas(master)
    with client_of(master) as client:
        client.ask("SET", "key", "value")
        assert client.ask("WAIT", 1, 5000).value == 1
    master.kill()
    assert master not in own.alive
    wait_until("the replica to be promoted", lambda: replica.info("replication")["role"] == "master", 20.0)
    own.settle()
    assert (own.master(slot) is replica, replica.ask("GET", "key")) == (True, "value")
    master.start()
    own.settle()
    wait_until("the old master to follow", lambda: own.replicas(replica) == [master])


@pytest.mark.apt
def test_redis_makes_a_cluster_over_tls(authority: Authority) -> None:
    with ValkeyCluster(program("redis7"), certificates=certificates(authority)) as own:
        slot = own.slot("key")
        own.move(slot, own.master((slot + SLOTS // 2) % SLOTS))
        assert own.master(slot).ask("SET", "key", "value") == "OK"


def test_a_replica_has_no_replica(cluster: ValkeyCluster) -> None:
    assert cluster.replicas(cluster.nodes[-1]) == []


def test_leaving_the_block_removes_everything() -> None:
    with ValkeyCluster(program("valkey9")) as found:
        directories = [node.directory for node in found.nodes]
        assert len(found.alive) == 2 * MASTERS
    assert found.alive == []
    assert not any(directory.exists() for directory in directories)
