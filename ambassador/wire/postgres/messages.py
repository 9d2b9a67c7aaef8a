"""PostgreSQL messages to bytes and back (protocol 3, "Message Formats" in PostgreSQL's manual).

Texts travel as UTF-8 with `surrogateescape`, so that a name in any encoding survives the way through unchanged.
Functions named `parse_...` take a payload: what stands behind a message's tag and length. They raise `Malformed`;
who is to blame is for the machine that asked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import Struct

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2  # long cancel keys; 3.1 was never used

# Codes that stand where a startup message has its version.
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104

MAX_STARTUP = 10_000  # bytes behind the length, as the server's MAX_STARTUP_PACKET_LENGTH
MAX_CANCEL_KEY = 256  # bytes, protocol 3.2
CANCEL_KEY_3_0 = 4  # bytes, protocol 3.0: no more, no less

# Codes of authentication requests ('R').
AUTH_OK = 0
AUTH_CLEARTEXT = 3
AUTH_MD5 = 5
AUTH_SASL = 10
AUTH_SASL_CONTINUE = 11
AUTH_SASL_FINAL = 12
AUTH_NAMES: Mapping[int, str] = {
    2: "Kerberos V5", 3: "cleartext password", 5: "md5", 6: "SCM credentials", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI",
    10: "SASL",
}  # fmt: skip

TERMINATE = b"X\0\0\0\x04"
SYNC = b"S\0\0\0\x04"

_INT32 = Struct("!I")
_HEADER = Struct("!cI")
_INT16 = Struct("!H")


class Malformed(ValueError):
    """A payload does not have the form its message prescribes."""


def encode_text(text: str) -> bytes:
    """Bytes of a name or value as it came from the wire."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(data: bytes) -> str:
    """Text of bytes in any encoding; `encode_text` gives the same bytes back."""
    return data.decode("utf-8", "surrogateescape")


def message(tag: bytes, payload: bytes = b"") -> bytes:
    """A whole message: one tag byte, the length (counting itself), the payload."""
    return _HEADER.pack(tag, len(payload) + 4) + payload


def _string(text: str) -> bytes:
    """A NUL-terminated string. A NUL inside would end it early, so there may be none."""
    data = encode_text(text)
    if b"\0" in data:
        raise Malformed("a NUL byte cannot be sent inside a string")
    return data + b"\0"


# --- Before the login -----------------------------------------------------------------------------------------------


def startup_message(parameters: Mapping[str, str], version: int = PROTOCOL_3_0) -> bytes:
    """A startup message. `parameters` has `user` and whatever else is asked for. Raises Malformed for a NUL."""
    pairs = b"".join(_string(name) + _string(value) for name, value in parameters.items())
    return _untagged(_INT32.pack(version) + pairs + b"\0")


def parse_startup(payload: bytes) -> dict[str, str]:
    """The parameters behind a startup message's version; of a name sent twice the later value counts."""
    if not payload.endswith(b"\0"):
        raise Malformed("the startup message does not end with a terminator")
    parameters: dict[str, str] = {}
    position = 0
    while payload[position] != 0:
        name, position = _take_string(payload, position)
        value, position = _take_string(payload, position)
        parameters[name] = value
        if position >= len(payload):
            raise Malformed("the startup message does not end with a terminator")
    if position != len(payload) - 1:
        raise Malformed("bytes follow the startup message's terminator")
    return parameters


def ssl_request() -> bytes:
    """The question whether the server speaks TLS; it answers with one byte, `S` or `N`."""
    return _untagged(_INT32.pack(SSL_REQUEST))


def cancel_request(pid: int, key: bytes) -> bytes:
    """A request, on a connection of its own, to cancel what the session `pid` is doing."""
    return _untagged(_INT32.pack(CANCEL_REQUEST) + _INT32.pack(pid) + key)


def _untagged(payload: bytes) -> bytes:
    return _INT32.pack(len(payload) + 4) + payload


# --- From the client ------------------------------------------------------------------------------------------------


def query(sql: str) -> bytes:
    """A simple query."""
    return message(b"Q", _string(sql))


def password_message(password: bytes) -> bytes:
    """A cleartext password or an md5 digest. Raises Malformed for a NUL byte."""
    if b"\0" in password:
        raise Malformed("a password with a NUL byte cannot be sent")
    return message(b"p", password + b"\0")


def sasl_initial_response(mechanism: str, response: bytes) -> bytes:
    """The choice of a SASL mechanism and its first message."""
    return message(b"p", _string(mechanism) + _INT32.pack(len(response)) + response)


def parse_sasl_initial_response(payload: bytes) -> tuple[str, bytes]:
    """Mechanism and first message; a client may leave the message out (length -1), which SCRAM does not allow."""
    mechanism, position = _take_string(payload, 0)
    if len(payload) < position + 4:
        raise Malformed("the SASL initial response has no length")
    (size,) = _INT32.unpack_from(payload, position)
    response = payload[position + 4 :]
    if size != len(response):
        raise Malformed("the SASL initial response has another length than it says")
    return mechanism, response


def sasl_response(response: bytes) -> bytes:
    """A further SASL message from the client."""
    return message(b"p", response)


# --- From the server ------------------------------------------------------------------------------------------------


