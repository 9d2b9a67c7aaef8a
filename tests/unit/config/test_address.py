"""Addresses as people write them."""

from __future__ import annotations

import pytest

from ambassador.config.address import Address
from ambassador.config.model import Model


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:5432", "127.0.0.1", 5432),
        ("db.example.com:5432", "db.example.com", 5432),
        ("db.example.com.:5432", "db.example.com.", 5432),
        ("my_service:1", "my_service", 1),
        ("localhost:0", "localhost", 0),
        ("[::1]:65535", "::1", 65535),
        ("[0:0:0:0:0:0:0:1]:1", "::1", 1),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
    ],
)
def test_host_and_port_are_read(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host=host, port=port)


def test_a_unix_socket_is_read() -> None:
    address = Address.parse("unix:/run/app/.s.PGSQL.5432")
    assert address == Address(path="/run/app/.s.PGSQL.5432")
    assert address.is_unix
    assert not address.is_loopback
    assert address.is_local


@pytest.mark.parametrize("text", ["127.0.0.1:5432", "db:1", "[::1]:2", "unix:/run/x"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "addresses look like"),
        ("5432", "addresses look like"),
        ("db", "addresses look like"),
        (":5432", "addresses look like"),
        ("db:", "addresses look like"),
        ("db:65536", "addresses look like"),
        ("db:-1", "addresses look like"),
        ("db:٣", "addresses look like"),
        ("db :1", "addresses look like"),
        ("d\nb:1", "addresses look like"),
        ("-db:1", "addresses look like"),
        ("ü.example:1", "addresses look like"),
        ("postgres://db:5432", "put an IPv6 address in brackets"),
        ("::1:5432", "put an IPv6 address in brackets"),
        ("[::g]:1", "the brackets must hold an IPv6 address"),
        ("[127.0.0.1]:1", "the brackets must hold an IPv6 address"),
        ("*:5432", "0.0.0.0"),
        ("1.2.3:1", "four numbers"),
        ("1.2.3.256:1", "four numbers"),
        ("010.0.0.1:1", "four numbers"),
        ("unix:run/x", "absolute"),
        ("unix:", "absolute"),
        ("unix:/a\0b", "NUL"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/" + "ü" * 54, "at most 107 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Address.parse(text)
    assert advice in str(caught.value)


def test_the_longest_path_a_socket_may_have_is_taken() -> None:
    assert Address.parse("unix:/" + "x" * 106).is_unix


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("localhost:1", True),
        ("LocalHost.:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("[::ffff:10.0.0.1]:1", False),
        ("128.0.0.1:1", False),
        ("localhost.example.com:1", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(text: str, loopback: bool) -> None:
    assert Address.parse(text).is_loopback is loopback
    assert Address.parse(text).is_local is loopback


def test_wildcards_stand_for_every_address() -> None:
    assert Address.parse("0.0.0.0:1").is_wildcard
    assert Address.parse("[::]:1").is_wildcard
    assert not Address.parse("[::1]:1").is_wildcard
    assert not Address.parse("unix:/run/x").is_wildcard


class Somewhere(Model):
    """A model with an address."""

    at: Address
    """Where."""


def test_a_model_takes_text_and_addresses() -> None:
    assert Somewhere.model_validate({"at": "db:1"}).at == Address("db", 1)
    assert Somewhere(at=Address("db", 1)).at == Address("db", 1)
    assert Somewhere(at=Address("db", 1)).model_dump(mode="json") == {"at": "db:1"}


@pytest.mark.parametrize("value", [5432, None, ["db:1"], {"host": "db"}])
def test_a_model_refuses_anything_else(value: object) -> None:
    with pytest.raises(ValueError, match="addresses look like"):
        Somewhere.model_validate({"at": value})
