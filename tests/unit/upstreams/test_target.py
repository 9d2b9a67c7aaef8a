"""A target carries its bytes to the upstream it names."""

from __future__ import annotations

from unittest import mock

from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Attempt, Upstream


async def login(attempt: Attempt) -> None:
    """Never called here."""


async def test_a_target_leases_from_its_upstream_with_its_preamble() -> None:
    upstream = mock.create_autospec(Upstream, instance=True)
    lease = await Target(upstream, b"PROXY UNKNOWN\r\n").lease(login)
    upstream.lease.assert_awaited_once_with(login, b"PROXY UNKNOWN\r\n")
    assert lease is upstream.lease.return_value


async def test_without_a_preamble_nothing_is_sent_ahead() -> None:
    upstream = mock.create_autospec(Upstream, instance=True)
    await Target(upstream).lease(login)
    upstream.lease.assert_awaited_once_with(login, b"")
