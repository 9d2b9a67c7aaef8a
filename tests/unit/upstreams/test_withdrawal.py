"""What is under way at an endpoint that is withdrawn is given up, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.config.address import Address
from ambassador.errors import Reason, UpstreamError
from ambassador.upstreams.endpoint import Endpoint, Role
from ambassador.upstreams.withdrawal import Withdrawal


def endpoint(role: Role | None, port: int = 1) -> Endpoint:
    return Endpoint(Address("db", port), role)


async def attempt(withdrawal: Withdrawal, where: Endpoint, done: asyncio.Event) -> str:
    async with withdrawal.watch(where):
        await done.wait()
    return "done"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_attempt_at_a_withdrawn_endpoint_ends_as_the_wrong_role() -> None:
    withdrawal, done = Withdrawal(), asyncio.Event()
    task = asyncio.create_task(attempt(withdrawal, endpoint("primary"), done))
    await settle()
    withdrawal.withdraw(())
    with pytest.raises(UpstreamError, match="db:1 ceased to be the primary") as caught:
        await task
    assert caught.value.reason is Reason.WRONG_ROLE


async def test_one_whose_endpoint_stays_goes_on() -> None:
    withdrawal, done = Withdrawal(), asyncio.Event()
    task = asyncio.create_task(attempt(withdrawal, endpoint("primary"), done))
    await settle()
    withdrawal.withdraw({endpoint("primary"), endpoint("replica", 2)})
    await settle()
    done.set()
    assert await task == "done"


async def test_one_whose_endpoint_the_operator_wrote_goes_on() -> None:
    withdrawal, done = Withdrawal(), asyncio.Event()
    task = asyncio.create_task(attempt(withdrawal, endpoint(None), done))
    await settle()
    withdrawal.withdraw(())
    await settle()
    done.set()
    assert await task == "done"


async def test_a_change_of_role_withdraws_too() -> None:
    withdrawal, done = Withdrawal(), asyncio.Event()
    task = asyncio.create_task(attempt(withdrawal, endpoint("primary"), done))
    await settle()
    withdrawal.withdraw({endpoint("replica")})
    with pytest.raises(UpstreamError):
        await task


async def test_a_deadline_of_what_is_done_within_remains_one() -> None:
    withdrawal = Withdrawal()
    with pytest.raises(TimeoutError):
        async with withdrawal.watch(endpoint("primary")), asyncio.timeout(0):
            await asyncio.sleep(1)


async def test_with_nothing_under_way_nothing_happens_later() -> None:
    withdrawal, done = Withdrawal(), asyncio.Event()
    done.set()
    assert await attempt(withdrawal, endpoint("primary"), done) == "done"
    withdrawal.withdraw(())
    assert await attempt(withdrawal, endpoint("primary"), done) == "done"
