"""The Vault that is none goes wrong as it is told to."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.fake_vault import FakeVault
from tests.support.fake_vault_answers import Json
from tests.support.secrets import MINTED
from tests.support.valkey import Certificates

CREDS = "database/creds/app"


def furnished() -> FakeVault:
    """One that lends users."""
    return FakeVault().database(CREDS, ttl=5, max_ttl=9)


def ask(server: FakeVault, path: str = CREDS, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request with root's token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)
    try:
        method = "GET" if body is None else "POST"
        named = {"X-Vault-Token": server.root} | headers
        connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), named)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else dict(answer.getheaders())
    finally:
        connection.close()


def test_it_hears_who_asks_for_what() -> None:
    with furnished() as server:
        ask(server, f"{CREDS}?x=1", **{"X-Vault-Namespace": "team"})
        ask(server, "sys/leases/renew", {"lease_id": "a"})
        first, second = server.heard
        assert (first.method, first.path, first.query, first.namespace) == ("GET", CREDS, "x=1", "team")
        assert (first.token, second.body) == (server.root, {"lease_id": "a"})
        assert server.asked("sys/") == [second]
        assert first.time <= second.time <= time.time()
        assert server.root in MINTED


def test_it_is_told_what_there_is() -> None:
    with furnished() as server:
        server.key_value("kv").put("kv", "app", username="u").put("kv", "app", username="v")
        assert ask(server, "kv/data/app")[1]["data"]["data"] == {"username": "v"}
        server.delete("kv", "app")
        assert ask(server, "kv/data/app")[0] == 404
        server.static_role("database/static-creds/kept", "u", "p")
        assert ask(server, "database/static-creds/kept")[1]["data"]["username"] == "u"
        server.login("auth/jwt/login", role="app", jwt="x")
        assert [ask(server, "auth/jwt/login", {"role": "app", "jwt": jwt})[0] for jwt in ("x", "y")] == [200, 400]
        server.authority("pki/issue/app")
        assert ask(server, "pki/issue/app", {"common_name": "a.example"})[0] == 200
        assert ask(server, "sys/wrapping/unwrap", {"token": server.wrap({"a": 1})})[1]["data"] == {"a": 1}


def test_it_seals_denies_and_revokes() -> None:
    with furnished() as server:
        token = server.token(ttl=50)
        assert ask(server.seal())[0] == 503
        assert ask(server.unseal())[0] == 200
        assert (ask(server.deny("database/"))[0], ask(server.deny())[0]) == (403, 200)
        server.revoke(token)
        assert ask(server, "auth/token/lookup-self", **{"X-Vault-Token": token})[0] == 403


def test_a_fault_lasts_as_long_as_it_was_said() -> None:
    with furnished() as server:
        server.on(CREDS, status=500, errors=["no"], times=2).on("sys/", status=400)
        assert [ask(server) for _ in range(2)] == [(500, {"errors": ["no"]})] * 2
        assert ask(server)[0] == 200
        assert len(server.contents.leases) == 1  # none was lent while it failed
        assert ask(server, "sys/leases/renew", {})[0] == 400
        server.on(status=429, headers={"Retry-After": "3"})
        status, headers = ask(server)
        assert (status, headers["Retry-After"]) == (429, "3")
        assert ask(server.as_usual())[0] == 200


def test_it_may_redirect_and_say_what_is_no_json() -> None:
    with furnished() as server:
        server.on(status=307, headers={"Location": "http://127.0.0.1:1/"})
        assert ask(server)[1]["Location"] == "http://127.0.0.1:1/"
        server.on(body="<html>")
        with pytest.raises(json.JSONDecodeError):
            ask(server)


def test_what_it_says_may_be_changed() -> None:
    def without_life(said: Json) -> Json:
        del said["lease_duration"]
        return said

    with furnished() as server:
        said = ask(server.on(CREDS, change=without_life))[1]
        assert "lease_duration" not in said
        assert said["data"]["username"].startswith("lent_")
        assert ask(server.on(CREDS, change=lambda said: said | {"data": None}))[1]["data"] is None
        assert ask(server.on(CREDS, change=lambda said: [])) == (200, [])


def test_it_may_be_slow() -> None:
    with furnished() as server:
        began = time.monotonic()
        assert ask(server.on(delay=0.2))[0] == 200
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("act", ["close", "reset", "cut"])
def test_it_may_break_off(act: Any) -> None:
    with furnished() as server, pytest.raises((ConnectionError, http.client.IncompleteRead)):
        ask(server.on(act=act))


def test_it_may_say_nothing() -> None:
    with furnished() as server, pytest.raises(TimeoutError):
        ask(server.on(act="hang"))


def test_it_may_never_end() -> None:
    with furnished() as server:
        server.on(act="endless")
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)
        connection.request("GET", f"/v1/{CREDS}", headers={"X-Vault-Token": server.root})
        assert len(connection.getresponse().read(1 << 20)) == 1 << 20
        connection.close()


def test_it_may_drip() -> None:
    with furnished() as server:
        server.on(body="[1, 2]", act="drip")
        began = time.monotonic()
        assert ask(server) == (200, [1, 2])
        assert time.monotonic() - began >= 0.25


def test_it_ends_while_a_client_waits() -> None:
    connections = []
    began = time.monotonic()
    with furnished() as server:
        for act in ("hang", "drip", "endless"):
            server.on(act=act)
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            connection.request("GET", f"/v1/{CREDS}", headers={"X-Vault-Token": server.root})
            connections.append(connection)
            while len(server.heard) < len(connections):
                time.sleep(0.01)
    for connection in connections:
        connection.close()
    assert time.monotonic() - began < 3


def test_it_speaks_tls_and_may_demand_a_certificate(authority: Authority) -> None:
    pair, client = authority.server("localhost"), authority.client("app")

    def status(server: FakeVault, *, shown: bool) -> int:
        context = ssl.create_default_context(cafile=str(authority.file))
        if shown:
            context.load_cert_chain(client.cert, client.key)
        connection = http.client.HTTPSConnection("localhost", server.port, timeout=2, context=context)
        try:
            connection.request("GET", "/v1/sys/health")
            return connection.getresponse().status
        finally:
            connection.close()

    with FakeVault(certificates=Certificates(pair.cert, pair.key)) as server:
        assert status(server, shown=False) == 200
        assert server.url == f"https://127.0.0.1:{server.port}"
    with FakeVault(certificates=Certificates(pair.cert, pair.key, authority.file)) as server:
        assert status(server, shown=True) == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            status(server, shown=False)
