"""Pairs of connected streams, of every kind there is: TCP, unix, TLS 1.2 and 1.3."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ambassador.net.facts import Context
from ambassador.net.stream import LIMIT, Stream
from tests.support.certs import Certs, Leaf
from tests.support.sockets import tcp_pair

KINDS = ("tcp", "unix", "tls1.2", "tls1.3")

Pair = tuple[Stream, Stream]
Connect = Callable[..., Awaitable[Pair]]


@pytest.fixture(scope="session")
def certs() -> Certs:
    """One CA for all tests of this room."""
    return Certs()


@pytest.fixture(scope="session")
def server_leaf(certs: Certs) -> Leaf:
    """A server certificate for this machine."""
    return certs.server()


@pytest.fixture
def server_context(server_leaf: Leaf, tmp_path: Path) -> ssl.SSLContext:
    """Shows `server_leaf`."""
    path = tmp_path / "both.pem"
    path.write_bytes(server_leaf.key + server_leaf.cert)
    context = Context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def client_context(certs: Certs, version: str = "tls1.3") -> ssl.SSLContext:
    """Trusts the CA of the tests and speaks nothing but `version`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certs.ca.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2 if version == "tls1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version
    return context


@pytest.fixture
def trusting(certs: Certs) -> ssl.SSLContext:
    """A client's context that trusts the CA of the tests."""
    return client_context(certs)


@pytest.fixture
async def connect(certs: Certs, server_context: ssl.SSLContext) -> AsyncIterator[Connect]:
    """Makes connected pairs (near, far); near is TLS's client. All are gone after the test."""
    made: list[Stream] = []

    async def make(kind: str = "tcp", *, limit: int = LIMIT) -> Pair:
        ends = socket.socketpair() if kind == "unix" else tcp_pair()
        for end in ends:
            end.setblocking(False)
            made.append(Stream.adopt(end, limit=limit))
        near, far = made[-2:]
        if kind.startswith("tls"):
            await start_tls(near, far, client_context(certs, kind), server_context)
        return near, far

    yield make
    for stream in made:
        stream.abort()
        await stream.wait_closed(5)


async def start_tls(near: Stream, far: Stream, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Begin TLS between the two ends of a pair."""
    await asyncio.gather(
        far.start_tls(server, server_side=True),
        near.start_tls(client, server_side=False, server_hostname="localhost"),
    )
