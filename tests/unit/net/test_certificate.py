"""Facts of certificates of every usual kind, compared with what the cryptography package says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from ambassador.net import certificate
from tests.support.certs import Certs, Key, Leaf, self_signed


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _ec() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


HASHES: list[tuple[Callable[[], Key], hashes.HashAlgorithm, str]] = [
    (_rsa, hashes.SHA224(), "sha224"),
    (_rsa, hashes.SHA256(), "sha256"),
    (_rsa, hashes.SHA384(), "sha384"),
    (_rsa, hashes.SHA512(), "sha512"),
    (_rsa, hashes.SHA3_256(), "sha3_256"),
    (_ec, hashes.SHA224(), "sha224"),
    (_ec, hashes.SHA256(), "sha256"),
    (_ec, hashes.SHA384(), "sha384"),
    (_ec, hashes.SHA512(), "sha512"),
    (_ec, hashes.SHA3_384(), "sha3_384"),
]


@pytest.mark.parametrize(("key", "algorithm", "name"), HASHES, ids=lambda value: getattr(value, "name", None))
def test_the_hash_of_a_signature_is_found(key: Callable[[], Key], algorithm: hashes.HashAlgorithm, name: str) -> None:
    der = self_signed(key(), algorithm).der
    assert certificate.signature_hash(der) == name
    assert certificate.server_end_point(der) == hashlib.new(name, der).digest()


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda one: one.name)
def test_the_hash_of_a_pss_signature_is_in_its_parameters(algorithm: hashes.HashAlgorithm) -> None:
    der = self_signed(_rsa(), algorithm, pss=True).der
    assert certificate.signature_hash(der) == algorithm.name


def test_without_parameters_a_pss_signature_uses_sha1() -> None:
    der = self_signed(_rsa(), hashes.SHA256(), pss=True).der
    oid = bytes.fromhex("06092a864886f70d01010a")
    outer = der.rindex(oid)  # the one outside the signed part
    hashed = bytes.fromhex("a00f300d06096086480165030402010500")  # [0] { sha256 }
    assert hashed in der[outer:]
    length = der[outer + len(oid) + 1]
    assert certificate.signature_hash(der) == "sha256"
    # [0] becomes [1], whose place nobody asks for: no hash is named then.
    at = der.index(hashed, outer)
    assert certificate.signature_hash(der[:at] + b"\xa1" + der[at + 1 :]) == "sha1"
    assert length > 0


@pytest.mark.parametrize("kind", [ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey])
def test_signatures_without_a_hash_have_no_end_point(
    kind: type[ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey],
) -> None:
    der = self_signed(kind.generate(), None).der
    assert certificate.signature_hash(der) is None
    assert certificate.server_end_point(der) is None


@pytest.mark.parametrize(
    ("oid", "weak"),
    [("2a864886f70d010104", "md5"), ("2a864886f70d010105", "sha1")],
)
def test_weak_hashes_are_replaced_by_sha256(oid: str, weak: str) -> None:
    der = self_signed(_rsa(), hashes.SHA256()).der
    old = bytes.fromhex("2a864886f70d01010b")
    at = der.rindex(old)
    der = der[:at] + bytes.fromhex(oid) + der[at + len(old) :]
    assert certificate.signature_hash(der) == weak
    assert certificate.server_end_point(der) == hashlib.sha256(der).digest()


@pytest.mark.parametrize("days", [-400, -1, 1, 400, 365 * 20, 365 * 40, 365 * 300])
def test_the_expiry_is_found_in_both_of_its_formats(days: int) -> None:
    leaf = self_signed(_ec(), hashes.SHA256(), days=days)
    expected = x509.load_pem_x509_certificate(leaf.cert).not_valid_after_utc.timestamp()
    assert certificate.not_after(leaf.der) == expected


@pytest.mark.parametrize(("year", "century"), [("49", 2049), ("50", 1950), ("69", 1969), ("99", 1999), ("00", 2000)])
def test_two_digit_years_are_of_the_century_that_the_rfc_says(year: str, century: int) -> None:
    der = self_signed(_ec(), hashes.SHA256()).der
    expected = x509.load_der_x509_certificate(der).not_valid_after_utc
    text = expected.strftime("%y%m%d%H%M%SZ").encode()
    der = der.replace(text, year.encode() + b"0101000000Z")
    assert (
        certificate.not_after(der)
        == expected.replace(year=century, month=1, day=1, hour=0, minute=0, second=0).timestamp()
    )


def test_a_certificate_of_version_one_has_its_validity_one_place_earlier() -> None:
    version = bytes.fromhex("a003020102")
    der = self_signed(_rsa(), hashes.SHA256()).der
    at = der.index(version)
    without = der[:at] + der[at + len(version) :]

    def shorter(data: bytes, position: int) -> bytes:
        length = int.from_bytes(data[position : position + 2]) - len(version)
        return data[:position] + length.to_bytes(2) + data[position + 2 :]

    without = shorter(shorter(without, 2), 6)
    assert certificate.not_after(without) == certificate.not_after(der)


def tlv(tag: int, *contents: bytes) -> bytes:
    """A short DER element."""
    body = b"".join(contents)
    return bytes([tag, len(body)]) + body


TIME = tlv(0x17, b"300101000000Z")
OID = tlv(0x06, b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b")


def small(*fields: bytes, algorithm: bytes = OID) -> bytes:
    """A certificate with nothing in it but these fields of its signed part, and a signature algorithm."""
    return tlv(0x30, tlv(0x30, *fields), tlv(0x30, algorithm), tlv(0x03, b"\x00"))


def validity(*times: bytes) -> bytes:
    return small(tlv(0x02, b"\x01"), tlv(0x30, OID), tlv(0x30, OID), tlv(0x30, *times))


def test_a_small_certificate_is_read() -> None:
    assert certificate.not_after(validity(TIME, TIME)) == datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert certificate.signature_hash(validity(TIME, TIME)) == "sha256"


@pytest.mark.parametrize(
    ("der", "words"),
    [
        (tlv(0x31, b"\x02\x01\x01"), "not a DER certificate"),
        (tlv(0x30), "empty sequence"),
        (small(tlv(0x02, b"\x01")), "without validity"),
        (validity(TIME), "validity has no two ends"),
        (validity(TIME, tlv(0x0C, b"300101000000Z")), "validity is no time"),
        (validity(TIME, tlv(0x17, b"3001010000Z")), "no time in UTC"),
        (validity(TIME, tlv(0x18, b"20300101000000+0100")), "no time in UTC"),
        (b"\x30\x80" + bytes(10), "length that is none"),
        (b"\x30\x85" + bytes(10), "length that is none"),
    ],
)
def test_what_has_no_expiry_is_refused_in_words(der: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        certificate.not_after(der)


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [(tlv(0x02, b"\x01"), "without the name of an algorithm"), (tlv(0x06, b"\x86"), "cut object identifier")],
)
def test_what_names_no_signature_is_refused_in_words(algorithm: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        certificate.signature_hash(small(TIME, algorithm=algorithm))


@pytest.fixture(scope="module")
def leaf() -> Leaf:
    return Certs().server()


def test_every_cut_of_a_certificate_is_refused(leaf: Leaf) -> None:
    for end in range(len(leaf.der)):
        for fact in (certificate.signature_hash, certificate.not_after):
            with pytest.raises(ValueError, match="certificate"):
                fact(leaf.der[:end])


GOOD = Certs().server().der


def outcome(fact: Callable[[bytes], object], der: bytes) -> object:
    try:
        return fact(der)
    except ValueError as error:
        return error


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_changed_byte_does_worse_than_a_value_error(at: int, value: int) -> None:
    der = GOOD[:at] + bytes([value]) + GOOD[at + 1 :]
    for fact in (certificate.signature_hash, certificate.not_after, certificate.server_end_point):
        assert isinstance(outcome(fact, der), str | bytes | float | ValueError | None)


@given(st.binary(max_size=64))
def test_garbage_does_no_worse_than_a_value_error(der: bytes) -> None:
    for fact in (certificate.signature_hash, certificate.not_after):
        with pytest.raises(ValueError, match=r"."):
            fact(der)
