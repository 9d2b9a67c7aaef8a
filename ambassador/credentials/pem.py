"""The certificate and key that a credential holds, in the field names of a Secret of type kubernetes.io/tls."""

from __future__ import annotations

from ambassador.credentials.credential import AUTHORITIES, CERTIFICATE, KEY, Credential
from ambassador.errors import ConfigError, CredentialError, Reason
from ambassador.net.tls import Pem, examine


def pem_of(credential: Credential) -> Pem:
    """What it holds of a certificate, its key, and authorities."""
    cert, key, ca = (credential.get(field) for field in (CERTIFICATE, KEY, AUTHORITIES))
    return Pem(
        cert=None if cert is None else cert.reveal(),
        key=None if key is None else key.reveal(),
        ca=None if ca is None else ca.reveal(),
    )


def end_of(credential: Credential) -> float | None:
    """When the certificate that it holds ends, in wall seconds; None where it holds none.

    Raises:
        CredentialError: it is no certificate, or the key is not its own.
    """
    if credential.get(CERTIFICATE) is None:
        return None
    try:
        return examine(pem_of(credential))
    except ConfigError as error:
        failure = f"credential {credential.name!r}: {error}"
    # Raised out here, so that nothing of what was read travels along as context.
    raise CredentialError(Reason.SOURCE_FAILED, failure)
