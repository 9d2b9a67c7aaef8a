"""Who the client is when a load balancer stands between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_network

import pytest

from ambassador.config.schema import ProxyProtocol
from ambassador.errors import ClientError, Reason
from ambassador.net.peer import UNKNOWN, Peer
from ambassador.net.stream import Stream
from ambassador.proxy.proxied import _trusted, client_of, header_for
from ambassador.wire.proxy_header import MAX_V2, V2_SIGNATURE, Endpoint, build_v1, build_v2, parse
from tests.support.splits import in_pieces
from tests.support.streams import stream_pair

Build = Callable[[Endpoint | None, Endpoint | None], bytes]

HERE = ProxyProtocol(trusted=(ip_network("127.0.0.0/8"),))
ELSEWHERE = ProxyProtocol(trusted=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
CLIENT = Endpoint("192.0.2.7", 4711)
CLIENT6 = Endpoint("2001:db8::7", 4711)


async def hear(far: Stream, near: Stream, data: bytes, settings: ProxyProtocol | None = HERE) -> Peer:
    far.write(data)
    async with asyncio.timeout(5):
        return await client_of(near, settings)


async def test_without_settings_the_client_is_the_socket_s_peer_and_nothing_is_read() -> None:
    async with stream_pair() as (near, far):
        header = build_v1(CLIENT, CLIENT)
        assert await hear(far, near, header, None) == near.peer
        assert await near.read() == header


async def test_a_peer_that_is_not_trusted_is_not_listened_to() -> None:
    async with stream_pair() as (near, far):
        header = build_v1(CLIENT, CLIENT)
        assert await hear(far, near, header, ELSEWHERE) == near.peer
        assert await near.read() == header, "what it sent are the client's own words"


@pytest.mark.parametrize("build", [build_v1, build_v2])
async def test_a_trusted_peer_names_the_client(build: Build) -> None:
    async with stream_pair() as (near, far):
        found = await hear(far, near, build(CLIENT, Endpoint("127.0.0.1", 5432)) + b"hello")
        assert found == Peer("192.0.2.7:4711", "192.0.2.7", 4711)
        assert await near.read() == b"hello"


@pytest.mark.parametrize("build", [build_v1, build_v2])
async def test_an_ipv6_client_is_written_in_brackets(build: Build) -> None:
    async with stream_pair() as (near, far):
        found = await hear(far, near, build(CLIENT6, Endpoint("::1", 5432)))
        assert found == Peer("[2001:db8::7]:4711", "2001:db8::7", 4711)
        assert near.buffered == 0


@pytest.mark.parametrize("build", [build_v1, build_v2])
async def test_a_balancer_s_own_check_is_the_balancer(build: Build) -> None:
    async with stream_pair() as (near, far):
        assert await hear(far, near, build(None, None)) == near.peer


@pytest.mark.parametrize("build", [build_v1, build_v2])
@pytest.mark.parametrize("size", [1, 5, 13])
async def test_a_header_may_come_in_pieces(build: Build, size: int) -> None:
    async with stream_pair() as (near, far):
        task = asyncio.create_task(client_of(near, HERE))
        for piece in in_pieces(build(CLIENT, CLIENT), size):
            far.write(piece)
            await asyncio.sleep(0.001)
        async with asyncio.timeout(5):
            assert (await task).host == "192.0.2.7"


async def test_a_unix_socket_is_trusted_because_its_mode_says_who_may_connect() -> None:
    async with stream_pair(unix=True) as (near, far):
        assert (await hear(far, near, build_v2(CLIENT, CLIENT), ELSEWHERE)).host == "192.0.2.7"


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY " + b"x" * 200,
        V2_SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
async def test_a_trusted_peer_without_a_good_header_is_refused(data: bytes) -> None:
    async with stream_pair() as (near, far):
        with pytest.raises(ClientError) as caught:
            await hear(far, near, data)
        assert caught.value.reason is Reason.PROXY_HEADER


async def test_a_header_that_never_ends_is_not_gathered_for_ever() -> None:
    async with stream_pair() as (near, far):
        with pytest.raises(ClientError) as caught:
            await hear(far, near, V2_SIGNATURE + b"\x21\x11" + (MAX_V2 + 1).to_bytes(2) + b"x" * 60000)
        assert caught.value.reason is Reason.PROXY_HEADER


@pytest.mark.parametrize("data", [b"", b"PROXY TCP4"])
async def test_a_peer_that_leaves_before_its_header_is_whole_has_left(data: bytes) -> None:
    async with stream_pair() as (near, far):
        far.write(data)
        far.write_eof()
        with pytest.raises(ClientError) as caught:
            await client_of(near, HERE)
        assert caught.value.reason is Reason.CLIENT_CLOSED


@pytest.mark.parametrize(
    ("host", "trusted"), [("::ffff:127.0.0.9", True), ("::ffff:10.1.2.3", False), ("127.0.0.9", True), ("::1", False)]
)
def test_an_ipv4_address_in_ipv6_clothes_is_in_its_network(host: str, trusted: bool) -> None:
    assert _trusted(Peer(f"[{host}]:1", host, 1), HERE) is trusted


def test_a_connection_that_is_gone_names_nobody_to_trust() -> None:
    assert not _trusted(UNKNOWN, HERE)


# ---- out


@pytest.mark.parametrize(("version", "build"), [("v1", build_v1), ("v2", build_v2)])
def test_an_upstream_is_told_who_came_in_where(version: str, build: Build) -> None:
    client, local = Peer("192.0.2.7:4711", "192.0.2.7", 4711), Peer("192.0.2.1:5432", "192.0.2.1", 5432)
    header = header_for(version, client, local)  # type: ignore[arg-type]  # one of the two words
    assert header == build(CLIENT, Endpoint("192.0.2.1", 5432))
    parsed = parse(header)
    assert parsed is not None
    assert (parsed.source, parsed.destination) == (CLIENT, Endpoint("192.0.2.1", 5432))


def test_nothing_is_told_where_nothing_is_configured() -> None:
    assert header_for(None, Peer("192.0.2.7:4711", "192.0.2.7", 4711), Peer("192.0.2.1:1", "192.0.2.1", 1)) == b""


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_client_at_a_unix_socket_has_no_address_to_tell(version: str) -> None:
    header = header_for(version, Peer("unix:"), Peer("unix:/run/s"))  # type: ignore[arg-type]  # one of the two words
    parsed = parse(header)
    assert parsed is not None
    assert parsed.source is None
