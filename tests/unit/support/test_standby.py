from __future__ import annotations

import pytest

from tests.support.postgres import PostgresServer, distribution, new_role
from tests.support.processes import wait_until
from tests.support.standby import PRIMARY, StandbyServer


@pytest.mark.timeout(60)
def test_it_follows_until_it_is_promoted() -> None:
    with PostgresServer(distribution(17), settings=PRIMARY) as primary:
        role = new_role(primary, more="REPLICATION")
        with StandbyServer(primary, role) as standby:
            assert standby.psql("SELECT pg_is_in_recovery()") == "t"
            primary.psql("CREATE TABLE followed AS SELECT 7 AS number")
            wait_until("the table to arrive", lambda: _count(standby) == "1")
            standby.psql("SELECT pg_promote()")
            assert standby.psql("SELECT pg_is_in_recovery()") == "f"
            standby.psql("DROP TABLE followed")
            assert _count(primary) == "1"


def _count(server: PostgresServer) -> str:
    return server.psql("SELECT count(*) FROM pg_tables WHERE tablename = 'followed'")
