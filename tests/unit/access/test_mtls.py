"""The names in the client's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, cast

import pytest
from pydantic import ValidationError

from ambassador.access.base import Claim, Principal, Proven, Refused
from ambassador.access.mtls import Mtls, MtlsOptions
from ambassador.credentials.store import Store
from ambassador.net.facts import TlsFacts
from ambassador.net.peer import Peer

PEER = Peer("192.0.2.1:5", "192.0.2.1", 5)


class Handshake:
    """The part of an SSLObject that knows the peer's verified certificate."""

    def __init__(self, *common_names: str, **others: str) -> None:
        self._certificate = {
            "subject": tuple((("commonName", name),) for name in common_names),
            "subjectAltName": tuple((kind, name) for kind, name in others.items()),
        }

    def getpeercert(self) -> dict[str, Any]:
        return self._certificate


class NoCertificate(Handshake):
    def getpeercert(self) -> dict[str, Any]:
        return {}


def claim(user: str | None, handshake: Handshake | None) -> Claim:
    return Claim(user, PEER, None if handshake is None else TlsFacts(cast("ssl.SSLObject", handshake)))


async def verdict(rules: Mapping[str, Any], user: str | None, handshake: Handshake | None) -> object:
    return await Mtls(MtlsOptions.model_validate(rules), Store()).identify(claim(user, handshake))


ORDERS = {"users": {"spiffe://td/ns/*/sa/orders": ["orders", "reports"], "dns:admin.example.com": "*"}}


@pytest.mark.parametrize(
    ("rules", "user", "handshake", "name"),
    [
        ({}, "app", Handshake("app"), "app"),
        ({}, None, Handshake("app"), "app"),
        (ORDERS, "reports", Handshake(URI="spiffe://td/ns/a/sa/orders"), "spiffe://td/ns/a/sa/orders"),
        (ORDERS, None, Handshake(URI="spiffe://td/ns/a/sa/orders"), "spiffe://td/ns/a/sa/orders"),
        (ORDERS, "anybody", Handshake(DNS="admin.example.com"), "admin.example.com"),
        (
            ORDERS,
            "anybody",
            Handshake("x", URI="spiffe://td/ns/a/sa/orders", DNS="admin.example.com"),
            "admin.example.com",
        ),
        ({"users": {"cn:app": "app"}}, "app", Handshake("app"), "app"),
    ],
)
async def test_a_client_may_be_the_users_its_certificate_is_mapped_to(
    rules: Mapping[str, Any], user: str | None, handshake: Handshake, name: str
) -> None:
    assert await verdict(rules, user, handshake) == Proven(Principal(name, "mtls"))


@pytest.mark.parametrize(
    ("rules", "user", "handshake", "words"),
    [
        ({}, "app", None, "showed no certificate"),
        ({}, "app", NoCertificate(), "showed no certificate"),
        ({}, "app", Handshake(), "does not name"),
        ({}, "app", Handshake("App"), "does not name"),
        ({}, "", Handshake("app"), "does not name"),
        ({}, "", Handshake(""), "does not name"),
        ({}, None, Handshake(""), "does not name"),
        ({}, "app", Handshake("app", "admin"), "does not name"),
        ({}, "app.example.com", Handshake(DNS="app.example.com"), "does not name"),
        (ORDERS, "admin", Handshake("admin", URI="spiffe://td/ns/a/sa/orders"), "no rule lets"),
        (ORDERS, "orders", Handshake("orders"), "no rule lets"),
        (ORDERS, "orders", Handshake(URI="spiffe://evil/ns/a/sa/orders"), "no rule lets"),
        (ORDERS, None, Handshake("orders"), "no rule lets"),
    ],
)
async def test_every_other_client_is_refused(
    rules: Mapping[str, Any], user: str | None, handshake: Handshake | None, words: str
) -> None:
    found = await verdict(rules, user, handshake)
    assert isinstance(found, Refused)
    assert words in found.reason


@pytest.mark.parametrize(
    "rules",
    [
        {"users": {"spiffe://td/ns/a": []}},
        {"users": {"spiffe://*/ns/a": ["app"]}},
        {"users": {"orders-.*": ["app"]}},
        {"users": {"": ["app"]}},
        {"users": {"cn:app": ["app", "*"]}},
        {"users": ["app"]},
        {"match": "app"},
    ],
)
def test_rules_that_could_not_mean_what_they_say_are_refused_with_the_configuration(rules: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MtlsOptions.model_validate(rules)


def test_it_needs_client_certificates() -> None:
    assert MtlsOptions().needs == {"client_certificates"}
