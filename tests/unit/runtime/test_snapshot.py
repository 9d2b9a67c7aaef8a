"""The status is put together from a daemon's parts: everything a person asks for, and no value of a secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambassador.admin.status import MAX_SESSIONS, to_json
from ambassador.runtime import snapshot
from tests.support.certificates import Authority
from tests.support.fake_sentinel import FakeSentinel
from tests.support.fake_vault import FakeVault
from tests.support.house import House, until
from tests.support.secrets import canary
from tests.support.threaded import ThreadedServer, echo


@pytest.fixture
async def house(authority: Authority, tmp_path: Path) -> AsyncIterator[House]:
    pair = authority.server("localhost")
    (tmp_path / "username").write_text("orders")
    (tmp_path / "password").write_text(canary("password"))
    with ThreadedServer(echo) as server:
        config = f"""
credentials:
  db: {{file: {{path: {tmp_path}}}}}
upstreams:
  queue: {{endpoints: ["127.0.0.1:{server.port}"]}}
  orders: {{endpoints: ["127.0.0.1:1"], credential: db, tls: {{mode: require}}}}
listeners:
  queue: {{listen: "unix:DIR/queue", tcp: {{upstream: queue}}, limits: {{connections: 300}}}}
  orders:
    listen: "unix:DIR/orders"
    tls: {{cert: {pair.cert}, key: {pair.key}}}
    postgres: {{upstream: orders}}
"""
        async with House(config) as running:
            yield running


async def test_listeners_upstreams_credentials_and_certificates_are_shown(house: House) -> None:
    shown = to_json(snapshot.take(house.daemon))
    assert [(one["name"], one["protocol"], one["tls"]) for one in shown["listeners"]] == [
        ("queue", "tcp", False),
        ("orders", "postgres", True),
    ]
    assert {one["name"]: one["tls"] for one in shown["upstreams"]} == {"queue": "off", "orders": "require"}
    (credential,) = shown["credentials"]
    assert (credential["name"], credential["version"], credential["last_error"]) == ("db", 1, None)
    assert [one["where"] for one in shown["certificates"]] == ["listener orders"]
    assert (shown["daemon"]["state"], shown["daemon"]["last_reload"], shown["held"]) == ("ready", None, [])


async def test_a_session_is_shown_while_it_lives(house: House) -> None:
    reader, writer = await asyncio.open_unix_connection(house.directory / "queue")
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    taken = snapshot.take(house.daemon)
    (session,) = taken.sessions
    assert (session.listener, session.phase, session.bytes_in, session.bytes_out) == ("queue", "relay", 5, 5)
    assert taken.sessions_total == 1
    assert [one.connections for upstream in taken.upstreams for one in upstream.endpoints] == [1, 0]
    writer.close()
    await until("the session to end", lambda: not snapshot.take(house.daemon).sessions)
    queue = snapshot.take(house.daemon).listeners[0]
    assert (queue.total, queue.bytes_in, queue.bytes_out) == (1, 5, 5)


async def test_of_many_sessions_the_oldest_are_listed_and_all_are_counted(house: House) -> None:
    connections = [await asyncio.open_unix_connection(house.directory / "queue") for _ in range(MAX_SESSIONS + 5)]
    await until("all to be in", lambda: snapshot.take(house.daemon).sessions_total == MAX_SESSIONS + 5)
    assert len(snapshot.take(house.daemon).sessions) == MAX_SESSIONS
    for _, writer in connections:
        writer.close()
    await until("all to be gone", lambda: snapshot.take(house.daemon).sessions_total == 0)


async def test_a_refused_reload_is_shown_with_its_faults(house: House) -> None:
    await house.reload("nonsense: 1\n")
    reload = to_json(snapshot.take(house.daemon))["daemon"]["last_reload"]
    assert reload["applied"] is False
    assert "nonsense" in json.dumps(reload["message"])


async def test_roles_that_discovery_tells_and_its_troubles_are_shown() -> None:
    async with FakeSentinel("a", "127.0.0.1:1") as sentinel:
        sentinel.replicas = {"127.0.0.1:2": False}
        config = f"""
upstreams:
  cache: {{discovery: {{sentinel: {{master: cache, endpoints: "{sentinel.address}"}}}}}}
listeners:
  cache: {{listen: "unix:DIR/cache", tcp: {{upstream: cache}}}}
"""
        async with House(config) as house:
            (cache,) = snapshot.take(house.daemon).upstreams
            assert [(one.address, one.role) for one in cache.endpoints] == [
                ("127.0.0.1:1", "primary"),
                ("127.0.0.1:2", "replica"),
            ]
            assert (cache.discovery, cache.discovery_error) == ("sentinel", None)
            await sentinel.stop()
            await until("it to be missed", lambda: bool(snapshot.take(house.daemon).upstreams[0].discovery_error))
            assert len(snapshot.take(house.daemon).upstreams[0].endpoints) == 2


VAULTS = """
vaults:
  main: {{address: {url}, auth: {{userpass: {{username: app, password_env: SHOWN}}}}}}
  idle: {{address: {url}, auth: {{token: {{env: NOT_THERE}}}}}}
credentials:
  user: {{vault_database: {{vault: main, mount: db, role: app}}}}
  kept: {{vault_kv: {{vault: main, mount: kv, path: app}}}}
upstreams:
  one: {{endpoints: ["127.0.0.1:1"], credential: user}}
  two: {{endpoints: ["127.0.0.1:1"], credential: kept}}
listeners:
  one: {{listen: "unix:DIR/one", postgres: {{upstream: one}}}}
  two: {{listen: "unix:DIR/two", postgres: {{upstream: two}}}}
"""


async def test_vaults_and_what_they_lent_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    password = canary("password")
    monkeypatch.setenv("SHOWN", password)
    with FakeVault().login("auth/userpass/login/app", password=password).key_value("kv") as server:
        server.database("db/creds/app", ttl=60).put("kv", "app", password=canary("kept"))
        async with House(VAULTS.format(url=server.url)) as house:
            shown = house.status()
            main, idle = shown["vaults"]
            assert (main["name"], main["login"]) == ("main", f"{server.url}, userpass user app")
            assert (main["logged_in"], idle["logged_in"], main["last_error"]) == (True, False, None)
            assert main["token_expires"] is not None
            assert idle["token_expires"] is None
            user, kept = sorted(shown["credentials"], key=lambda one: str(one["name"]), reverse=True)
            assert (user["lease"], kept["lease"]) == (True, False)
            assert user["expires"] is not None
            assert user["next_renewal"] < user["expires"]
            assert kept["next_renewal"] is not None
            server.seal()
            house.daemon.world.keepers["kept"].ask(None)
            await until("trouble", lambda: house.status()["vaults"][0]["last_error"] is not None)
            assert "is sealed" in house.status()["vaults"][0]["last_error"]
            errors = {one["name"]: one["last_error"] for one in house.status()["credentials"]}
            assert errors["user"] is None
            assert "is sealed" in errors["kept"]
            server.unseal()
