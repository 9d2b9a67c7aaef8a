"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides (RFC 5802, RFC 7677; channel binding: RFC 5929).

Where PostgreSQL departs from the letter, so do we, and say so:
* the user name inside the exchange is ignored: the startup message has named the user (libpq sends `n=`, others
  `n=*`), so an empty name is accepted;
* a password that SASLprep rejects is used as the raw bytes it is (`saslprep`).

Nonces are handed in. No password is kept: the client side asks for keys, which its owner derives elsewhere, because
PBKDF2 takes milliseconds that an event loop does not have.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from ambassador.wire.saslprep import prepare

MECHANISM = "SCRAM-SHA-256"
MECHANISM_PLUS = "SCRAM-SHA-256-PLUS"

# The server's default since version 10; what a mock verifier shows must look like the real ones.
DEFAULT_ITERATIONS = 4096
# A hostile server could otherwise make us compute for hours. One million rounds take about a third of a second.
MAX_ITERATIONS = 1_000_000

KEY_SIZE = 32  # bytes, SHA-256

# RFC 5802 §7: printable is %x21-2B / %x2D-7E, that is visible ASCII without the comma.
_PRINTABLE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+\Z")
_NUMBER = re.compile(rb"[1-9][0-9]{0,9}\Z")
_ATTRIBUTE = re.compile(rb"[A-Za-z]=")


class ScramError(Exception):
    """The other side's message is malformed, or does not prove what it must. The text holds no secret.

    `refused` is true when the message was well formed and the proof was wrong.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, slots=True, repr=False)
class StoredKeys:
    """What a server keeps instead of a password: enough to check a proof and to prove itself, not to log in."""

    stored_key: bytes
    server_key: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What a password becomes with one salt and one iteration count. As secret as the password itself."""

    client_key: bytes
    stored_key: bytes
    server_key: bytes

    @property
    def stored(self) -> StoredKeys:
        """The half a server may keep."""
        return StoredKeys(self.stored_key, self.server_key)


@dataclass(frozen=True, slots=True, repr=False)
class Verifier:
    """How a server checks one user: a salt, a count of rounds, and the keys of each password that is accepted.

    Several candidates let a password and its predecessor both be good while clients change over; all of them were
    derived with this salt and these rounds. No candidate at all is a user that cannot log in, checked like any other.
    """

    salt: bytes
    iterations: int
    candidates: tuple[StoredKeys, ...]


def mock_verifier(secret: bytes, user: str, iterations: int = DEFAULT_ITERATIONS) -> Verifier:
    """A verifier for a user who does not exist: the same answer for the same name each time, and never a match.

    Args:
        secret: random, and constant for the life of the process, or the changing salt would give the user away.
    """
    name = user.encode("utf-8", "surrogateescape")
    salt = hmac.digest(secret, b"mock salt" + name, "sha256")[:16]
    return Verifier(salt, iterations, ())


