"""One URL and a few words become a whole configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ambassador.config.address import Address
from ambassador.config.load import load_data
from ambassador.config.shorthand import NAME, configuration
from ambassador.errors import ConfigError


def make(url: str, **more: Any) -> dict[str, Any]:
    words: dict[str, Any] = {
        "listen": "127.0.0.1:5432", "credential": None, "tls": None, "ca": None, "admin": "127.0.0.1:9901"
    }  # fmt: skip
    return configuration(url, **(words | more))


def upstream(url: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = make(url, **more)["upstreams"][NAME]
    return found


def test_a_database_far_away_is_reached_over_verified_tls() -> None:
    assert make("postgres://db.example.com/orders", listen="unix:/run/s", admin="unix:/run/a") == {
        "admin": {"listen": "unix:/run/a"},
        "upstreams": {
            NAME: {
                "endpoints": ["db.example.com:5432"],
                "tls": {"mode": "verify-full"},
                "postgres": {"database": "orders"},
            }
        },
        "listeners": {NAME: {"listen": "unix:/run/s", "postgres": {"upstream": NAME}}},
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_on_this_machine_tls_is_off(host: str) -> None:
    assert "tls" not in upstream(f"postgres://{host}/orders")


def test_on_this_machine_tls_can_be_asked_for() -> None:
    assert upstream("postgres://localhost/orders", tls="require")["tls"] == {"mode": "require"}


def test_an_authority_means_tls_on_this_machine_too() -> None:
    tls = upstream("postgres://localhost/orders", ca=Path("/etc/ca.pem"))["tls"]
    assert tls == {"mode": "verify-full", "ca": "/etc/ca.pem"}


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_schemes_of_libpq_are_known_and_the_port_has_its_default(scheme: str) -> None:
    assert upstream(f"{scheme}://db.example.com")["endpoints"] == ["db.example.com:5432"]
    assert upstream(f"{scheme}://db.example.com:6432/x")["endpoints"] == ["db.example.com:6432"]


def test_without_a_database_the_clients_choose() -> None:
    assert "postgres" not in upstream("postgres://db.example.com")
    assert "postgres" not in upstream("postgres://db.example.com/")


def test_the_database_may_be_spelled_as_urls_spell() -> None:
    assert upstream("postgres://db.example.com/my%20orders")["postgres"] == {"database": "my orders"}


def test_an_ipv6_address_keeps_its_brackets() -> None:
    address = upstream("postgres://[2001:db8::1]:5433/x")["endpoints"][0]
    assert Address.parse(address) == Address("2001:db8::1", 5433)


def test_redis_has_its_port_and_numbers_for_databases() -> None:
    found = make("redis://cache.example.com/3")
    assert found["upstreams"][NAME]["endpoints"] == ["cache.example.com:6379"]
    assert found["upstreams"][NAME]["redis"] == {"database": 3}
    assert found["listeners"][NAME]["redis"] == {"upstream": NAME}
    assert make("redis://cache.example.com", listen=None)["listeners"][NAME]["listen"] == "127.0.0.1:6379"
    assert make("postgres://db.example.com:6000", listen=None)["listeners"][NAME]["listen"] == "127.0.0.1:5432"
    with pytest.raises(ConfigError, match="say where to listen"):
        make("tcp://db.example.com:9000", listen=None)
    assert "redis" not in upstream("redis://cache.example.com:6380/")
    with pytest.raises(ConfigError, match="number of a database"):
        make("redis://cache.example.com/orders")


def test_redis_with_two_s_is_encrypted_on_this_machine_too() -> None:
    assert upstream("rediss://localhost")["tls"] == {"mode": "verify-full"}
    assert "tls" not in upstream("redis://localhost")


def test_tcp_needs_a_port_and_has_no_database() -> None:
    data = make("tcp://db.example.com:9000")
    assert data["upstreams"][NAME]["endpoints"] == ["db.example.com:9000"]
    assert data["listeners"][NAME]["tcp"] == {"upstream": NAME}


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ("file:/etc/secret", {"file": {"path": "/etc/secret"}}),
        ("env:DB_USER,DB_PASSWORD", {"env": {"username": "DB_USER", "password": "DB_PASSWORD"}}),
        ("env:DB_PASSWORD", {"env": {"password": "DB_PASSWORD"}}),
        ("exec:/usr/bin/token --for db", {"exec": {"command": ["/usr/bin/token", "--for", "db"]}}),
    ],
)
def test_a_credential_names_its_source(words: str, source: dict[str, Any]) -> None:
    data = make("postgres://db.example.com", credential=words)
    assert data["credentials"] == {NAME: source}
    assert data["upstreams"][NAME]["credential"] == NAME


def test_a_relative_path_is_meant_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    data = make("postgres://db.example.com", credential="file:./secret")
    assert data["credentials"][NAME]["file"]["path"] == str(tmp_path / "secret")


@pytest.mark.parametrize("words", ["file:", "secret", "vault:x", ":x", ""])
def test_a_credential_that_cannot_be_understood_is_refused_with_an_example(words: str) -> None:
    with pytest.raises(ConfigError, match=r"file:\./secret"):
        make("postgres://db.example.com", credential=words)


@pytest.mark.parametrize("url", ["http://h", "https://h/x"])
def test_what_a_later_version_brings_is_said_to_be_so(url: str) -> None:
    with pytest.raises(ConfigError, match="not available in this version"):
        make(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://h", "postgres://"),
        ("db.example.com:5432", "must begin with"),
        ("tcp://h", "a host and a port"),
        ("postgres:///orders", "a host and a port"),
        ("tcp://h:1/path", "has no path"),
        ("postgres://h/x?sslmode=require", "no parameters"),
        ("postgres://h/x#there", "no parameters"),
        ("postgres://h:port/x", "cannot be understood"),
        ("postgres://h:99999/x", "cannot be understood"),
        ("postgres://[::1/x", "cannot be understood"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(url)


@pytest.mark.parametrize("url", ["postgres://app:hunter2@h/x", "postgres://:hunter2@h/x", "tcp://app@h:1"])
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="leave user and password out") as caught:
        make(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__context__)


def test_a_broken_url_is_not_repeated_either() -> None:
    with pytest.raises(ConfigError) as caught:
        make("postgres://app:hunter2@[h/x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgres://db.example.com/orders", "tcp://db.example.com:9000"])
def test_what_comes_out_is_a_sound_configuration(url: str) -> None:
    config = load_data(make(url, credential="env:DB_USER,DB_PASSWORD" if url.startswith("postgres") else None)).config
    assert config.upstreams[NAME].endpoints == (Address("db.example.com", 9000 if url.startswith("tcp") else 5432),)
    assert config.listeners[NAME].listen == (Address("127.0.0.1", 5432),)
