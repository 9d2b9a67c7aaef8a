"""Two ends of one connection."""

from __future__ import annotations

import pytest

from tests.support.streams import stream_pair


@pytest.mark.parametrize("unix", [False, True])
async def test_what_one_end_writes_the_other_reads(unix: bool) -> None:
    async with stream_pair(unix=unix) as (near, far):
        near.write(b"to")
        assert await far.read() == b"to"
        far.write(b"fro")
        assert await near.read() == b"fro"
        assert (near.peer.host is None) == unix


async def test_both_are_gone_afterwards() -> None:
    async with stream_pair() as (near, far):
        pass
    assert near.closed
    assert far.closed
