"""What a handshake settled, seen from both sides."""

from __future__ import annotations

import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from ambassador.net.engine import Engine
from ambassador.net.facts import Context, PeerNames, TlsFacts
from ambassador.net.taker import NOWHERE, Giving
from ambassador.net.tls import ClientContexts, Pem
from tests.support.certs import Certs, Leaf


class Settings:
    """Of a client that believes anything."""

    mode = "require"
    ca = None
    cert = None
    key = None
    server_name = None
    min_version = "1.2"


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> tuple[TlsFacts, TlsFacts]:
    """Facts of client and server."""
    to_far = Giving(lambda data: void(far.incoming.write(data)))
    to_near = Giving(lambda data: void(near.incoming.write(data)))
    near: Engine = Engine(client, server_side=False, server_hostname=name, to=to_far, fail=void)
    far: Engine = Engine(server, server_side=True, server_hostname=None, to=to_near, fail=void)
    while not (near.ready and far.ready):
        for engine in (near, far):
            if not engine.ready:
                engine.shake()
    near.read(1)
    return TlsFacts(near.object), TlsFacts(far.object)


def void(_: object) -> None:
    """Forget a result."""


@pytest.fixture
def asking(server_context: ssl.SSLContext, certs: Certs, server_leaf: Leaf) -> Context:
    """A server's context that wants a client certificate."""
    assert isinstance(server_context, Context)
    server_context.load_verify_locations(cadata=certs.ca.decode())
    server_context.verify_mode = ssl.CERT_OPTIONAL
    server_context.certificate = server_leaf.der
    return server_context


def with_certificate(leaf: Leaf) -> ssl.SSLContext:
    return ClientContexts(Settings(), Pem(leaf.cert, leaf.key)).current


def test_version_cipher_and_alpn_are_known(trusting: ssl.SSLContext, asking: Context) -> None:
    for context in (trusting, asking):
        context.set_alpn_protocols(["postgresql"])
    for facts in shake(trusting, asking):
        assert facts.version == "TLSv1.3"
        assert facts.cipher.startswith("TLS_")
        assert facts.alpn == "postgresql"


def test_before_the_handshake_there_are_no_facts(trusting: ssl.SSLContext) -> None:
    engine = Engine(trusting, server_side=False, server_hostname="localhost", to=NOWHERE, fail=void)
    facts = TlsFacts(engine.object)
    assert (facts.version, facts.cipher, facts.alpn) == ("unknown", "unknown", None)


def test_both_sides_know_the_same_end_point(trusting: ssl.SSLContext, asking: Context, server_leaf: Leaf) -> None:
    client, server = shake(trusting, asking)
    expected = hashlib.sha256(server_leaf.der).digest()
    assert client.server_end_point() == server.server_end_point() == expected
    assert client.peer_certificate == server.own_certificate == server_leaf.der


def test_without_certificates_there_is_nothing_to_know(
    server_context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    client, server = shake(trusting, server_context)
    assert client.own_certificate is None
    assert server.peer_certificate is None
    assert server.peer_names() is None


def test_a_context_that_does_not_know_its_certificate_has_no_end_point(
    trusting: ssl.SSLContext, server_leaf: Leaf, asking: Context
) -> None:
    asking.certificate = None
    _, server = shake(trusting, asking)
    assert server.server_end_point() is None


def test_a_verified_client_certificate_has_names(certs: Certs, asking: Context) -> None:
    names = [
        x509.DNSName("app.example.com"),
        x509.UniformResourceIdentifier("spiffe://cluster/ns/app"),
        x509.RFC822Name("app@example.com"),
        x509.DNSName("*.example.com"),
    ]
    subject = [
        (NameOID.COUNTRY_NAME, "NL"),
        (NameOID.ORGANIZATION_NAME, "Example, Inc."),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Data"),
        (NameOID.COMMON_NAME, "app"),
    ]
    _, server = shake(with_certificate(certs.leaf(names, subject=subject)), asking)
    assert server.peer_names() == PeerNames(
        subject=r"CN=app,OU=Data,O=Example\, Inc.,C=NL",
        common_name="app",
        dns=("app.example.com", "*.example.com"),
        uri=("spiffe://cluster/ns/app",),
        email=("app@example.com",),
        ip=(),
    )


def test_an_address_may_be_a_name_too(certs: Certs, asking: Context) -> None:
    _, server = shake(with_certificate(certs.server("192.0.2.1", "2001:db8::1")), asking)
    names = server.peer_names()
    assert names is not None
    assert names.ip == ("192.0.2.1", "2001:DB8:0:0:0:0:0:1")
    assert (names.subject, names.common_name) == ("", None)


def test_two_common_names_are_no_name(certs: Certs, asking: Context) -> None:
    subject = [(NameOID.COMMON_NAME, "app"), (NameOID.COMMON_NAME, "admin")]
    _, server = shake(with_certificate(certs.leaf([], subject=subject)), asking)
    names = server.peer_names()
    assert names is not None
    assert names.common_name is None
    assert names.subject == "CN=admin,CN=app"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('a+b"c\\d<e>f;g=h,i', 'a\\+b\\"c\\\\d\\<e\\>f\\;g\\=h\\,i'),
        (" leading", "\\ leading"),
        ("#sharp", "\\#sharp"),
        ("trailing ", "trailing\\ "),
        (" ", "\\ "),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ],
)
def test_a_subject_is_written_so_that_no_value_can_look_like_two(
    certs: Certs, asking: Context, value: str, written: str
) -> None:
    _, server = shake(with_certificate(certs.client(value)), asking)
    names = server.peer_names()
    assert names is not None
    assert names.subject == f"CN={written}"
    assert names.common_name == value


def test_an_unverified_certificate_names_nobody(server_leaf: Leaf, server_context: ssl.SSLContext) -> None:
    client, _ = shake(ClientContexts(Settings()).current, server_context)
    assert client.peer_certificate == server_leaf.der
    assert client.peer_names() is None


def test_the_name_asked_for_is_known_at_the_client(trusting: ssl.SSLContext, asking: Context) -> None:
    client, server = shake(trusting, asking)
    assert client.sni == "localhost"
    assert server.sni is None, "only contexts of ServerContexts remember it"


def test_facts_do_not_show_the_connection(trusting: ssl.SSLContext, asking: Context) -> None:
    client, _ = shake(trusting, asking)
    assert repr(client) == "TlsFacts()"
