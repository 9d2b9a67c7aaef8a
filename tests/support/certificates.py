"""A certificate authority for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Pair:
    """Two PEM files: a certificate with its chain, and its key."""

    cert: Path
    key: Path


class Authority:
    """One CA and the certificates it signs, as PEM files in `directory`.

    Attributes:
        file: the CA's own certificate.
        trustme: the CA itself, for what this class does not offer.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._signed = 0
        self.trustme = trustme.CA(organization_name="tests")
        self.file = directory / "ca.pem"
        self.trustme.cert_pem.write_to_path(self.file)

    def server(self, *names: str) -> Pair:
        """A certificate for host names and addresses."""
        leaf = self.trustme.issue_cert(*names, common_name=names[0])
        return self._write(b"".join(blob.bytes() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes())

    def client(self, common_name: str, *, uris: tuple[str, ...] = (), emails: tuple[str, ...] = ()) -> Pair:
        """A client's certificate: its subject's common name, and subject alternative names (trustme knows no URIs)."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.RFC822Name(email) for email in emails]
        issuer = x509.load_pem_x509_certificate(self.trustme.cert_pem.bytes())
        builder = (
            x509.CertificateBuilder(
                issuer.subject, serial_number=x509.random_serial_number(), public_key=key.public_key()
            )
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signer = load_pem_private_key(self.trustme.private_key_pem.bytes(), password=None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        certificate = builder.sign(signer, SHA256())
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._write(certificate.public_bytes(Encoding.PEM), secret)

    def _write(self, cert: bytes, key: bytes) -> Pair:
        self._signed += 1
        pair = Pair(self._directory / f"{self._signed}.crt", self._directory / f"{self._signed}.key")
        pair.cert.write_bytes(cert)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(key)
        return pair
