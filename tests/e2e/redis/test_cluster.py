"""A real cluster of six nodes behind one address: to clients it is one server, whatever happens to its nodes."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import redis
from redis.cluster import RedisCluster

from tests.e2e.redis.plan import Plan
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.leaks import SHARED_CHILDREN
from tests.support.processes import wait_until
from tests.support.redis_client import Error, RedisClient, Value
from tests.support.secrets import canary
from tests.support.valkey import Account, ValkeyServer, ValkeyServers, certificates, new_account, program
from tests.support.valkey_cluster import MASTERS, SLOTS, ValkeyCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WRITERS = 8
NODE = Path(__file__).parents[1] / "node"


class Front:
    """A daemon before a cluster."""

    def __init__(self, cluster: ValkeyCluster, home: Path, authority: Authority | None = None) -> None:
        self.cluster = cluster
        plan = Plan(home, authority)
        self.account = new_account(*cluster.nodes)
        self.secret = plan.secret("cache", self.account)
        seeds = [f"127.0.0.1:{node.port}" for node in cluster.nodes[:2]]
        tls = None if authority is None else plan.tls()
        plan.upstream("cluster", 0, "cache", endpoints=seeds, redis={"cluster": True}, tls=tls)
        self.port = plan.listener("cluster", "cluster", limits={"connections": 500})
        self.daemon = Daemon(plan.text())

    @property
    def version(self) -> float:
        """Which value of the credential is current."""
        return self.daemon.metric("ambassador_credential_version", credential="cache")

    def uses(self, version: float) -> bool:
        """Whether it is that one, or a later one."""
        return self.version >= version

    def client(self) -> RedisClient:
        """A connection that knows nothing of clusters."""
        return RedisClient(("127.0.0.1", self.port), patience=30.0)


@pytest.fixture(scope="module")
def own() -> Iterator[ValkeyCluster]:
    """A cluster that the tests of this file may change."""
    with ValkeyCluster(program("valkey9"), shared=True) as found:
        yield found


@pytest.fixture(scope="module")
def front(own: ValkeyCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with ExitStack() as stack:
        found = Front(own, tmp_path_factory.mktemp("cluster"))
        SHARED_CHILDREN.add(stack.enter_context(found.daemon).child.pid)
        yield found


@pytest.fixture
def client(front: Front) -> Iterator[RedisClient]:
    """One that finds the cluster empty."""
    with front.client() as found:
        assert found.ask("FLUSHALL").value == b"OK"
        yield found


# ---- one server


Command = list[str | int]


def program_of(rng: random.Random) -> list[list[Command]]:
    """Pipelines of commands that any server answers alike, on keys that lie anywhere."""

    def key() -> str:
        return f"k{rng.randrange(40)}"

    def tagged() -> str:
        return f"{{t}}{rng.randrange(5)}"

    makers: list[Callable[[], list[Command]]] = [
        lambda: [["SET", key(), rng.randrange(99)]],
        lambda: [["GET", key()]],
        lambda: [["INCR", f"n{rng.randrange(9)}"]],
        lambda: [["MGET", *(key() for _ in range(rng.randrange(1, 9)))]],
        lambda: [["MSET", *(word for _ in range(rng.randrange(1, 6)) for word in (key(), rng.randrange(9)))]],
        lambda: [[rng.choice(["DEL", "UNLINK", "EXISTS", "TOUCH"]), *(key() for _ in range(rng.randrange(1, 6)))]],
        lambda: [["LPUSH", f"l{rng.randrange(3)}", "a", "b"], ["LRANGE", f"l{rng.randrange(3)}", 0, 3]],
        lambda: [["BLPOP", f"l{rng.randrange(3)}", "0.01"]],
        lambda: [["HSET", "h", key(), 1], ["HGET", "h", key()], ["ZADD", "z", 1, key()]],
        lambda: [["EVAL", "return redis.call('incr', KEYS[1])", 1, f"n{rng.randrange(9)}"]],
        lambda: [["MULTI"], ["PING"], ["INCR", tagged()], ["SET", tagged(), 1], ["EXEC"], ["GET", tagged()]],
        lambda: [["MULTI"], ["INCR", tagged()], ["NOSUCH"], ["EXEC"]],
        lambda: [["MULTI"], ["SET", tagged(), 1], ["DISCARD"], ["EXEC"]],
        lambda: [["WATCH", tagged()], ["SET", tagged(), 2], ["MULTI"], ["GET", tagged()], ["EXEC"]],
        lambda: [["DBSIZE"], ["PING"], ["ECHO", "x"], ["SELECT", 0]],
        lambda: [["GET"], ["MSET", "a"], ["DEL"], ["INCR", "h"], ["EXEC"], ["DISCARD"], ["UNWATCH"]],
    ]
    return [rng.choice(makers)() for _ in range(30)]


def alike(value: Value) -> Value:
    """A reply without what differs between two servers."""
    return Error(value.code) if isinstance(value, Error) else value


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_is_said_to_the_cluster_is_answered_as_one_server_would(
    protocol: int, client: RedisClient, front: Front, valkeys: ValkeyServers, long: bool
) -> None:
    plain = valkeys.get("valkey9")
    account = new_account(plain)
    with RedisClient((plain.host, plain.port)) as other:
        other.ask("AUTH", account.name, account.password)
        for one in (client, other):
            one.ask("HELLO", protocol)
        for seed in range(600 if long else 20):
            for one in (client, other):
                one.ask("FLUSHALL")
            for pieces in program_of(random.Random(seed)):
                through, directly = client.pipeline(pieces), other.pipeline(pieces)
                assert [alike(each.value) for each in through] == [alike(each.value) for each in directly], (
                    seed,
                    pieces,
                )


def test_a_scan_returns_every_key_once_and_ends(client: RedisClient) -> None:
    client.pipeline(["SET", f"key:{number}", number] for number in range(500))
    found: list[bytes] = []
    cursor = b"0"
    while True:
        match client.ask("SCAN", cursor, "COUNT", 50, "MATCH", "key:*").value:
            case [bytes(cursor), [*keys]]:
                found += [key for key in keys if isinstance(key, bytes)]
            case other:
                raise AssertionError(other)
        if cursor == b"0":
            break
    assert sorted(found) == sorted(f"key:{number}".encode() for number in range(500))
    everything = client.ask("KEYS", "*").value
    assert isinstance(everything, list)
    assert len(everything) == client.ask("DBSIZE").value == 500
    assert client.ask("RANDOMKEY").value in everything


def test_keys_of_several_slots_are_refused_where_that_would_not_be_exact(client: RedisClient) -> None:
    for words in (
        ["RENAME", "a", "b"],
        ["SINTER", "a", "b"],
        ["EVAL", "return 1", 2, "a", "b"],
        ["BLPOP", "a", "b", 1],
    ):
        assert client.ask(*words).error.text == "CROSSSLOT Keys in request don't hash to the same slot"
    replies = client.pipeline([["MULTI"], ["SET", "a", 1], ["SET", "b", 1], ["EXEC"], ["EXISTS", "a", "b"]])
    assert [alike(reply.value) for reply in replies[2:]] == [Error("CROSSSLOT"), Error("EXECABORT"), 0]


def test_values_of_any_size_pass(client: RedisClient, front: Front) -> None:
    value = random.Random(1).randbytes(9_000_000)
    assert client.ask("SET", "large", value).value == b"OK"
    replies = client.pipeline([["GET", "large"], ["GET", "none"], ["MGET", "none", "large"], ["PING"]])
    assert [reply.value for reply in replies] == [value, None, [None, value], b"PONG"]


def test_scripts_are_known_to_every_node(client: RedisClient) -> None:
    digest = client.ask("SCRIPT", "LOAD", "return redis.call('get', KEYS[1])").value
    assert isinstance(digest, bytes)
    client.pipeline(["SET", f"key:{number}", number] for number in range(20))
    replies = client.pipeline(["EVALSHA", digest, 1, f"key:{number}"] for number in range(20))
    assert [reply.value for reply in replies] == [str(number).encode() for number in range(20)]
    assert client.ask("SCRIPT", "EXISTS", digest, "0" * 40).value == [1, 0]
    client.ask("SCRIPT", "FLUSH")
    assert client.ask("SCRIPT", "EXISTS", digest).value == [0]


def test_what_is_published_is_heard_wherever(client: RedisClient, front: Front) -> None:
    with front.client() as other:
        assert client.ask("SUBSCRIBE", "news").value == [b"subscribe", b"news", 1]
        assert other.ask("PUBLISH", "news", "hello").value == 1
        assert client.reply().value == [b"message", b"news", b"hello"]
        assert client.ask("GET", "key").error.text.startswith("ERR Can't execute 'get'")
        assert client.ask("PING").value == [b"pong", b""]
        assert client.ask("UNSUBSCRIBE").value == [b"unsubscribe", b"news", 0]
        assert client.ask("GET", "key").value is None


def test_a_sharded_channel_is_heard_though_its_slot_moves(
    client: RedisClient, own: ValkeyCluster, front: Front
) -> None:
    slot = own.slot("shard")
    source = own.master(slot)
    target = own.another_master(slot)
    with front.client() as other:
        assert client.ask("SSUBSCRIBE", "shard").value == [b"ssubscribe", b"shard", 1]
        assert other.ask("SPUBLISH", "shard", "one").value == 1
        assert client.reply().value == [b"smessage", b"shard", b"one"]
        own.move(slot, target)
        wait_until("the client to be subscribed again", lambda: other.ask("SPUBLISH", "shard", "two").value == 1)
        assert client.reply().value == [b"smessage", b"shard", b"two"]
    own.move(slot, source)


def test_clients_that_know_of_clusters_are_satisfied_with_one_node(front: Front, client: RedisClient) -> None:
    with RedisCluster(host="127.0.0.1", port=front.port) as aware:
        assert len(aware.get_nodes()) == 1
        for number in range(50):
            assert aware.set(f"aware:{number}", number)
        assert [int(aware.get(f"aware:{number}")) for number in range(50)] == list(range(50))
        with aware.pipeline() as pipeline:
            for number in range(10):
                pipeline.incr(f"aware:{number}")
            assert pipeline.execute() == list(range(1, 11))
        assert aware.keyslot("aware:1") == client.ask("CLUSTER", "KEYSLOT", "aware:1").value
        assert len(list(aware.scan_iter("aware:*"))) == 50


@pytest.mark.parametrize("package", ["ioredis", "redis"])
def test_so_are_those_of_node_js(front: Front, client: RedisClient, package: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("no node; Debian's package nodejs brings it (`make apt`)")
    if not (NODE / "node_modules" / package).is_dir():
        pytest.skip(f"no {package} below {NODE}; `npm ci` there brings it")
    done = subprocess.run(
        ["node", str(NODE / "cluster.mjs"), package],
        input=json.dumps({"host": "127.0.0.1", "port": front.port}) + "\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"nodes": 1, "found": list(range(20)), "executed": [1, 2], "heard": "hello"}


# ---- whatever happens to its nodes


class Writer(threading.Thread):
    """Counts by INCR, and writes keys that it then knows.

    Attributes:
        written: keys that were acknowledged, with their values.
        faults: what was wrong, and what was refused.
    """

    def __init__(self, port: int, number: int, over: threading.Event) -> None:
        super().__init__()
        self.written: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.wrong: list[str] = []
        self.done = 0
        self._redis = redis.Redis(port=port, socket_timeout=30, retry=None)  # type: ignore[arg-type]  # None is none
        self._number = number
        self._rng = random.Random(number)
        self._over = over

    def run(self) -> None:
        """Until it is over; on one connection."""
        count = 0
        while not self._over.is_set():
            self.done += 1
            key = f"w{self._number}:{self._rng.randrange(300)}"
            value = str(self.done).encode()
            known = self.written.pop(key, None)
            try:
                if known is not None and self._redis.get(key) != known:
                    self.wrong.append(f"{key} is not {known!r}")
                with self._redis.pipeline(transaction=self.done % 5 == 0) as pipeline:
                    pipeline.set(f"{{{key}}}", value)
                    pipeline.mget(f"{{{key}}}", f"{{{key}}}:none")
                    if pipeline.execute() != [True, [value, None]]:
                        self.wrong.append(f"a pipeline of {key}")
                if self._redis.mset({key: value, f"{key}:too": value}):
                    self.written |= {key: value, f"{key}:too": value}
                count += 1
                if self._redis.incr(f"count:{self._number}") != count:
                    self.wrong.append(f"a count other than {count}")
            except redis.ResponseError as error:
                self.refused.append(str(error))
                count = int(self._redis.get(f"count:{self._number}") or 0)
            except redis.RedisError as error:
                self.wrong.append(repr(error))
                return


def under_load(front: Front, act: Callable[[], None], settle: float = 0.5) -> list[Writer]:
    """Do something while clients write; they must not notice more than errors."""
    over = threading.Event()
    writers = [Writer(front.port, number, over) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        time.sleep(settle)
        act()
        time.sleep(settle)
    finally:
        over.set()
        for writer in writers:
            writer.join(60)
    assert not [fault for writer in writers for fault in writer.wrong]
    with front.client() as client:
        for writer in writers:
            assert writer.written
            replies = client.pipeline(["GET", key] for key in writer.written)
            assert [reply.value for reply in replies] == list(writer.written.values())
    return writers


def test_a_transaction_whose_slot_begins_to_move_is_over_with_its_exec(
    client: RedisClient, own: ValkeyCluster, front: Front
) -> None:
    slot = own.slot("{moving}")
    source = own.master(slot)
    target = own.another_master(slot)
    client.pipeline([["MULTI"], ["SET", "{moving}1", 1], ["MGET", "{moving}1", "{moving}2"]])
    own.begin_move(slot, target)
    assert client.ask("EXEC").error.code == "EXECABORT"
    assert client.ask("GET", "elsewhere").value is None
    own.move_keys(slot, target)
    own.finish_move(slot, target)
    replies = client.pipeline([["MULTI"], ["SET", "{moving}1", 1], ["MGET", "{moving}1", "{moving}2"], ["EXEC"]])
    assert replies[-1].value == [b"OK", [b"1", None]]
    own.move(slot, source)


def strange(writers: list[Writer]) -> list[str]:
    """What was refused, but for transactions whose slot moved while they were open: they must be begun again."""
    return [error for writer in writers for error in writer.refused if "to another node" not in error]


def test_the_password_changes_under_load_and_no_client_notices(
    front: Front, client: RedisClient, own: ValkeyCluster, long: bool
) -> None:
    def rotate() -> None:
        for _ in range(30 if long else 3):
            before, password = front.account.password, canary("password")
            for node in own.alive:
                node.ask("ACL", "SETUSER", front.account.name, f">{password}")
            front.account = Account(front.account.name, password)
            wanted = front.version + 1
            front.secret.swap({"username": front.account.name, "password": password})
            wait_until("the new password to be used", partial(front.uses, wanted))
            time.sleep(0.3)
            for node in own.alive:
                node.ask("ACL", "SETUSER", front.account.name, f"<{before}")

    writers = under_load(front, rotate)
    assert not [error for writer in writers for error in writer.refused]


@pytest.mark.apt
def test_redis_7_is_reached_over_tls_at_every_node(authority: Authority, tmp_path: Path) -> None:
    with ValkeyCluster(program("redis7"), certificates=certificates(authority)) as cluster:
        front = Front(cluster, tmp_path, authority)
        with front.daemon, front.client() as client:
            replies = client.pipeline(["SET", f"key:{number}", number] for number in range(100))
            assert {reply.value for reply in replies} == {b"OK"}
            assert client.ask("MGET", "key:1", "key:2", "key:3").value == [b"1", b"2", b"3"]
            assert client.ask("DBSIZE").value == 100
            assert [node.ask("DBSIZE") for node in cluster.nodes[:MASTERS]] != [100, 0, 0]


def test_slots_are_moved_under_load_and_no_client_notices(
    front: Front, client: RedisClient, own: ValkeyCluster, long: bool, figure: Callable[[str], None]
) -> None:
    keys = [f"w{number}:{key}" for number in range(WRITERS) for key in range(20)]
    slots = [own.slot(f"count:{number}") for number in range(WRITERS)] + [own.slot(key) for key in keys]
    moves = random.Random(3).sample(sorted(set(slots)), 100 if long else 25)

    def reshard() -> None:
        for slot in moves:
            target = own.another_master(slot)
            own.begin_move(slot, target)
            time.sleep(0.01)
            own.move_keys(slot, target)
            own.finish_move(slot, target)

    writers = under_load(front, reshard)
    assert not strange(writers)
    sent_on = front.daemon.metric("ambassador_upstream_redirections_total", upstream="cluster", word="MOVED")
    assert sent_on > 0
    figure(f"{len(moves)} slots moved under {sum(writer.done for writer in writers)} rounds, no error")


def test_masters_and_replicas_change_places_under_load_and_no_client_notices(
    front: Front, client: RedisClient, own: ValkeyCluster, long: bool, figure: Callable[[str], None]
) -> None:
    rounds = 10 if long else 1

    def swap() -> None:
        for _ in range(rounds):
            for number in range(MASTERS):
                (replica,) = own.replicas(own.master(number * SLOTS // MASTERS))
                replica.ask("CLUSTER", "FAILOVER")
                wait_until("the replica to be promoted", partial(is_master, replica), 20.0)
                own.settle()

    writers = under_load(front, swap)
    assert not strange(writers)
    figure(f"{rounds * MASTERS} failovers on purpose under {sum(writer.done for writer in writers)} rounds, no error")


def is_master(node: ValkeyServer) -> bool:
    """What it says itself."""
    return node.info("replication")["role"] == "master"


def test_a_master_is_killed_and_what_was_acknowledged_after_the_failover_is_there(
    front: Front, client: RedisClient, own: ValkeyCluster, figure: Callable[[str], None]
) -> None:
    victim = own.master(own.slot("count:0"))
    wait_until("replicas to follow", lambda: bool(own.replicas(victim)))

    def kill() -> None:
        victim.kill()
        own.settle(60.0)

    over = threading.Event()
    before = [Writer(front.port, 100 + number, over) for number in range(WRITERS)]
    for writer in before:
        writer.start()
    time.sleep(0.5)
    started = time.monotonic()
    kill()
    gap = time.monotonic() - started
    over.set()
    for writer in before:
        writer.join(60)
    # What was written to the dead master and had not reached its replica is lost, as it is with any client.
    assert not [fault for writer in before for fault in writer.wrong if "is not" not in fault and "count" not in fault]
    assert all(len(writer.refused) <= 3 for writer in before), [writer.refused for writer in before]
    writers = under_load(front, lambda: None)
    assert not [error for writer in writers for error in writer.refused]
    refused = sum(len(writer.refused) for writer in before)
    figure(f"failover in {gap:.1f} s: {refused} commands of {WRITERS} clients refused, no connection lost")
    victim.start()
    SHARED_CHILDREN.add(victim.pid)
    own.settle(60.0)
