"""Signed tokens (RFC 7519) of a key of our own, ES256, for whoever only knows the public half."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.secrets import MINTED


class Signer:
    """One key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """PEM."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def mint(self, claims: Mapping[str, Any], *, ttl: float = 600.0, age: float = 30.0) -> str:
        """A signed token; a canary.

        Args:
            claims: what it says besides `iat`, `nbf` and `exp`.
            ttl: seconds until it ends; a negative one has ended.
            age: seconds since it began. Who reads whole seconds may refuse one that begins now.
        """
        now = int(time.time())
        times = {"iat": int(now - age), "nbf": int(now - age), "exp": int(now + ttl)}
        signed = f"{_part({'alg': 'ES256', 'typ': 'JWT'})}.{_part(times | dict(claims))}"
        # RFC 7518, 3.4: the two numbers one after the other, 32 bytes each, not the DER that OpenSSL makes.
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(SHA256())))
        token = f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        MINTED.add(token)
        return token


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
