"""The PROXY protocol, versions 1 and 2: a balancer's word on who is really at the other end of a connection.

Specification: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt (HAProxy's authors). Whoever may send such a
header may claim any address, so it is believed only from listed networks; that is for the listener to see to. A header
where none is expected is as wrong as none where one is: the specification forbids guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from struct import Struct

from ambassador.errors import ClientError, Reason

V1_SIGNATURE = b"PROXY "
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

MAX_V1 = 107  # bytes with CRLF: the longest header there can be
# Bytes behind version 2's fixed part. Addresses need at most 216; the rest is for TLVs, which may carry a certificate.
MAX_V2 = 16 * 1024

_V2_FIXED = Struct("!12sBBH")
_IPV4 = Struct("!4s4sHH")
_IPV6 = Struct("!16s16sHH")

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a TCP connection; `host` is a numeric address."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header said.

    Attributes:
        source: the client, None where the balancer did not say (its own health checks, unix sockets, `UNKNOWN`): the
            connection's own peer then counts.
        destination: where the client meant to go.
        size: how many bytes the header took; what follows is the client's.
    """

    source: Endpoint | None
    destination: Endpoint | None
    size: int


def parse(data: bytes) -> ProxyHeader | None:
    """Read the header that `data` begins with; None while it is not whole.

    Raises:
        ClientError: PROXY_HEADER: it is no header, malformed, or too long. Never more than `MAX_V2` and a few bytes
            need be gathered to know.
    """
    if data.startswith(V2_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(V1_SIGNATURE):
        return _parse_v1(data)
    if V2_SIGNATURE.startswith(data) or V1_SIGNATURE.startswith(data):
        return None
    raise _fault("the connection does not begin with one")


def _fault(text: str) -> ClientError:
    return ClientError(Reason.PROXY_HEADER, f"bad PROXY protocol header: {text}")


# --- Version 1: one line of text ------------------------------------------------------------------------------------


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise _fault(f"version 1 has no end within {MAX_V1} bytes")
        return None
    words = data[:end].split(b" ")
    size = end + 2
    if words[1] == b"UNKNOWN":
        return ProxyHeader(None, None, size)
    if len(words) != 6 or words[1] not in {b"TCP4", b"TCP6"}:
        raise _fault("version 1 is not `PROXY TCP4|TCP6 source destination port port`")
    family = IPv4Address if words[1] == b"TCP4" else IPv6Address
    source = Endpoint(_host(family, words[2]), _port(words[4]))
    return ProxyHeader(source, Endpoint(_host(family, words[3]), _port(words[5])), size)


def _host(family: type[IPv4Address | IPv6Address], word: bytes) -> str:
    try:
        address = family(word.decode("ascii"))
    except (AddressValueError, UnicodeDecodeError):
        raise _fault("version 1 has an address that is none of its family") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise _fault("version 1 has an address with a zone")
    return str(address)


def _port(word: bytes) -> int:
    # Leading zeros, signs and digits of other scripts are forbidden, all of which int() would take.
    if not (word.isdigit() and len(word) <= 5 and (word == b"0" or not word.startswith(b"0"))) or int(word) > 0xFFFF:
        raise _fault("version 1 has an impossible port")
    return int(word)


def build_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """A header of version 1; `UNKNOWN` where an end is not known or the two are of different families."""
    known = _families(source, destination)
    if known is None:
        return b"PROXY UNKNOWN\r\n"
    (from_host, from_port), (to_host, to_port) = known
    family = "TCP4" if from_host.version == 4 else "TCP6"
    return f"PROXY {family} {from_host} {to_host} {from_port} {to_port}\r\n".encode("ascii")


# --- Version 2: binary ----------------------------------------------------------------------------------------------


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED.size:
        return None
    _, command, family, length = _V2_FIXED.unpack_from(data)
    if command not in {_LOCAL, _PROXY}:
        raise _fault("version 2 has an unknown version or command")
    if length > MAX_V2:
        raise _fault(f"version 2 is longer than {MAX_V2} bytes")
    size = _V2_FIXED.size + length
    if len(data) < size:
        return None
    if command == _PROXY and family in {_TCP4, _TCP6}:
        return _addresses(data[_V2_FIXED.size : size], _IPV4 if family == _TCP4 else _IPV6, size)
    return ProxyHeader(None, None, size)  # families we do not know must be taken as unknown, not refused (§2.2)


def _addresses(block: bytes, form: Struct, size: int) -> ProxyHeader:
    if len(block) < form.size:
        raise _fault("version 2 is too short for its addresses")
    source, destination, source_port, destination_port = form.unpack_from(block)
    return ProxyHeader(
        Endpoint(str(ip_address(source)), source_port), Endpoint(str(ip_address(destination)), destination_port), size
    )


def build_v2(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """A header of version 2; `LOCAL` where an end is not known or the two are of different families."""
    known = _families(source, destination)
    if known is None:
        return _V2_FIXED.pack(V2_SIGNATURE, _LOCAL, 0, 0)
    (from_host, from_port), (to_host, to_port) = known
    form, family = (_IPV4, _TCP4) if from_host.version == 4 else (_IPV6, _TCP6)
    block = form.pack(from_host.packed, to_host.packed, from_port, to_port)
    return _V2_FIXED.pack(V2_SIGNATURE, _PROXY, family, len(block)) + block


_Known = tuple[IPv4Address | IPv6Address, int]


def _families(source: Endpoint | None, destination: Endpoint | None) -> tuple[_Known, _Known] | None:
    """Both ends as addresses of one family, or None. A zone means nothing on another machine and is left out."""
    if source is None or destination is None:
        return None
    try:
        start = ip_address(source.host.partition("%")[0])
        end = ip_address(destination.host.partition("%")[0])
    except ValueError:
        return None
    if start.version != end.version:
        return None
    return (start, source.port), (end, destination.port)
