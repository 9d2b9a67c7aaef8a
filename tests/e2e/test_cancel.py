"""Whose query a cancel may end: that of who shows the key, and nobody else's."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from tests.e2e.drivers.base import SLEEP
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.house import House
from tests.e2e.where import Where
from tests.support.processes import wait_until

CANCEL = 80877102
ACTIVE = "ambassador_downstream_connections"


@dataclass
class Sleeper:
    """A session that sleeps in a thread.

    Attributes:
        codes: SQLSTATEs of what ended its sleep.
    """

    connection: psycopg.Connection
    codes: list[str] = field(default_factory=list)

    def sleep(self) -> None:
        """Sleep until somebody ends it."""
        try:
            self.connection.execute(SLEEP)
        except psycopg.Error as error:
            self.codes.append(error.sqlstate or "")


@contextlib.contextmanager
def asleep(house: House, where: Where) -> Iterator[Sleeper]:
    """A session whose server is at it."""
    with connect(where) as connection:
        sleeper = Sleeper(connection)
        thread = threading.Thread(target=sleeper.sleep)
        thread.start()
        try:
            wait_until("the server to be at it", house.clusters[17].sleeping)
            yield sleeper
        finally:
            connection.cancel_safe()
            thread.join(10)


def send(where: Where, pid: int, key: bytes) -> bytes:
    """Send a cancel as libpq does, and return the answer, of which there should be none."""
    with socket.create_connection((where.host, where.port), 5) as bare:
        bare.sendall(struct.pack(">III", 12 + len(key), CANCEL, pid) + key)
        bare.settimeout(5)
        return bare.recv(100)


@pytest.mark.parametrize("size", [4, 32])
def test_a_wrong_key_cancels_nothing_and_is_not_answered(house: House, size: int) -> None:
    where = house.where("pg17-tls-plain")
    with asleep(house, where) as sleeper:
        known = sleeper.connection.info.backend_pid
        servers = int(house.clusters[17].server.psql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        # What the client holds is not what the server gave: that never leaves the ambassador.
        assert known != servers
        for pid in (known, servers, 1, 0, 2**31 - 1):
            assert send(where, pid, bytes(size)) == b""
        assert not sleeper.codes
        assert house.clusters[17].sleeping()
    assert sleeper.codes == ["57014"]


def test_one_client_s_key_does_not_end_another_s_query(house: House) -> None:
    where = house.where("pg17-tls-plain")
    with asleep(house, where) as sleeper, connect(where) as other:
        other.cancel()
        other.cancel_safe()
        assert value(other.execute("SELECT 42")) == 42
        assert not sleeper.codes
        assert house.clusters[17].sleeping()


def test_the_key_of_a_session_that_has_ended_is_not_even_carried(house: House) -> None:
    server = house.clusters[17].server
    with connect(house.where("pg17-tls-plain")) as gone:
        handle = gone.pgconn.get_cancel()
    wait_until("our session to end", lambda: house.daemon.metric(ACTIVE, listener="pg17-tls-plain") == 0)
    before = len(server.log())
    handle.cancel()
    # By now the server's process may have been succeeded by one of the same number.
    assert "connection received: host=127.0.0.1" not in server.log()[before:]
