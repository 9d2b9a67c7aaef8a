"""The tokens of the signer are what the standard says."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.support.jwts import Signer
from tests.support.secrets import MINTED


def decoded(part: str) -> bytes:
    """base64 without its padding."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify(token: str, pem: str) -> None:
    """By the raw signature of RFC 7518."""
    signed, _, signature = token.rpartition(".")
    raw = decoded(signature)
    assert len(raw) == 64
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    key.verify(encode_dss_signature(*numbers), signed.encode(), ec.ECDSA(SHA256()))


def test_a_token_is_signed_by_the_key_it_was_minted_with() -> None:
    signer = Signer()
    token = signer.mint({"sub": "app"})
    verify(token, signer.public_key)
    with pytest.raises(InvalidSignature):
        verify(token, Signer().public_key)
    assert token in MINTED


def test_a_token_says_its_claims_and_its_times() -> None:
    head, body, _ = Signer().mint({"sub": "app"}, ttl=-5, age=60).split(".")
    assert json.loads(decoded(head)) == {"alg": "ES256", "typ": "JWT"}
    claims = json.loads(decoded(body))
    assert claims["sub"] == "app"
    assert claims["iat"] == claims["nbf"]
    assert (claims["exp"] - claims["iat"], claims["exp"] < time.time()) == (55, True)
