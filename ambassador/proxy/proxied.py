"""Who the client is when a load balancer stands between: PROXY protocol headers, in and out."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from ambassador.config.schema import ProxyProtocol
from ambassador.errors import ClientError, Reason
from ambassador.net.stream import Peer, Stream
from ambassador.wire import proxy_header
from ambassador.wire.proxy_header import Endpoint


async def client_of(stream: Stream, settings: ProxyProtocol | None) -> Peer:
    """The client at the far end: the socket's peer, or whom a trusted balancer names. The caller brings the deadline.

    A trusted peer must send a header, and from others none is looked for: what they send is the client's own words.

    Raises:
        ClientError: PROXY_HEADER: a trusted peer sent none, or a bad one.
    """
    if settings is None or not _trusted(stream.peer, settings):
        return stream.peer
    data = b""
    while (header := proxy_header.parse(data) if data else None) is None:
        more = await stream.read()
        if not more:
            raise ClientError(Reason.CLIENT_CLOSED, "the connection closed before its PROXY header was whole")
        data += more
    if rest := data[header.size :]:
        stream.unread(rest)
    source = header.source
    if source is None:
        return stream.peer
    host = f"[{source.host}]" if ":" in source.host else source.host
    return Peer(f"{host}:{source.port}", source.host, source.port)


def header_for(version: Literal["v1", "v2"] | None, client: Peer, local: Peer) -> bytes:
    """The header that tells an upstream who `client` is, who came in at `local`; empty when none is configured."""
    if version is None:
        return b""
    build = proxy_header.build_v1 if version == "v1" else proxy_header.build_v2
    return build(_endpoint(client), _endpoint(local))


def _trusted(peer: Peer, settings: ProxyProtocol) -> bool:
    if peer.host is None:
        return peer.uid is not None  # a unix socket: its mode says who may connect; without an id nobody is there
    address = ip_address(peer.host)
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in settings.trusted)


def _endpoint(peer: Peer) -> Endpoint | None:
    return None if peer.host is None or peer.port is None else Endpoint(peer.host, peer.port)
