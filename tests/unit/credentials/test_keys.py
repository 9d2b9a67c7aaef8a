"""SCRAM keys, derived off the loop and remembered."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ambassador.credentials import keys
from ambassador.credentials.keys import KeyCache
from ambassador.credentials.secret import Secret
from ambassador.wire import scram

PASSWORD = Secret("correct horse")
DERIVE = scram.derive


class Deriving:
    """Stands in for `scram.derive`: counts, tells its thread, and can be held up or fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, int]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.failures = 0

    def __call__(self, password: bytes, salt: bytes, iterations: int) -> scram.Keys:
        self.calls.append((salt, iterations))
        self.threads.add(threading.get_ident())
        self.gate.wait(5.0)
        if self.failures:
            self.failures -= 1
            raise MemoryError
        return DERIVE(password, salt, iterations)


@pytest.fixture
def deriving(monkeypatch: pytest.MonkeyPatch) -> Deriving:
    found = Deriving()
    monkeypatch.setattr(scram, "derive", found)
    return found


async def test_keys_are_those_of_the_password_and_the_loop_s_thread_does_not_compute_them(deriving: Deriving) -> None:
    found = await KeyCache().get(PASSWORD, b"salt", 4096)
    assert found == DERIVE(b"correct horse", b"salt", 4096)
    assert threading.get_ident() not in deriving.threads


async def test_a_second_login_with_the_same_salt_derives_nothing(deriving: Deriving) -> None:
    cache = KeyCache()
    first = await cache.get(PASSWORD, b"salt", 10)
    assert await cache.get(PASSWORD, b"salt", 10) is first
    assert await cache.get(PASSWORD, b"salt", 11) != first
    assert deriving.calls == [(b"salt", 10), (b"salt", 11)]


async def test_a_storm_of_logins_derives_once(deriving: Deriving) -> None:
    cache = KeyCache()
    found = await asyncio.gather(*(cache.get(PASSWORD, b"salt", 10) for _ in range(100)))
    assert len(set(map(id, found))) == 1
    assert len(deriving.calls) == 1


async def test_one_who_gives_up_does_not_spoil_it_for_the_others(deriving: Deriving) -> None:
    cache = KeyCache()
    deriving.gate.clear()
    impatient = asyncio.ensure_future(cache.get(PASSWORD, b"salt", 10))
    patient = asyncio.ensure_future(cache.get(PASSWORD, b"salt", 10))
    await asyncio.sleep(0.01)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    deriving.gate.set()
    assert (await patient).client_key
    assert len(deriving.calls) == 1


async def test_a_failed_derivation_is_not_remembered(deriving: Deriving) -> None:
    cache = KeyCache()
    deriving.failures = 1
    with pytest.raises(MemoryError):
        await cache.get(PASSWORD, b"salt", 10)
    assert (await cache.get(PASSWORD, b"salt", 10)).client_key


async def test_a_failure_nobody_waits_for_any_more_is_silent(deriving: Deriving) -> None:
    cache = KeyCache()
    deriving.gate.clear()
    deriving.failures = 1
    waiting = asyncio.ensure_future(cache.get(PASSWORD, b"salt", 10))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    deriving.gate.set()
    await asyncio.wait(cache._pending.values())
    assert (await cache.get(PASSWORD, b"other", 10)).client_key
    assert len(deriving.calls) == 2


async def test_only_so_many_salts_are_remembered_and_the_used_ones_stay(deriving: Deriving) -> None:
    cache = KeyCache()
    for number in range(keys.KEPT):
        await cache.get(PASSWORD, b"%d" % number, 1)
    await cache.get(PASSWORD, b"0", 1)
    await cache.get(PASSWORD, b"one more", 1)
    deriving.calls.clear()
    await cache.get(PASSWORD, b"0", 1)
    assert deriving.calls == []
    await cache.get(PASSWORD, b"1", 1)
    assert deriving.calls == [(b"1", 1)]


def test_a_derivation_left_over_from_a_loop_that_ended_is_begun_anew(deriving: Deriving) -> None:
    cache = KeyCache()

    async def give_up() -> None:
        deriving.gate.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await cache.get(PASSWORD, b"salt", 10)
        # The future of a closed loop never ends.
        cache._pending[b"salt", 10] = asyncio.get_running_loop().create_future()
        deriving.gate.set()

    async def again() -> scram.Keys:
        return await cache.get(PASSWORD, b"salt", 10)

    asyncio.run(give_up())
    assert asyncio.run(again()).client_key
