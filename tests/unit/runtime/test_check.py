"""`check --connect`: one finding for each credential and upstream, good or bad, and never a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ambassador.config.load import load_data
from ambassador.config.schema import Config
from ambassador.demo.postgres import PostgresServer
from ambassador.kit.clock import SYSTEM
from ambassador.runtime import check
from ambassador.runtime.check import Finding, connect_all
from tests.support.certificates import Authority
from tests.support.fake_sentinel import FakeSentinel
from tests.support.postgres import Role, new_role


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
