"""Rules about the names in a certificate."""

from __future__ import annotations

import pytest

from ambassador.access.names import parse
from ambassador.net.facts import PeerNames


def certificate(
    *,
    cn: str | None = None,
    dns: tuple[str, ...] = (),
    uri: tuple[str, ...] = (),
    email: tuple[str, ...] = (),
) -> PeerNames:
    return PeerNames(f"CN={cn}", cn, dns, uri, email, ())


@pytest.mark.parametrize(
    ("rule", "names", "matched"),
    [
        ("orders", certificate(cn="orders"), "orders"),
        ("cn:orders", certificate(cn="orders"), "orders"),
        ("cn:*", certificate(cn="anything at all"), "anything at all"),
        ("cn:dns:odd", certificate(cn="dns:odd"), "dns:odd"),
        ("dns:orders.example.com", certificate(dns=("a.example", "Orders.Example.COM")), "Orders.Example.COM"),
        ("dns:*.example.com", certificate(dns=("orders.example.com",)), "orders.example.com"),
        ("spiffe://td/ns/a/sa/b", certificate(uri=("spiffe://td/ns/a/sa/b",)), "spiffe://td/ns/a/sa/b"),
        ("uri:spiffe://td/ns/*/sa/b", certificate(uri=("spiffe://td/ns/x/sa/b",)), "spiffe://td/ns/x/sa/b"),
        ("spiffe://td/ns/a/sa/*", certificate(uri=("SPIFFE://td/ns/a/sa/z",)), "SPIFFE://td/ns/a/sa/z"),
        ("spiffe://td", certificate(uri=("spiffe://td",)), "spiffe://td"),
        ("app@example.com", certificate(email=("app@Example.com",)), "app@Example.com"),
        ("email:*@example.com", certificate(email=("x@other.com", "y@example.com")), "y@example.com"),
    ],
)
def test_a_rule_speaks_of_the_names_it_fits(rule: str, names: PeerNames, matched: str) -> None:
    assert parse(rule).matches(names) == matched


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("orders", certificate()),
        ("orders", certificate(cn="Orders")),
        ("orders", certificate(cn="orders2")),
        ("orders", certificate(dns=("orders",))),
        ("orders.example.com", certificate(dns=("orders.example.com",))),
        ("cn:*", certificate(cn="")),
        ("cn:*", certificate(dns=("orders",))),
        ("dns:orders.example.com", certificate(cn="orders.example.com")),
        ("dns:orders.example.com", certificate(dns=("ordersXexample.com", "orders.example.com.evil.org"))),
        ("dns:*.example.com", certificate(dns=("a.b.example.com", "example.com", ".example.com", "evilexample.com"))),
        ("spiffe://td/ns/a/sa/*", certificate(uri=("spiffe://td/ns/a/sa/", "spiffe://td/ns/a/sa/x/y"))),
        ("spiffe://td/ns/a/sa/*", certificate(uri=("spiffe://evil/ns/a/sa/x", "http://td/ns/a/sa/x"))),
        ("spiffe://td/ns/a", certificate(uri=("spiffe://td/ns/A", "spiffe:td/ns/a", "spiffe://td/ns/a/"))),
        ("app@example.com", certificate(email=("App@example.com", "app@example.com.org", "example.com"))),
        ("email:*@example.com", certificate(email=("@example.com", "example.com"))),
        ("email:*@example.com", certificate(cn="a@example.com", uri=("mailto:a@example.com",))),
    ],
)
def test_a_rule_speaks_of_no_other_name_nor_of_another_kind(rule: str, names: PeerNames) -> None:
    assert parse(rule).matches(names) is None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("", "missing"),
        ("cn:", "missing"),
        ("line\nbreak", "not printable"),
        ("nul\0", "not printable"),
        ("dns:*.*.example.com", "only one"),
        ("spiffe://td/*/x/*", "only one"),
        ("cn:orders-*", "whole label"),
        ("dns:orders-*.example.com", "whole label"),
        ("spiffe://td/ns/a*", "whole label"),
        ("email:a*@example.com", "whole label"),
        ("dns:orders.*.com", "the first label"),
        ("spiffe://*/ns/a", "a segment of the path"),
        ("uri:*://td/a", "a segment of the path"),
        ("email:app@*", "the local part"),
        ("dns:orders..com", "DNS names look like"),
        ("dns:.example.com", "DNS names look like"),
        ("spiffe://", "URIs look like"),
        ("spiffe:///ns/a", "URIs look like"),
        ("spiffe://td/ns//a", "URIs look like"),
        ("spiffe://td/", "URIs look like"),
        ("uri:urn:uuid:1", "URIs look like"),
        ("email:example.com", "e-mail addresses look like"),
        ("app@", "e-mail addresses look like"),
    ],
)
def test_what_is_no_rule_is_refused_in_words(rule: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(rule)