def authentication(code: int, payload: bytes = b"") -> bytes:
    """An authentication request, or with code `AUTH_OK` the news that none is left."""
    return message(b"R", _INT32.pack(code) + payload)


def parse_authentication(payload: bytes) -> tuple[int, bytes]:
    """The code of an authentication request and what belongs to it."""
    if len(payload) < 4:
        raise Malformed("the authentication request has no code")
    return _INT32.unpack_from(payload)[0], payload[4:]


def sasl_mechanisms(names: Iterable[str]) -> bytes:
    """The offer of SASL mechanisms, in the order of preference."""
    return authentication(AUTH_SASL, b"".join(_string(name) for name in names) + b"\0")


def parse_sasl_mechanisms(payload: bytes) -> list[str]:
    """Names of the mechanisms a server offers."""
    names: list[str] = []
    position = 0
    while payload[position : position + 1] != b"\0":
        name, position = _take_string(payload, position)
        names.append(name)
    return names


def parameter_status(name: str, value: str) -> bytes:
    """The value of a setting a client must know."""
    return message(b"S", _string(name) + _string(value))


def parse_parameter_status(payload: bytes) -> tuple[str, str]:
    """Name and value of a setting."""
    name, position = _take_string(payload, 0)
    value, _ = _take_string(payload, position)
    return name, value


def backend_key_data(pid: int, key: bytes) -> bytes:
    """What a client must show to cancel: the session's number and its key (4 bytes in 3.0, up to 256 in 3.2)."""
    return message(b"K", _INT32.pack(pid) + key)


def parse_backend_key_data(payload: bytes) -> tuple[int, bytes]:
    """Number and key of a session, to be shown with a cancel request."""
    if not 4 < len(payload) <= 4 + MAX_CANCEL_KEY:
        raise Malformed("the cancel key is empty or too long")
    return _INT32.unpack_from(payload)[0], payload[4:]


def ready_for_query(status: bytes = b"I") -> bytes:
    """The server is ready: `I` idle, `T` in a transaction, `E` in a failed one."""
    return message(b"Z", status)


def negotiate_protocol_version(version: int, unknown_options: Iterable[str]) -> bytes:
    """The newest version we speak, and the options (`_pq_.…`) we do not know."""
    names = [_string(name) for name in unknown_options]
    return message(b"v", _INT32.pack(version) + _INT32.pack(len(names)) + b"".join(names))


def parse_negotiate_protocol_version(payload: bytes) -> tuple[int, list[str]]:
    """The newest version a server speaks, and the options it does not know."""
    if len(payload) < 8:
        raise Malformed("the protocol negotiation is too short")
    version, count = _INT32.unpack_from(payload)[0], _INT32.unpack_from(payload, 4)[0]
    names: list[str] = []
    position = 8
    while len(names) < count:
        name, position = _take_string(payload, position)
        names.append(name)
    return version, names


def parse_data_row(payload: bytes) -> list[bytes | None]:
    """The columns of a row; None is NULL."""
    columns: list[bytes | None] = []
    try:
        (count,) = _INT16.unpack_from(payload)
        position = 2
        for _ in range(count):
            (size,) = _INT32.unpack_from(payload, position)
            position += 4
            if size == 0xFFFFFFFF:
                columns.append(None)
                continue
            columns.append(payload[position : position + size])
            position += size
    except struct.error:
        raise Malformed("the row ends too early") from None
    if position != len(payload):
        raise Malformed("the row has another length than its columns")
    return columns


# --- Errors ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """What an ErrorResponse or NoticeResponse says.

    `severity` is the untranslated word (ERROR, FATAL, PANIC ...); `code` the SQLSTATE, `XX000` when none was sent.
    """

    severity: str
    code: str
    message: str
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def fatal(self) -> bool:
        """The server closes the connection after this."""
        return self.severity in {"FATAL", "PANIC"}


def error_response(
    severity: str, code: str, message_: str, detail: str | None = None, hint: str | None = None
) -> bytes:
    """An ErrorResponse. NUL bytes in a text become U+FFFD, so that an error can always be told."""
    parts = {"S": severity, "V": severity, "C": code, "M": message_, "D": detail, "H": hint}
    body = b"".join(
        name.encode() + _string(text.replace("\0", "\ufffd")) for name, text in parts.items() if text is not None
    )
    return message(b"E", body + b"\0")


def parse_error(payload: bytes) -> ErrorFields:
    """Read an error as far as it can be read: a server's garbage must not become our crash."""
    fields: dict[str, str] = {}
    for part in payload.split(b"\0"):
        if not part:
            break
        fields.setdefault(chr(part[0]), part[1:].decode("utf-8", "replace"))
    severity = fields.pop("V", None) or fields.get("S") or "ERROR"
    fields.pop("S", None)
    code = fields.pop("C", "")
    if len(code) != 5 or not (code.isascii() and code.isalnum()):
        code = "XX000"
    return ErrorFields(severity, code, fields.pop("M", ""), fields)


def _take_string(payload: bytes, position: int) -> tuple[str, int]:
    """The string that begins at `position`, and where the next thing begins."""
    end = payload.find(b"\0", position)
    if end < 0:
        raise Malformed("a string is not terminated")
    return decode_text(payload[position:end]), end + 1
