"""`check --connect`: one finding for each credential and upstream, good or bad, and never a value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from ambassador.config.load import load_data
from ambassador.config.schema import Config
from ambassador.credentials.sources.file import File
from ambassador.demo.postgres import PostgresServer
from ambassador.demo.servers import Certificates
from ambassador.kit.clock import SYSTEM
from ambassador.runtime import check
from ambassador.runtime.check import Finding, connect_all
from tests.support.certificates import Authority
from tests.support.fake_sentinel import FakeSentinel
from tests.support.fake_vault import FakeVault
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import PostgresDatabase
from tests.support.postgres import Role, Servers, new_role
from tests.support.secrets import canary


def secret(directory: Path, role: Role) -> Path:
    place = directory / role.name
    place.mkdir()
    (place / "username").write_text(role.name)
    (place / "password").write_text(role.password)
    return place


def config(path: Path, port: int, **upstream: Any) -> Config:
    return load_data(
        {
            "credentials": {"db": {"file": {"path": str(path)}}},
            "upstreams": {
                "orders": {
                    "endpoints": [f"127.0.0.1:{port}"],
                    "credential": "db",
                    "postgres": {"database": "postgres"},
                    **upstream,
                }
            },
            "listeners": {"orders": {"listen": "127.0.0.1:5432", "postgres": {"upstream": "orders"}}},
        }
    ).config


async def test_what_works_is_said_to_work(postgres17: PostgresServer, tmp_path: Path) -> None:
    findings = await connect_all(config(secret(tmp_path, new_role(postgres17)), postgres17.port), SYSTEM)
    assert [finding.good for finding in findings] == [True, True]
    assert str(findings[1]) == f"ok   upstream orders: 127.0.0.1:{postgres17.port} let us in"


def test_a_finding_is_one_line_whatever_a_server_said() -> None:
    assert str(Finding("upstream x", False, "role a\nok   upstream x: fine\x1b[2J")) == (
        "FAIL upstream x: role a?ok   upstream x: fine?[2J"
    )


async def test_a_source_that_fails_in_a_way_of_its_own_is_found_without_its_words(
    postgres17: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = canary("password")
    monkeypatch.setattr(File, "fetch", AsyncMock(side_effect=RuntimeError(quoted)))
    first, *_ = await connect_all(config(tmp_path, postgres17.port), SYSTEM)
    assert (first.good, first.text) == (False, "credential 'db': the source failed with RuntimeError")


async def test_a_wrong_password_is_found_and_not_shown(postgres17: PostgresServer, tmp_path: Path) -> None:
    role = new_role(postgres17)
    path = secret(tmp_path, Role(role.name, role.password[::-1]))
    credential, upstream = await connect_all(config(path, postgres17.port), SYSTEM)
    assert credential.good
    assert not upstream.good
    assert upstream.text.startswith("upstream_login_refused: ")
    assert role.password[::-1] not in str(upstream)


async def test_a_source_without_a_value_fails_itself_and_the_upstream_that_needs_it(tmp_path: Path) -> None:
    credential, upstream = await connect_all(config(tmp_path / "nothing", 1), SYSTEM)
    assert (credential.good, upstream.good) == (False, False)
    assert upstream.text.startswith("no_credential: ")


async def test_an_upstream_that_nobody_uses_and_that_says_no_protocol_is_not_tried() -> None:
    data = {
        "upstreams": {"idle": {"endpoints": ["127.0.0.1:1"]}, "u": {"endpoints": ["127.0.0.1:1"]}},
        "listeners": {"l": {"listen": "127.0.0.1:7001", "tcp": {"upstream": "u"}}},
    }
    idle, used = await connect_all(load_data(data).config, SYSTEM)
    assert idle == Finding("upstream idle", True, "no listener uses it; not tried")
    assert used.text.startswith("connect_failed: ")


async def test_a_certificate_that_cannot_be_used_is_that_upstream_s_fault(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("no certificate")
    place = secret(tmp_path, Role("someone", "a password of nobody"))
    _, upstream = await connect_all(config(place, 1, tls={"ca": str(authorities)}), SYSTEM)
    assert upstream.text.startswith("bad_config: ")


async def test_an_upstream_that_is_found_by_discovery_is_found_first() -> None:
    async with FakeSentinel("a", "127.0.0.1:1") as sentinel:
        (finding,) = await connect_all(found_by(sentinel.address), SYSTEM)
    assert finding.text.startswith("connect_failed: cannot connect to 127.0.0.1:1")


async def test_a_discovery_that_finds_nothing_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PATIENCE", 0.3)
    (finding,) = await connect_all(found_by("127.0.0.1:1"), SYSTEM)
    assert not finding.good
    assert finding.text.startswith("connect_timeout: discovery found nothing in 0.3 s: cannot connect to 127.0.0.1:1")


async def test_a_discovery_that_cannot_show_its_certificate_says_so(authority: Authority, tmp_path: Path) -> None:
    tls = {"ca": str(authority.file), "credential": "cert"}
    more = {"credentials": {"cert": {"file": {"path": str(tmp_path / "nothing")}}}}
    _, finding = await connect_all(found_by("127.0.0.1:1", tls=tls, more=more), SYSTEM)
    assert finding.text.startswith("no_credential: ")


def found_by(sentinel: str, *, more: dict[str, Any] | None = None, **options: Any) -> Config:
    data: dict[str, Any] = {
        "upstreams": {"cache": {"discovery": {"sentinel": {"master": "cache", "endpoints": sentinel, **options}}}},
        "listeners": {"cache": {"listen": "127.0.0.1:6379", "redis": {"upstream": "cache"}}},
    }
    return load_data(data | (more or {})).config


# Vaults: each step on the way to a login


@pytest.fixture
def database(openbao: OpenBao, servers: Servers) -> PostgresDatabase:
    return openbao.postgres_database(servers.get(17), default_ttl=60)


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    with FakeVault().key_value("secret").put("secret", "app", username="u", note="n") as found:
        yield found


def lent(
    address: str, credential: dict[str, Any], *, port: int = 1, login: dict[str, Any] | None = None, **more: Any
) -> Config:
    data = {
        "vaults": {"main": {"address": address, "auth": login or {"token": {"env": "CHECKED"}}, **more}},
        "credentials": {"db": credential},
        "upstreams": {
            "orders": {
                "endpoints": [f"127.0.0.1:{port}"],
                "credential": "db",
                "postgres": {"database": "postgres"},
            }
        },
        "listeners": {"orders": {"listen": "127.0.0.1:5432", "postgres": {"upstream": "orders"}}},
    }
    return load_data(data).config


KV = {"vault_kv": {"vault": "main", "path": "app"}}


async def test_a_vault_s_user_is_lent_shown_and_given_back(
    openbao: OpenBao, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoking = 'path "sys/leases/revoke" { capabilities = ["update"] }'
    user = openbao.userpass(openbao.policy("checker", f"{database.reading()}\n{revoking}"))
    monkeypatch.setenv("CHECKED", user.password)
    login = {"userpass": {"username": user.name, "password_env": "CHECKED", "mount": user.mount}}
    credential = {"vault_database": {"vault": "main", "role": "app", "mount": database.mount}}
    tokens = openbao.tokens()
    findings = await connect_all(lent(openbao.url, credential, port=database.postgres.port, login=login), SYSTEM)
    assert [str(finding) for finding in findings] == [
        f"ok   vault main: {openbao.url}, userpass user app: let us in",
        f"ok   credential db: vault main {database.mount}/creds/app has password, username",
        f"ok   upstream orders: 127.0.0.1:{database.postgres.port} let us in",
    ]
    assert (database.leases(), database.live_roles(), openbao.tokens()) == ([], [], tokens)


async def test_a_vault_that_is_not_there_is_found_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKED", canary("token"))
    found, credential, upstream = await connect_all(lent("http://127.0.0.1:1", KV), SYSTEM)
    assert "cannot be reached: Connection refused" in found.text
    assert (found.good, credential.good, upstream.good) == (False, False, False)
    assert upstream.text.startswith("no_credential: ")


async def test_one_that_is_not_trusted_is_found_so(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = authority.server("127.0.0.1")
    with FakeVault(certificates=Certificates(pair.cert, pair.key)) as server:
        monkeypatch.setenv("CHECKED", server.root)
        found, *_ = await connect_all(lent(server.url, KV), SYSTEM)
    assert "is not trusted: certificate verify failed" in found.text


async def test_an_authority_that_cannot_be_used_is_that_vault_s_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    found, credential, _ = await connect_all(
        lent("https://127.0.0.1:1", KV, tls={"ca": str(tmp_path / "ca.pem")}), SYSTEM
    )
    assert (found.good, found.subject) == (False, "vault main")
    assert credential.text == "vault 'main' cannot be used; not tried"


async def test_a_login_that_is_refused_is_found_so(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKED", canary("wrong"))
    found, credential, _ = await connect_all(lent(vault.url, KV), SYSTEM)
    assert "to log in (token of CHECKED)" in found.text
    assert "refused the token" in found.text
    assert not credential.good
    assert len(vault.asked()) == 1


async def test_nothing_to_log_in_with_is_found_so(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHECKED", raising=False)
    found, *_ = await connect_all(lent(vault.url, KV), SYSTEM)
    assert "the environment variable CHECKED is not set" in found.text


@pytest.mark.parametrize(
    ("denied", "options", "words"),
    [
        ("secret", {}, "no policy of our token allows this"),
        (None, {"path": "nothing"}, "has nothing there: check mount, path (of KV: without data/) or role, and version"),
        (
            None,
            {"mount": "nowhere"},
            "has nothing there: check mount, path (of KV: without data/) or role, and version",
        ),
        (None, {"fields": {"password": "pass"}}, "the secret has no key 'pass'"),
        (None, {}, "there is no password"),
    ],
    ids=["policy", "path", "mount", "field", "value"],
)
async def test_a_secret_that_cannot_be_had_says_at_which_step(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch, denied: str | None, options: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("CHECKED", vault.root)
    if denied is not None:
        vault.deny(denied)
    found, credential, upstream = await connect_all(
        lent(vault.url, {"vault_kv": {**KV["vault_kv"], **options}}), SYSTEM
    )
    assert found.good
    assert (credential.good, upstream.good) == (False, False)
    assert words in credential.text


async def test_a_lease_that_cannot_be_given_back_ends_by_itself(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKED", vault.root)
    vault.database("db/creds/app").on("sys/leases/revoke", status=500, errors=["no"])
    credential = {"vault_database": {"vault": "main", "role": "app", "mount": "db"}}
    findings = await connect_all(lent(vault.url, credential), SYSTEM)
    assert [finding.good for finding in findings] == [True, True, False, False]
    assert "revoke a lease" in findings[-1].text
    assert len(vault.asked("sys/leases/revoke")) == 1


@pytest.mark.parametrize("revoke", [True, False])
async def test_a_policy_that_does_not_let_us_give_leases_back_is_a_fault_where_we_are_to(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch, revoke: bool
) -> None:
    monkeypatch.setenv("CHECKED", vault.root)
    vault.database("db/creds/app").deny("sys/leases/revoke")
    config = lent(vault.url, {"vault_database": {"vault": "main", "role": "app", "mount": "db"}}, revoke=revoke)
    findings = [finding for finding in await connect_all(config, SYSTEM) if finding.subject == "credential db"]
    assert [finding.good for finding in findings] == ([True, False] if revoke else [True])
    if revoke:
        assert 'path "sys/leases/revoke"' in findings[-1].text
