"""Certificate: the few facts we need of a DER certificate, read without a library.

Only shapes that OpenSSL has already accepted come here, yet every length is checked: a short or wrong encoding gives
ValueError, never a read past the end.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import NamedTuple

_SEQUENCE = 0x30
_OID = 0x06
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_EXPLICIT_0 = 0xA0

_RSASSA_PSS = "1.2.840.113549.1.1.10"
_PSS_DEFAULT_HASH = "sha1"  # RFC 4055, section 3.1

_SIGNATURES: dict[str, str] = {
    "1.2.840.113549.1.1.4": "md5",
    "1.2.840.113549.1.1.5": "sha1",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.113549.1.1.15": "sha512_224",
    "1.2.840.113549.1.1.16": "sha512_256",
    "1.2.840.10040.4.3": "sha1",
    "1.2.840.10045.4.1": "sha1",
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
    "2.16.840.1.101.3.4.3.1": "sha224",
    "2.16.840.1.101.3.4.3.2": "sha256",
    "2.16.840.1.101.3.4.3.3": "sha384",
    "2.16.840.1.101.3.4.3.4": "sha512",
    "2.16.840.1.101.3.4.3.9": "sha3_224",
    "2.16.840.1.101.3.4.3.10": "sha3_256",
    "2.16.840.1.101.3.4.3.11": "sha3_384",
    "2.16.840.1.101.3.4.3.12": "sha3_512",
    "2.16.840.1.101.3.4.3.13": "sha3_224",
    "2.16.840.1.101.3.4.3.14": "sha3_256",
    "2.16.840.1.101.3.4.3.15": "sha3_384",
    "2.16.840.1.101.3.4.3.16": "sha3_512",
}
"""Signature algorithms that name one hash: RSA, DSA, ECDSA (RFC 3279, 4055, 5758, 8692)."""

_DIGESTS: dict[str, str] = {
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.5": "sha512_224",
    "2.16.840.1.101.3.4.2.6": "sha512_256",
    "2.16.840.1.101.3.4.2.7": "sha3_224",
    "2.16.840.1.101.3.4.2.8": "sha3_256",
    "2.16.840.1.101.3.4.2.9": "sha3_384",
    "2.16.840.1.101.3.4.2.10": "sha3_512",
}
"""Hashes that the parameters of RSASSA-PSS may name."""

_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z", re.ASCII)

_TOO_WEAK = frozenset({"md5", "sha1"})


class _Element(NamedTuple):
    tag: int
    start: int  # of the contents
    end: int


def server_end_point(der: bytes) -> bytes | None:
    """Channel binding data `tls-server-end-point` of a server certificate (RFC 5929, section 4.1).

    The certificate's hash under the hash of its signature, with SHA-256 for MD5 and SHA-1. None where the signature
    names no hash or an unknown one (Ed25519, Ed448): the type is undefined then, and libpq cannot bind either.

    Raises:
        ValueError: not a certificate.
    """
    name = signature_hash(der)
    if name is None:
        return None
    return hashlib.new("sha256" if name in _TOO_WEAK else name, der).digest()


def signature_hash(der: bytes) -> str | None:
    """The hash that a certificate's signature uses, by hashlib's name; None when it has none or is not known.

    Raises:
        ValueError: not a certificate.
    """
    _, algorithm, *_ = _children(der, _root(der))
    oid, *parameters = _children(der, algorithm)
    name = _oid(der, oid)
    if name == _RSASSA_PSS:
        return _pss_hash(der, parameters)
    return _SIGNATURES.get(name)


def not_after(der: bytes) -> float:
    """When a certificate expires, in seconds since 1970 UTC.

    Raises:
        ValueError: not a certificate.
    """
    fields = _children(der, _children(der, _root(der))[0])
    if fields and fields[0].tag == _EXPLICIT_0:  # the version, which v1 certificates lack
        fields = fields[1:]
    if len(fields) < 4:
        raise ValueError("a certificate without validity")
    validity = _children(der, fields[3])  # after serialNumber, signature, issuer (RFC 5280, section 4.1)
    if len(validity) != 2:
        raise ValueError("a certificate whose validity has no two ends")
    return _time(der, validity[1])


def _root(der: bytes) -> _Element:
    root = _element(der, 0, len(der))
    if root.tag != _SEQUENCE:
        raise ValueError("not a DER certificate")
    return root


def _pss_hash(der: bytes, parameters: list[_Element]) -> str | None:
    for field in _children(der, parameters[0]) if parameters else []:
        if field.tag == _EXPLICIT_0:
            algorithm = _children(der, field)[0]
            return _DIGESTS.get(_oid(der, _children(der, algorithm)[0]))
    return _PSS_DEFAULT_HASH


def _children(der: bytes, parent: _Element) -> list[_Element]:
    found = []
    at = parent.start
    while at < parent.end:
        child = _element(der, at, parent.end)
        found.append(child)
        at = child.end
    if not found:
        raise ValueError("an empty sequence where a certificate has fields")
    return found


def _element(der: bytes, at: int, limit: int) -> _Element:
    if at + 2 > limit:
        raise ValueError("a certificate cut short")
    tag, length = der[at], der[at + 1]
    start = at + 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or start + size > limit:
            raise ValueError("a certificate with a length that is none")
        length = int.from_bytes(der[start : start + size])
        start += size
    if start + length > limit:
        raise ValueError("a certificate cut short")
    return _Element(tag, start, start + length)


def _oid(der: bytes, element: _Element) -> str:
    if element.tag != _OID or element.start == element.end:
        raise ValueError("a certificate without the name of an algorithm")
    numbers, value = [], 0
    for byte in der[element.start : element.end]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    if not numbers:
        raise ValueError("a certificate with a cut object identifier")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _time(der: bytes, element: _Element) -> float:
    text = der[element.start : element.end].decode("ascii")
    if element.tag == _UTC_TIME:
        # Years 50 to 99 are of the last century (RFC 5280, section 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    elif element.tag != _GENERALIZED_TIME:
        raise ValueError("a certificate whose validity is no time")
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("a certificate whose validity is no time in UTC")
    year, month, day, hour, minute, second = map(int, found.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
