"""Real servers and one daemon for the whole run, and every client there is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e import clusters as making
from tests.e2e.clusters import Cluster
from tests.e2e.house import House
from tests.support import secrets
from tests.support.certificates import Authority
from tests.support.leaks import SHARED_CHILDREN

LONG = os.environ.get("AMBASSADOR_LONG", "") not in {"", "0"}
"""Whether the tests take the times and sizes that a release is judged by, rather than those of every day."""

HERE = Path(__file__).parent

LOADS = {
    *("test_drain.py", "test_hostile.py", "test_memory.py", "test_reload.py", "test_rotation.py"),
    *("redis/test_cluster.py", "redis/test_hostile.py", "redis/test_outage.py", "redis/test_rotation.py"),
    *("redis/test_sentinel.py", "vault/test_lease.py", "vault/test_trouble.py"),
}
"""What weighs the whole daemon under load, and looks at what that costs or how long it takes."""


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether there is time for the full lengths: AMBASSADOR_LONG=1."""
    return LONG


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what weighs the daemon the machine to itself; what is said and what comes back is the same in company."""
    missing = [name for name in LOADS if not (HERE / name).is_file()]
    assert not missing, f"LOADS names what is not there: {missing}"
    for item in items:
        if item.path.is_relative_to(HERE) and str(item.path.relative_to(HERE)) in LOADS:
            item.add_marker("alone")


@pytest.fixture(scope="session")
def clusters(authority: Authority) -> Iterator[Mapping[int, Cluster]]:
    """Our own server of every version that is here."""
    found: dict[int, Cluster] = {}
    with ExitStack() as stack:
        for major in making.installed():
            server = stack.enter_context(making.make(major, authority))
            SHARED_CHILDREN.add(server.pid)
            found[major] = making.fill(server)
        yield found


@pytest.fixture(scope="session")
def shared_house(
    clusters: Mapping[int, Cluster], authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """The daemon of the run."""
    with TemporaryDirectory(prefix="house-", dir="/tmp") as sockets:
        found = House(tmp_path_factory.mktemp("house"), Path(sockets), authority, clusters)
        with found.daemon as daemon:
            SHARED_CHILDREN.add(daemon.child.pid)
            yield found


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    """The daemon of the run; what it logs during a test is searched for that test's secrets."""
    before = len(shared_house.daemon.child.out)
    yield shared_house
    said = shared_house.daemon.child.out[before:]
    assert not [secret for secret in secrets.MINTED if secret in said], "the daemon logged a secret of this test"