def derive(password: bytes, salt: bytes, iterations: int) -> Keys:
    """Turn a password into its keys (RFC 5802 §3). Slow on purpose: 0.35 µs a round; call it off the event loop."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return Keys(client_key, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


# --- Attributes -----------------------------------------------------------------------------------------------------


def _attributes(message: bytes, wanted: bytes) -> list[bytes]:
    """Values of the attributes named by `wanted`, which must lead `message` in this order; extensions may follow.

    Raises:
        ScramError: an attribute is missing, misplaced or malformed, or a mandatory extension (`m=`) is asked for.
    """
    parts = message.split(b",")
    if parts[0].startswith(b"m="):
        raise ScramError("a mandatory extension of SCRAM was asked for; none is supported")
    for name, part in zip(wanted, parts, strict=False):
        if part[:2] != bytes((name, 0x3D)):
            raise ScramError(f"malformed SCRAM message: attribute {chr(name)}= expected")
    if len(parts) < len(wanted):
        raise ScramError(f"malformed SCRAM message: attribute {chr(wanted[len(parts)])}= is missing")
    if not all(_ATTRIBUTE.match(part) for part in parts[len(wanted) :]):
        raise ScramError("malformed SCRAM message: what follows is not an attribute")
    return [part[2:] for part in parts[: len(wanted)]]


def _decode(value: bytes, what: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except binascii.Error:
        raise ScramError(f"malformed SCRAM message: the {what} is not base64") from None


def _nonce(value: bytes) -> bytes:
    if not _PRINTABLE.match(value):
        raise ScramError("malformed SCRAM message: the nonce is empty or not printable")
    return value


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _signature(key: bytes, auth_message: bytes) -> bytes:
    return hmac.digest(key, auth_message, "sha256")


# --- The server's side ----------------------------------------------------------------------------------------------


class ScramServer:
    """One SCRAM exchange from the server's side.

    Args:
        verifier: the user's, or a mock one for a user who is unknown; the exchange does not differ.
        nonce: our half of the nonce, printable ASCII without commas, at least 18 random characters.
        plus: the client chose the -PLUS mechanism.
        end_point: the hash of our certificate, RFC 5929 §4; None when channel binding was not offered.
    """

    __slots__ = ("_auth_message", "_end_point", "_gs2", "_nonce", "_plus", "_verifier", "signature")

    def __init__(self, verifier: Verifier, nonce: str, *, plus: bool, end_point: bytes | None) -> None:
        self._verifier = verifier
        self._nonce = nonce.encode("ascii")
        self._plus = plus
        self._end_point = end_point
        self._gs2 = b""
        self._auth_message = b""
        self.signature = b""

    def first(self, message: bytes) -> bytes:
        """Take the client-first message, return the server-first message. Raises ScramError."""
        flag, authzid, bare = self._split_header(message)
        self._check_flag(flag)
        if authzid:
            raise ScramError("an authorization identity was sent in the SCRAM exchange; none is supported")
        _, client_nonce = _attributes(bare, b"nr")
        self._nonce = _nonce(client_nonce) + self._nonce
        salt = b64encode(self._verifier.salt)
        answer = b"r=%b,s=%b,i=%d" % (self._nonce, salt, self._verifier.iterations)
        self._gs2 = flag + b",,"
        self._auth_message = bare + b"," + answer
        return answer

    def final(self, message: bytes) -> int:
        """Take the client-final message; return which candidate matched. `signature` is then what to answer with.

        Raises:
            ScramError: malformed, wrong channel binding, or (`refused`) no candidate matches.
        """
        without_proof, comma, last = message.rpartition(b",")
        if not comma or not last.startswith(b"p="):
            raise ScramError("malformed SCRAM message: attribute p= is missing")
        binding, nonce = _attributes(without_proof, b"cr")
        if not hmac.compare_digest(nonce, self._nonce):
            raise ScramError("malformed SCRAM message: the nonce is not the one agreed upon")
        proof = _decode(last[2:], "proof")
        if len(proof) != KEY_SIZE:
            raise ScramError("malformed SCRAM message: the proof has the wrong length")
        expected = self._gs2 + (self._end_point or b"" if self._plus else b"")
        if not hmac.compare_digest(_decode(binding, "channel binding"), expected):
            raise ScramError("the SCRAM channel binding does not match: the client sees another certificate")
        auth_message = self._auth_message + b"," + without_proof
        matched = self._match(proof, auth_message)
        if matched is None:
            raise ScramError("the SCRAM proof is wrong", refused=True)
        server_key = self._verifier.candidates[matched].server_key
        self.signature = b"v=" + b64encode(_signature(server_key, auth_message))
        return matched

    def _match(self, proof: bytes, auth_message: bytes) -> int | None:
        """Try every candidate, and never fewer: time must not tell which one matched, or that there is none."""
        matched: int | None = None
        none_such = (StoredKeys(b"\0" * KEY_SIZE, b"\0" * KEY_SIZE),)
        for index, keys in enumerate(self._verifier.candidates or none_such):
            client_key = _xor(proof, _signature(keys.stored_key, auth_message))
            same = hmac.compare_digest(hashlib.sha256(client_key).digest(), keys.stored_key)
            if same and matched is None and self._verifier.candidates:
                matched = index
        return matched

    def _split_header(self, message: bytes) -> tuple[bytes, bytes, bytes]:
        """The GS2 header's flag and authorization identity, and the bare message behind them."""
        if b"\0" in message:
            raise ScramError("malformed SCRAM message: it contains a NUL byte")
        parts = message.split(b",", 2)
        if len(parts) < 3:
            raise ScramError("malformed SCRAM message: it has no GS2 header")
        return parts[0], parts[1], parts[2]

    def _check_flag(self, flag: bytes) -> None:
        """RFC 5802 §6: what the client says about channel binding must fit the mechanism it chose and our offer."""
        if self._plus:
            if flag != b"p=tls-server-end-point":
                raise ScramError("SCRAM-SHA-256-PLUS needs the channel binding tls-server-end-point")
        elif flag == b"y":
            if self._end_point is not None:
                raise ScramError("the client was told that channel binding is not offered, but it is: a downgrade")
        elif flag != b"n":
            raise ScramError("the SCRAM channel binding flag does not fit SCRAM-SHA-256")


