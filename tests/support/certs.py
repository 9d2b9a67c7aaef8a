"""Certificates of every kind a peer may show, as PEM in memory: from one CA, good and bad ones."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

PASSWORD = b"not to be asked for"


@dataclass(frozen=True)
class Leaf:
    """A certificate with its key, both PEM, and the certificate as DER."""

    cert: bytes
    key: bytes
    der: bytes

    @property
    def encrypted_key(self) -> bytes:
        """The same key under `PASSWORD`."""
        key = load_pem_private_key(self.key, password=None)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD))


class Certs:
    """A CA and what it signs. `ca` is its certificate (PEM)."""

    def __init__(self) -> None:
        authority = trustme.CA(organization_name="tests")
        self.ca = authority.cert_pem.bytes()
        self._issuer = x509.load_pem_x509_certificate(self.ca).subject
        signer = load_pem_private_key(authority.private_key_pem.bytes(), password=None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        self._signer = signer

    def server(self, *names: str, days: float = 1.0) -> Leaf:
        """For host names and IP addresses; by default those of this machine. Negative days: expired."""
        return self.leaf([_host(name) for name in names or ("localhost", "127.0.0.1", "::1")], days=days)

    def expired(self) -> Leaf:
        """For this machine, until an hour ago."""
        return self.server(days=-1 / 24)

    def wrong_host(self) -> Leaf:
        """For another machine than this."""
        return self.server("elsewhere.example.com")

    def client(self, common_name: str, *, uris: tuple[str, ...] = (), emails: tuple[str, ...] = ()) -> Leaf:
        """For a client."""
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.RFC822Name(mail) for mail in emails]
        return self.leaf(names, subject=[(NameOID.COMMON_NAME, common_name)])

    def leaf(
        self,
        names: list[Any],
        *,
        subject: list[tuple[x509.ObjectIdentifier, str]] | None = None,
        days: float = 1.0,
    ) -> Leaf:
        """Any certificate: subject alternative names, parts of the subject (most general first), days it lives."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject or [], self._issuer, key, days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _leaf(builder.sign(self._signer, SHA256()), key)


def self_signed(key: Key, algorithm: HashAlgorithm | None, *, pss: bool = False, days: float = 1.0) -> Leaf:
    """A certificate whose signature is made with `key` and `algorithm` (None for Ed25519 and Ed448)."""
    builder = _builder([(NameOID.COMMON_NAME, "localhost")], None, key, days)
    builder = builder.add_extension(x509.SubjectAlternativeName([_host("localhost")]), critical=False)
    scheme: Any = None
    if pss and algorithm is not None:
        scheme = padding.PSS(padding.MGF1(algorithm), padding.PSS.DIGEST_LENGTH)
    return _leaf(builder.sign(key, algorithm, rsa_padding=scheme), key)  # type: ignore[arg-type]  # None for EdDSA


def _builder(
    subject: list[tuple[x509.ObjectIdentifier, str]], issuer: x509.Name | None, key: Key, days: float
) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(end, datetime.now(UTC)) - timedelta(days=1))
        .not_valid_after(end)
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _leaf(certificate: x509.Certificate, key: Key) -> Leaf:
    return Leaf(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.public_bytes(Encoding.DER),
    )
