"""The Vault that is none answers as a real OpenBao does: the same walk through both brings the same.

A fake that fails here would make every test that rests on it worthless.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.fake_vault import FakeVault
from tests.support.leaks import SHARED_CHILDREN
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import POSTGRES_ROLE
from tests.support.postgres import PostgresServer, Servers, new_role


@dataclass(frozen=True)
class Seen:
    """What an answer is like.

    Args:
        kind: its content type.
        shape: what stands at each place of its JSON.
    """

    status: int
    kind: str | None
    shape: frozenset[str]

    def differs(self, other: Seen) -> list[str]:
        """How, in words."""
        found = [f"{self.status} {self.kind}, not {other.status} {other.kind}"]
        if (self.status, self.kind) == (other.status, other.kind):
            found = []
        found += [f"has {place}" for place in sorted(self.shape - other.shape)]
        return found + [f"lacks {place}" for place in sorted(other.shape - self.shape)]


@dataclass
class Place:
    """A server with the same things in it.

    Args:
        root: a token for everything.
        token: makes one, of (ttl, longest life, renewable).
        kept: names of mounts, and what a login takes.

    Attributes:
        seen: answers by the name of the step.
        last: the JSON of the last answer.
    """

    port: int
    root: str
    token: Callable[[int, int, bool], str]
    kept: dict[str, str]
    seal: Callable[[], object]
    unseal: Callable[[], object]
    seen: dict[str, Seen] = field(default_factory=dict)
    last: Any = None

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> None:
        """Ask, and remember the answer as the last one."""
        headers = {"X-Vault-Token": self.root if token is None else token}
        self._connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read()
        self.last = json.loads(text) if text else None
        self._status, self._kind = answer.status, answer.getheader("Content-Type")

    def note(self, name: str, *asked: Any) -> None:
        """Ask, and note what the answer was like."""
        self.ask(*asked)
        assert name not in self.seen
        self.seen[name] = Seen(self._status, self._kind, frozenset(places(self.last)))

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def close(self) -> None:
        """Leave."""
        self._connection.close()


def places(value: Any, path: str = "") -> Iterator[str]:
    """What stands where in a JSON value: of texts whether they are empty, of numbers whether they are zero.

    Texts for people count in full, but for the names of mounts and the numbers of seconds.
    """
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from places(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from places(inner, f"{path}[{number}]")
    elif isinstance(value, str) and path.startswith((".errors", ".warnings")):
        yield f"{path}: " + re.sub(r'"\d+s"', '"Ns"', re.sub(r"-[0-9a-f]{8}\b", "-MOUNT", value))
    elif value is None or isinstance(value, bool | dict | list):
        yield f"{path}: {value}"
    else:
        yield f"{path}: {type(value).__name__} {bool(value)}"


def walk_tokens(place: Place) -> None:
    own = place.token(600, 6000, True)
    place.note("look up a token", "GET", "auth/token/lookup-self", None, own)
    place.note("renew a token", "POST", "auth/token/renew-self", {}, own)
    place.note("renew a token, by PUT", "PUT", "auth/token/renew-self", {"increment": "60s"}, own)
    place.note("look up a renewed token", "GET", "auth/token/lookup-self", None, own)
    place.note("renew a token beyond its end", "POST", "auth/token/renew-self", {"increment": 36000}, own)
    place.note("renew what cannot be", "POST", "auth/token/renew-self", {}, place.token(600, 6000, False))
    place.note("revoke oneself", "POST", "auth/token/revoke-self", {}, own)
    for name, token in (("a revoked", own), ("a wrong", "wrong"), ("no", "")):
        place.note(f"look up {name} token", "GET", "auth/token/lookup-self", None, token)
        place.note(f"renew {name} token", "POST", "auth/token/renew-self", {}, token)
        place.note(f"revoke {name} token", "POST", "auth/token/revoke-self", {}, token)


def walk_login(place: Place) -> None:
    path, said = f"auth/{place.kept['approle']}/login", {"role_id": place.kept["role_id"]}
    place.note("log in", "POST", path, said | {"secret_id": place.kept["secret_id"]}, "")
    token = place.last["auth"]["client_token"]
    place.note("look up a login's token", "GET", "auth/token/lookup-self", None, token)
    place.note("renew a login's token", "POST", "auth/token/renew-self", {}, token)
    place.note("log in with a wrong secret id", "POST", path, said | {"secret_id": "wrong"}, "")
    place.note("log in elsewhere", "POST", "auth/nowhere/login", said, "")
    place.note("unwrap", "POST", "sys/wrapping/unwrap", {}, place.kept["wrapping"])
    place.note("unwrap again", "POST", "sys/wrapping/unwrap", {}, place.kept["wrapping"])
    place.note("unwrap what is named", "POST", "sys/wrapping/unwrap", {"token": "s.wrong"}, "")


def walk_values(place: Place) -> None:
    one, two = place.kept["kv1"], place.kept["kv2"]
    place.note("version 1", "GET", f"{one}/app")
    place.note("version 1, nothing", "GET", f"{one}/none")
    place.note("version 2", "GET", f"{two}/data/app")
    place.note("version 2, an older one", "GET", f"{two}/data/app?version=1")
    place.note("version 2, one that never was", "GET", f"{two}/data/app?version=9")
    place.note("version 2, nothing", "GET", f"{two}/data/none")
    place.note("version 2, hidden", "GET", f"{two}/data/hidden")
    place.note("version 2, destroyed", "GET", f"{two}/data/destroyed")
    place.note("no such mount", "GET", "nowhere/app")
    place.note("no token", "GET", f"{one}/app", None, "")


def walk_leases(place: Place) -> None:
    database = place.kept["database"]
    place.note("lend", "GET", f"{database}/creds/app")
    lease = place.last["lease_id"]
    place.note("look up a lease", "PUT", "sys/leases/lookup", {"lease_id": lease})
    place.note("renew a lease", "PUT", "sys/leases/renew", {"lease_id": lease})
    place.note("look up a renewed lease", "PUT", "sys/leases/lookup", {"lease_id": lease})
    place.note("renew a lease, by POST", "POST", "sys/leases/renew", {"lease_id": lease, "increment": 60})
    place.note("renew a lease beyond its end", "PUT", "sys/leases/renew", {"lease_id": lease, "increment": 86400})
    place.note("revoke a lease", "PUT", "sys/leases/revoke", {"lease_id": lease})
    place.note("revoke a lease again", "PUT", "sys/leases/revoke", {"lease_id": lease})
    place.note("renew a revoked lease", "PUT", "sys/leases/renew", {"lease_id": lease})
    place.note("look up a revoked lease", "PUT", "sys/leases/lookup", {"lease_id": lease})
    place.note("renew nothing", "PUT", "sys/leases/renew", {})
    place.note("no such role", "GET", f"{database}/creds/none")
    place.note("lend by POST", "POST", f"{database}/creds/app", {})
    place.note("a static role", "GET", f"{database}/static-creds/kept")
    place.note("no such static role", "GET", f"{database}/static-creds/none")
    owner = place.token(600, 600, True)
    place.note("lend to somebody", "GET", f"{database}/creds/app", None, owner)
    lease = place.last["lease_id"]
    place.ask("POST", "auth/token/revoke-self", {}, owner)
    place.note("renew a lease whose owner is gone", "PUT", "sys/leases/renew", {"lease_id": lease})


def walk_certificates(place: Place) -> None:
    pki = place.kept["pki"]
    place.note("a certificate", "POST", f"{pki}/issue/app", {"common_name": "app.example"})
    place.note("a certificate, by PUT", "PUT", f"{pki}/issue/app", {"common_name": "app.example"})
    place.note("no such authority", "POST", f"{pki}/issue/none", {"common_name": "app.example"})
    place.note("a certificate by GET", "GET", f"{pki}/issue/app")


def walk_ends(place: Place) -> None:
    """What it is like when time is over."""
    token = place.token(2, 2, True)
    place.ask("GET", f"{place.kept['database']}/creds/short")
    lease = place.last["lease_id"]
    place.note("renew a token that ends soon", "POST", "auth/token/renew-self", {"increment": 60}, token)
    time.sleep(0.5)
    place.note("renew a lease that ends soon", "PUT", "sys/leases/renew", {"lease_id": lease, "increment": 60})
    time.sleep(2.7)
    place.note("renew a lease that has ended", "PUT", "sys/leases/renew", {"lease_id": lease})
    place.note("a token that has ended", "GET", "auth/token/lookup-self", None, token)


def walk_seal(place: Place) -> None:
    place.note("health", "GET", "sys/health", None, "")
    place.seal()
    place.note("health when sealed", "GET", "sys/health", None, "")
    place.note("sealed", "GET", f"{place.kept['kv1']}/app")
    place.note("log in when sealed", "POST", f"auth/{place.kept['approle']}/login", {}, "")
    place.unseal()
    place.note("unsealed again", "GET", f"{place.kept['kv1']}/app")


WALKS = (walk_tokens, walk_login, walk_values, walk_leases, walk_certificates, walk_ends, walk_seal)


@pytest.fixture(scope="module")
def fake() -> Iterator[Place]:
    """The fake."""
    wrapped = {"secret_id": "x", "secret_id_accessor": "x", "secret_id_num_uses": 0, "secret_id_ttl": 0}
    mounts = {"kv1": "kv-00000001", "kv2": "kv-00000002", "database": "database-00000003", "pki": "pki-00000004"}
    kept = mounts | {"approle": "approle-00000005", "role_id": "r", "secret_id": "s"}
    with FakeVault() as server:
        kept["wrapping"] = server.wrap(wrapped)
        server.login(f"auth/{kept['approle']}/login", role_id="r", secret_id="s")
        server.key_value(kept["kv1"], 1).put(kept["kv1"], "app", username="u", password="p")
        server.key_value(kept["kv2"])
        for name in ("app", "app", "hidden", "destroyed"):
            server.put(kept["kv2"], name, username="u", password="p")
        server.delete(kept["kv2"], "hidden").delete(kept["kv2"], "destroyed", destroy=True)
        server.database(f"{kept['database']}/creds/app", ttl=60, max_ttl=600)
        server.database(f"{kept['database']}/creds/short", ttl=1, max_ttl=2)
        server.static_role(f"{kept['database']}/static-creds/kept", "u", "p")
        server.authority(f"{kept['pki']}/issue/app", ttl=60)

        def token(ttl: int, longest: int, renewable: bool) -> str:
            return server.token(ttl=ttl, max_ttl=longest, renewable=renewable)

        yield from walked(Place(server.port, server.root, token, kept, server.seal, server.unseal))


@pytest.fixture(scope="module")
def real(servers: Servers) -> Iterator[Place]:
    """An OpenBao; one of our own, for it is sealed on the way."""
    postgres = servers.get(17)
    with OpenBao() as server:
        SHARED_CHILDREN.add(server.pid)

        def token(ttl: int, longest: int, renewable: bool) -> str:
            return server.token("everything", ttl=ttl, explicit_max_ttl=longest, renewable=renewable)

        server.policy("everything", 'path "*" { capabilities = ["create", "read", "update", "delete", "list"] }')
        yield from walked(
            Place(server.port, server.root, token, furnished(server, postgres), server.seal, server.unseal)
        )


def furnished(server: OpenBao, postgres: PostgresServer) -> dict[str, str]:
    """What the fake has too."""
    application, pki = server.approle("everything"), server.authority(ttl=60)
    one, two = server.key_value(1), server.key_value(2)
    one.put("app", {"username": "u", "password": "p"})
    for name in ("app", "app", "hidden", "destroyed"):
        two.put(name, {"username": "u", "password": "p"})
    two.delete("hidden")
    two.delete("destroyed")
    two.destroy("destroyed", 1)
    database = server.postgres_database(postgres, default_ttl=60, max_ttl=600)
    database.set_role("short", [POSTGRES_ROLE], default_ttl=1, max_ttl=2)
    database.set_static_role("kept", new_role(postgres).name)
    return {
        "approle": application.mount,
        "role_id": application.role_id,
        "secret_id": application.secret_id(),
        "wrapping": application.secret_id(wrap_ttl=60),
        "kv1": one.mount,
        "kv2": two.mount,
        "database": database.mount,
        "pki": pki.mount,
    }


def walked(place: Place) -> Iterator[Place]:
    """A place after all the walks."""
    for walk in WALKS:
        walk(place)
    place.close()
    yield place


def test_both_were_asked_the_same(fake: Place, real: Place) -> None:
    assert list(fake.seen) == list(real.seen)
    assert len(real.seen) > 60


def test_both_answered_the_same(fake: Place, real: Place) -> None:
    differences = {name: fake.seen[name].differs(seen) for name, seen in real.seen.items() if fake.seen[name] != seen}
    assert not differences


def test_renewals_and_ends_were_what_they_are_called(real: Place) -> None:
    """So that both are not the same by never getting there."""
    statuses = {name: real.seen[name].status for name in real.seen}
    assert [statuses[name] for name in ("renew a lease that ends soon", "renew a lease that has ended")] == [200, 400]
    assert [statuses[name] for name in ("look up a token", "a token that has ended", "sealed")] == [200, 403, 503]
    assert any(place.startswith(".warnings[0]: TTL") for place in real.seen["renew a lease that ends soon"].shape)
