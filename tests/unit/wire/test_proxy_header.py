from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.errors import ClientError, Reason
from ambassador.wire.proxy_header import MAX_V1, MAX_V2, Endpoint, ProxyHeader, build_v1, build_v2, parse

V2 = b"\r\n\r\n\0\r\nQUIT\n"
ENDS = {
    "IPv4": (Endpoint("192.0.2.7", 50_000), Endpoint("198.51.100.1", 5432)),
    "IPv6": (Endpoint("2001:db8::7", 1), Endpoint("2001:db8::1", 65_535)),
}


@pytest.mark.parametrize("build", [build_v1, build_v2])
@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_a_header_tells_both_ends_however_it_arrives(build: object, ends: tuple[Endpoint, Endpoint]) -> None:
    assert callable(build)
    header = build(*ends)
    for length in range(len(header)):
        assert parse(header[:length]) is None
    assert parse(header) == ProxyHeader(*ends, len(header))
    assert parse(header + b"the client's own bytes") == ProxyHeader(*ends, len(header))


def test_the_headers_are_the_specification_s() -> None:
    v4, v6 = ENDS.values()
    assert build_v1(*v4) == b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5432\r\n"
    assert build_v1(*v6) == b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n"
    assert build_v2(*v4) == V2 + b"\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc3\x50\x15\x38"
    assert build_v2(*v6)[:16] == V2 + b"\x21\x21\x00\x24"
    assert len(build_v2(*v6)) == 16 + 36


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (None, ENDS["IPv4"][1]),
        (ENDS["IPv4"][0], None),
        (ENDS["IPv4"][0], ENDS["IPv6"][1]),
        (Endpoint("not an address", 1), ENDS["IPv4"][1]),
    ],
)
def test_what_is_not_known_is_said_to_be_unknown(source: Endpoint | None, destination: Endpoint | None) -> None:
    assert build_v1(source, destination) == b"PROXY UNKNOWN\r\n"
    assert build_v2(source, destination) == V2 + b"\x20\x00\x00\x00"
    for header in (build_v1(source, destination), build_v2(source, destination)):
        assert parse(header) == ProxyHeader(None, None, len(header))


def test_a_zone_is_left_out() -> None:
    assert build_v1(Endpoint("fe80::1%eth0", 1), Endpoint("fe80::2", 2)) == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


BAD_V1 = {
    "no end": b"PROXY TCP4 " + b"1" * MAX_V1,
    "no end, but a line feed": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n" + b"x" * MAX_V1,
    "too few words": b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    "too many words": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    "two spaces": b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
    "nothing": b"PROXY \r\n",
    "UDP": b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "an address of the other family": b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
    "an address with a zone": b"PROXY TCP6 fe80::1%1 fe80::2 1 2\r\n",
    "no address": b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
    "an address that is not ASCII": b"PROXY TCP4 \xd9\xa1.0.0.1 192.0.2.2 1 2\r\n",
    "leading zeros in an address": b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    "a port too high": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    "a long port": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 100000\r\n",
    "a negative port": b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
    "a port with a leading zero": b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    "an empty port": b"PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
}
BAD_V2 = {
    "version 3": V2 + b"\x31\x11\x00\x00",
    "an unknown command": V2 + b"\x22\x11\x00\x00",
    "too short for IPv4": V2 + b"\x21\x11\x00\x0b" + b"\0" * 11,
    "too short for IPv6": V2 + b"\x21\x21\x00\x0c" + b"\0" * 12,
    "too long": V2 + b"\x21\x11" + (MAX_V2 + 1).to_bytes(2),
}
NO_HEADER = {
    "TLS": b"\x16\x03\x01",
    "PostgreSQL": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "HTTP": b"GET / HTTP/1.1\r\n",
    "almost version 1": b"PROXXX",
    "almost version 2": V2[:11] + b"x",
}


@pytest.mark.parametrize("data", [*BAD_V1.values(), *BAD_V2.values(), *NO_HEADER.values()])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ClientError, match="bad PROXY protocol header") as caught:
        parse(data)
    assert caught.value.reason is Reason.PROXY_HEADER


def test_port_zero_can_be_said() -> None:
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 0 65535\r\n"
    assert parse(header) == ProxyHeader(Endpoint("192.0.2.1", 0), Endpoint("192.0.2.2", 65_535), len(header))


def test_the_longest_line_that_can_be_is_read() -> None:
    full = "ffff:" * 7 + "ffff"
    header = f"PROXY UNKNOWN {full} {full} 65535 65535\r\n".encode()
    assert len(header) == MAX_V1
    assert parse(header) == ProxyHeader(None, None, MAX_V1)


@pytest.mark.parametrize("family", [0x00, 0x12, 0x22, 0x31, 0x32, 0xFF])
def test_families_without_a_tcp_address_count_as_unknown(family: int) -> None:
    header = V2 + bytes((0x21, family)) + b"\x00\xd8" + b"x" * 216
    assert parse(header) == ProxyHeader(None, None, len(header))


def test_what_a_health_check_says_of_addresses_is_ignored() -> None:
    header = V2 + b"\x20\x11\x00\x0c" + b"\x01" * 12
    assert parse(header) == ProxyHeader(None, None, len(header))


def test_extensions_behind_the_addresses_are_passed_over() -> None:
    plain = build_v2(*ENDS["IPv4"])
    extended = plain[:14] + (12 + 7).to_bytes(2) + plain[16:] + b"\x04\x00\x04noop"
    assert parse(extended[:-1]) is None
    assert parse(extended) == ProxyHeader(*ENDS["IPv4"], len(extended))


@given(st.sampled_from([b"PROXY ", V2, V2 + b"\x21", b""]), st.binary(max_size=300))
def test_no_bytes_do_more_than_raise(beginning: bytes, rest: bytes) -> None:
    with suppress(ClientError):
        header = parse(beginning + rest)
        assert header is None or header.size <= len(beginning + rest)
