"""The tests' own CA: what it signs is accepted by a real handshake, and names what it should."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.certificates import Authority, Pair


def handshake(authority: Authority, server: Pair, client: Pair | None, name: str) -> None:
    """A mutual TLS handshake in memory; raises ssl.SSLError where either side refuses."""
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    theirs.load_cert_chain(server.cert, server.key)
    theirs.verify_mode = ssl.CERT_REQUIRED
    ours = ssl.create_default_context(cafile=authority.file)
    if client is not None:
        ours.load_cert_chain(client.cert, client.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [theirs.wrap_bio(there, back, server_side=True), ours.wrap_bio(back, there, server_hostname=name)]
    for end in ends * 4:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_both_kinds_of_certificate_pass_a_handshake(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server("localhost", "127.0.0.1")
    handshake(authority, pair, authority.client("app"), "localhost")
    handshake(authority, pair, authority.client("app"), "127.0.0.1")
    with pytest.raises(ssl.SSLError):
        handshake(authority, pair, None, "localhost")
    with pytest.raises(ssl.SSLError):
        handshake(authority, pair, authority.client("app"), "elsewhere")


def test_a_client_certificate_carries_the_names_it_was_asked_for(tmp_path: Path) -> None:
    pair = Authority(tmp_path).client("app", uris=("spiffe://test/app",), emails=("app@example.com",))
    certificate = x509.load_pem_x509_certificate(pair.cert.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://test/app"]
    assert names.get_values_for_type(x509.RFC822Name) == ["app@example.com"]
    assert certificate.subject.rfc4514_string() == "CN=app"


def test_keys_are_their_owner_s_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    assert {pair.key.stat().st_mode & 0o777 for pair in (authority.server("a"), authority.client("b"))} == {0o600}