# --- The client's side ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the server wants the password salted with."""

    salt: bytes
    iterations: int


class ScramClient:
    """One SCRAM exchange from the client's side.

    Args:
        nonce: our half of the nonce, printable ASCII without commas, at least 18 random characters.
        flag: what to say about channel binding: `n`, `y`, or `p=tls-server-end-point`.
        binding: the hash of the server's certificate when the flag says `p=`.
        max_iterations: the bound on what a server may ask of us.
    """

    __slots__ = ("_auth_message", "_bare", "_binding", "_flag", "_max_iterations", "_nonce", "_server_key")

    def __init__(self, nonce: str, *, flag: str = "n", binding: bytes = b"", max_iterations: int = MAX_ITERATIONS):
        self._nonce = nonce.encode("ascii")
        self._flag = flag.encode("ascii")
        self._binding = binding
        self._max_iterations = max_iterations
        self._bare = b"n=,r=" + self._nonce  # no name, as libpq: the startup message has said it
        self._auth_message = b""
        self._server_key = b""

    def first(self) -> bytes:
        """The client-first message."""
        return self._flag + b",," + self._bare

    def challenged(self, message: bytes) -> Challenge:
        """Take the server-first message. Raises ScramError; salts may have any length but none."""
        nonce, salt, rounds = _attributes(message, b"rsi")
        if not _nonce(nonce).startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ScramError("the server's SCRAM nonce does not continue ours")
        if not _NUMBER.match(rounds):
            raise ScramError("malformed SCRAM message: the iteration count is not a positive number")
        iterations = int(rounds)
        if iterations > self._max_iterations:
            raise ScramError(f"the server asks for {iterations} iterations; at most {self._max_iterations} are allowed")
        decoded = _decode(salt, "salt")
        if not decoded:
            raise ScramError("malformed SCRAM message: the salt is empty")
        self._nonce = nonce
        self._auth_message = self._bare + b"," + message
        return Challenge(decoded, iterations)

    def prove(self, keys: Keys) -> bytes:
        """The client-final message, made with the keys derived from the password."""
        binding = b64encode(self._flag + b",," + self._binding)
        without_proof = b"c=%b,r=%b" % (binding, self._nonce)
        self._auth_message += b"," + without_proof
        self._server_key = keys.server_key
        proof = _xor(keys.client_key, _signature(keys.stored_key, self._auth_message))
        return without_proof + b",p=" + b64encode(proof)

    def verify(self, message: bytes) -> None:
        """Take the server-final message. Raises ScramError unless the server proves that it knows the keys."""
        if message.startswith(b"e="):
            raise ScramError("the server ended the SCRAM exchange with an error", refused=True)
        (signature,) = _attributes(message, b"v")
        expected = _signature(self._server_key, self._auth_message)
        if not hmac.compare_digest(_decode(signature, "server signature"), expected):
            raise ScramError("the server's SCRAM signature is wrong: it does not know the password")
