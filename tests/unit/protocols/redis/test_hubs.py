"""Which hubs there are."""

from __future__ import annotations

import asyncio

from ambassador.protocols.redis.hubs import Hubs
from tests.unit.protocols.redis.conftest import MakeTable, until


async def test_each_upstream_has_one_hub(make_table: MakeTable) -> None:
    one, two = make_table(), make_table()
    hubs = Hubs()
    try:
        assert hubs.of(one.upstream) is hubs.of(one.upstream)
        assert hubs.of(two.upstream).upstream is two.upstream
    finally:
        await hubs.close()
        await asyncio.sleep(0.01)


async def test_the_hub_of_an_upstream_that_was_replaced_is_closed_when_nobody_needs_it(make_table: MakeTable) -> None:
    before, after = make_table(), make_table()
    hubs = Hubs()
    old = hubs.of(before.upstream)
    line = await old.shared((2, 0))
    new = hubs.of(after.upstream)
    await until("the old one to be closed", lambda: old.closed and line.gone)
    assert (old.closed, new.closed) == (True, False)
    await hubs.close()
    assert (old.closed, new.closed) == (True, True)
    await until("it to be over", lambda: not len(old.tasks) and not len(new.tasks))
