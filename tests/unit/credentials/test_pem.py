"""What a credential holds of a certificate."""

from __future__ import annotations

import pytest
from cryptography import x509

from ambassador.credentials.credential import Credential
from ambassador.credentials.pem import end_of, pem_of
from ambassador.errors import CredentialError, Reason
from tests.support.certificates import Authority, Pair
from tests.support.secrets import canary


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """A certificate and its key."""
    return authority.server("localhost")


def holding(cert: bytes, key: bytes) -> Credential:
    return Credential("cert", 1, {"tls.crt": cert, "tls.key": key})


def test_it_has_what_the_credential_has(pair: Pair) -> None:
    pem = pem_of(Credential("cert", 1, {"ca.crt": b"ca", "username": b"u", "password": b"p"}))
    assert (pem.cert, pem.key, pem.ca) == (None, None, b"ca")
    pem = pem_of(holding(pair.cert.read_bytes(), pair.key.read_bytes()))
    assert (pem.cert, pem.key, pem.ca) == (pair.cert.read_bytes(), pair.key.read_bytes(), None)


def test_it_ends_when_its_certificate_does(pair: Pair) -> None:
    leaf, *_ = x509.load_pem_x509_certificates(pair.cert.read_bytes())
    end = end_of(holding(pair.cert.read_bytes(), pair.key.read_bytes()))
    assert end == leaf.not_valid_after_utc.timestamp()
    assert end_of(Credential("db", 1, {"username": b"u", "password": b"p"})) is None


def test_what_is_no_certificate_or_has_another_s_key_is_refused(pair: Pair, authority: Authority) -> None:
    cert, key, secret = pair.cert.read_bytes(), pair.key.read_bytes(), canary().encode()
    for wrong in (
        holding(b"CERT " + secret, key),
        holding(cert, b"KEY " + secret),
        holding(cert, authority.server("localhost").key.read_bytes()),
        holding(cert[: len(cert) // 2], key),
    ):
        with pytest.raises(CredentialError, match=r"^credential 'cert': cannot use the certificate") as caught:
            end_of(wrong)
        assert caught.value.reason is Reason.SOURCE_FAILED
        assert caught.value.__context__ is None
        assert secret.decode() not in str(caught.value)
