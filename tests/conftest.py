"""What every test of this house lives under: two event loops, nothing left behind, and no run without tests."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from ambassador.telemetry import redaction
from tests.support import leaks
from tests.support.certificates import Authority
from tests.support.openbao import OpenBao
from tests.support.postgres import TLS_VERSIONS, VERSIONS, PostgresServer, Servers
from tests.support.sentinels import Sentinels
from tests.support.valkey import ValkeyServer, ValkeyServers, program
from tests.support.valkey_cluster import ValkeyCluster

pytest_plugins = ["tests.support.figures", "tests.support.nonempty", "tests.support.telltale"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


LOOPS: Mapping[str, LoopFactory] = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Every async test runs on our loop and on the standard library's; with `AMBASSADOR_LOOP` on the one it names."""
    one = os.environ.get("AMBASSADOR_LOOP")
    if one is None and item.get_closest_marker("one_loop") is not None:
        one = "uvloop"
    return LOOPS if one is None else {one: LOOPS[one]}


def pytest_sessionstart() -> None:
    """Use each loop once: what it then holds for the life of the process is no test's leak (uvloop: a pipe)."""
    # A shell's background jobs ignore it, and so would servers that shall end together with whoever started them.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    for factory in LOOPS.values():
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.to_thread(int))


# Nothing left behind


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fails a test that leaves a descriptor, a thread or a child process."""
    before = leaks.holdings()
    yield
    found = leaks.left_behind(before)
    assert not found, "left behind: " + "; ".join(found)


@pytest.fixture(autouse=True)
def no_tasks_left(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[None]:
    """Fails an async test that leaves a task; looks after the test's own fixtures ended, before its loop is closed."""
    if request.node.get_closest_marker("asyncio") is None:
        yield
        return
    # The plug-in's own name for the runner of the loop; it has no public one.
    runner: asyncio.Runner = request.getfixturevalue("_function_scoped_runner")
    yield
    found = leaks.tasks_left(runner.get_loop())
    assert not found, "tasks left: " + "; ".join(found)


@pytest.fixture(autouse=True)
def nothing_concealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test concealed is not masked in this one's lines: `xxxx` may be some other test's password."""
    monkeypatch.setattr(redaction, "_REDACTION", redaction.Redaction())


# Real servers, shared by the run


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of this run."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def servers(authority: Authority) -> Iterator[Servers]:
    """Real PostgreSQL servers by version, started when first asked for and stopped at the end of the run."""
    found = Servers(authority)
    yield found
    found.close()


@pytest.fixture(params=VERSIONS, ids=lambda major: f"pg{major}")
def postgres(request: pytest.FixtureRequest, servers: Servers) -> PostgresServer:
    """A shared PostgreSQL without TLS, of each version in turn; make a role of your own with `new_role`."""
    return servers.get(request.param)


@pytest.fixture(params=TLS_VERSIONS, ids=lambda major: f"pg{major}-tls")
def postgres_tls(request: pytest.FixtureRequest, servers: Servers) -> PostgresServer:
    """A shared PostgreSQL with TLS, of each version that was built with it."""
    return servers.get(request.param, tls=True)


@pytest.fixture
def postgres17(servers: Servers) -> PostgresServer:
    """The shared PostgreSQL 17 without TLS: for tests that do not care about versions."""
    return servers.get(17)


@pytest.fixture
def postgres17_tls(servers: Servers) -> PostgresServer:
    """The shared PostgreSQL 17 with TLS."""
    return servers.get(17, tls=True)


@pytest.fixture(scope="session")
def valkeys(authority: Authority) -> Iterator[ValkeyServers]:
    """Real Valkey and Redis servers by kind, started when first asked for and stopped at the end of the run."""
    found = ValkeyServers(authority)
    yield found
    found.close()


@pytest.fixture
def valkey(valkeys: ValkeyServers) -> ValkeyServer:
    """The shared Valkey 9; make a user of your own with `new_account`."""
    return valkeys.get("valkey9")


@pytest.fixture(params=[pytest.param("redis7", marks=pytest.mark.apt)])
def redis7(valkeys: ValkeyServers) -> ValkeyServer:
    """The shared Redis 7 without TLS."""
    return valkeys.get("redis7")


@pytest.fixture(params=[pytest.param("redis7-tls", marks=pytest.mark.apt)])
def redis_tls(valkeys: ValkeyServers) -> ValkeyServer:
    """The shared Redis 7 with TLS; it may be shown a client certificate of the run's authority."""
    return valkeys.get("redis7", tls=True)


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """A shared OpenBao without TLS; what its helpers make has a place of its own. Do not stop or seal it."""
    with OpenBao() as found:
        leaks.SHARED_CHILDREN.add(found.pid)
        yield found


@pytest.fixture(scope="session")
def cluster() -> Iterator[ValkeyCluster]:
    """A shared cluster of six Valkey 9; a test that moves slots or kills a node makes one of its own."""
    with ValkeyCluster(program("valkey9"), shared=True) as found:
        yield found


@pytest.fixture(scope="session")
def sentinels() -> Iterator[Sentinels]:
    """A shared Valkey 9 with two replicas and three Sentinels; a test that needs another master makes its own."""
    with Sentinels(program("valkey9"), shared=True) as found:
        yield found
