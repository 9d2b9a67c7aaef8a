"""The certificates are what they say."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PSS

from tests.support.certs import PASSWORD, Certs, self_signed


@pytest.fixture(scope="module")
def certs() -> Certs:
    return Certs()


def names(pem: bytes) -> list[str]:
    extension = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


def test_a_server_certificate_has_the_names_of_this_machine_or_those_asked_for(certs: Certs) -> None:
    assert names(certs.server().cert) == ["localhost", "127.0.0.1", "::1"]
    assert names(certs.server("db.example.com", "192.0.2.1").cert) == ["db.example.com", "192.0.2.1"]
    assert names(certs.wrong_host().cert) == ["elsewhere.example.com"]


def test_it_is_signed_by_the_ca_and_belongs_to_its_key(certs: Certs, tmp_path: Path) -> None:
    leaf = certs.server()
    (tmp_path / "cert").write_bytes(leaf.cert)
    (tmp_path / "key").write_bytes(leaf.key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "cert", tmp_path / "key")
    x509.load_pem_x509_certificate(leaf.cert).verify_directly_issued_by(x509.load_pem_x509_certificate(certs.ca))
    assert leaf.der == ssl.PEM_cert_to_DER_cert(leaf.cert.decode())


def test_an_expired_one_is_expired_and_others_are_not(certs: Certs) -> None:
    now = datetime.now(UTC)
    expired = x509.load_pem_x509_certificate(certs.expired().cert)
    assert expired.not_valid_before_utc < expired.not_valid_after_utc < now
    valid = x509.load_pem_x509_certificate(certs.server().cert)
    assert valid.not_valid_before_utc < now < valid.not_valid_after_utc


def test_a_client_certificate_has_a_subject_and_uris_and_mails(certs: Certs) -> None:
    leaf = certs.client("app", uris=("spiffe://cluster/app",), emails=("app@example.com",))
    assert x509.load_pem_x509_certificate(leaf.cert).subject.rfc4514_string() == "CN=app"
    assert names(leaf.cert) == ["spiffe://cluster/app", "app@example.com"]


def test_a_key_can_be_had_encrypted(certs: Certs, tmp_path: Path) -> None:
    leaf = certs.server()
    (tmp_path / "cert").write_bytes(leaf.cert)
    (tmp_path / "key").write_bytes(leaf.encrypted_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key", PASSWORD)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key", "wrong")


def test_a_self_signed_one_is_signed_as_asked_for() -> None:
    key = rsa.generate_private_key(65537, 2048)
    plain = x509.load_pem_x509_certificate(self_signed(key, hashes.SHA512()).cert)
    assert isinstance(plain.signature_hash_algorithm, hashes.SHA512)
    assert plain.issuer == plain.subject
    pss = x509.load_pem_x509_certificate(self_signed(key, hashes.SHA384(), pss=True).cert)
    assert isinstance(pss.signature_algorithm_parameters, PSS)
