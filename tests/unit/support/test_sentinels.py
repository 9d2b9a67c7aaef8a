"""The real Sentinels: they know everybody, and another master takes over when the first is gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ambassador.demo.resp import Reply
from tests.support.certificates import Authority
from tests.support.processes import wait_until
from tests.support.sentinels import NAME, Sentinels, replication
from tests.support.valkey import ServerFailed, ValkeyServer, certificates, new_account, program

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def own() -> Iterator[Sentinels]:
    """Sentinels whose master a test may kill."""
    with Sentinels(program("valkey9")) as found:
        yield found


def test_the_first_server_is_the_master_and_the_others_follow(sentinels: Sentinels) -> None:
    assert sentinels.master is sentinels.servers[0]
    assert sentinels.replicas == sentinels.servers[1:]
    sentinels.master.ask("SET", "key", "value")
    assert sentinels.master.ask("WAIT", 2, 5000) == 2
    assert [replica.ask("GET", "key") for replica in sentinels.replicas] == ["value", "value"]


def test_sentinels_have_users_of_their_own(sentinels: Sentinels) -> None:
    account = new_account(*sentinels.sentinels, rules="+sentinel|get-master-addr-by-name")
    told = [sentinel.ask("ACL", "DRYRUN", account.name, "SENTINEL", "MASTERS") for sentinel in sentinels.sentinels]
    assert all("no permissions" in str(answer) for answer in told)


@pytest.mark.slow  # a Sentinel looks at a server that came back every ten seconds
def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(own: Sentinels) -> None:
    before = own.master
    before.ask("SET", "key", "value")
    assert before.ask("WAIT", 2, 5000) == 2
    before.kill()
    after = own.wait_for_master(before)
    assert (after is before, after.ask("GET", "key")) == (False, "value")
    before.start()
    wait_until("the old master to follow", lambda: replication(before).get("master_link_status") == "up", 20.0)
    wait_until("its data to come back", lambda: _said(before, "GET", "key") == "value", 20.0)


def _said(server: ValkeyServer, *words: str) -> Reply:
    """What a server says that a Sentinel may be about to give its part, by closing its clients."""
    try:
        return server.ask(*words)
    except ServerFailed:
        return None


def test_a_master_is_replaced_on_request_while_it_lives(own: Sentinels) -> None:
    before = own.master
    after = own.fail_over()
    assert after is not before
    assert before in own.replicas


@pytest.mark.apt
def test_redis_does_it_over_tls(authority: Authority) -> None:
    with Sentinels(program("redis7"), certificates=certificates(authority)) as own:
        address = own.sentinels[2].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        assert address == ["127.0.0.1", str(own.servers[0].port)]
