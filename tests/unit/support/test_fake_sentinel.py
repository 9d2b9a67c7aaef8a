"""The Sentinel that is none answers like a real one."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.wire.redis.messages import Value, decode
from ambassador.wire.redis.sentinel import CHANNELS, View, Watch
from tests.support.fake_sentinel import MASTER, FakeSentinel
from tests.support.resp import request
from tests.support.sentinels import Sentinels
from tests.support.valkey import new_account


async def rounds(port: int, *login: bytes, count: int = 2) -> list[View]:
    """What one hears there, asked in the way that the daemon asks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    watch, found = Watch(MASTER), []
    try:
        if login:
            writer.write(request(b"AUTH", *login))
            assert await reader.readline() == b"+OK\r\n"
        for _ in range(count):
            writer.write(watch.ask())
            while (event := watch.next_event()) is None:
                watch.receive(await reader.read(65536))
            assert isinstance(event, View)
            found.append(event)
        return found
    finally:
        writer.close()
        await writer.wait_closed()


async def test_it_answers_as_a_real_one_does(sentinels: Sentinels) -> None:
    account = new_account(*sentinels.sentinels)
    real = sentinels.sentinels[0]
    (first, second) = await rounds(real.port, account.name.encode(), account.password.encode())
    assert first == second
    assert len(first.others) == 2
    async with FakeSentinel(first.sentinel, str(first.primary)) as fake:
        fake.epoch = first.epoch
        fake.replicas = {str(one.place): one.down for one in first.replicas}
        (same, _) = await rounds(fake.port)
    assert (same.sentinel, same.epoch, same.primary, same.replicas) == (
        first.sentinel, first.epoch, first.primary, first.replicas
    )  # fmt: skip


async def asks(fake: FakeSentinel, *requests: bytes) -> Value:
    """The last answer to these."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
    try:
        for one in requests:
            writer.write(one)
            answer = await reader.read(65536)
        return decode(answer)[0]
    finally:
        writer.close()
        await writer.wait_closed()


async def test_it_demands_its_password() -> None:
    async with FakeSentinel("a", "127.0.0.1:1", password="secret") as fake:
        refused = await asks(fake, request(b"AUTH", b"wrong"), request(b"HELLO", b"2"))
        assert "NOAUTH" in str(refused)
        assert "sentinel" in str(await asks(fake, request(b"AUTH", b"app", b"secret"), request(b"HELLO", b"2")))
        assert fake.logins == ["wrong", "secret"]


async def test_it_refuses_what_it_shall_refuse_and_knows_one_master() -> None:
    async with FakeSentinel("a", "127.0.0.1:1") as fake:
        fake.refused = {"REPLICAS"}
        assert "NOPERM" in str(await asks(fake, request(b"SENTINEL", b"REPLICAS", b"cache")))
        assert await asks(fake, request(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"other")) is None


async def test_it_says_its_events_to_those_who_subscribed() -> None:
    async with FakeSentinel("a", "127.0.0.1:1") as fake:
        reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
        writer.write(request(b"SUBSCRIBE", *CHANNELS))
        await reader.readuntil(b"sentinel\r\n:14\r\n")
        assert (fake.connections, fake.listeners) == (1, 1)
        fake.switch("127.0.0.1:2")
        assert b"cache 127.0.0.1 1 127.0.0.1 2" in await reader.read(65536)
        assert (fake.primary.port, fake.epoch) == (2, 2)
        writer.close()
        await writer.wait_closed()


async def test_it_may_be_silent_and_go_away_and_come_back() -> None:
    async with FakeSentinel("a", "127.0.0.1:1") as fake:
        fake.silent = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await rounds(fake.port)
        fake.silent = False
        port = fake.port
        await fake.stop()
        with pytest.raises(ConnectionRefusedError):
            await rounds(port)
        await fake.start()
        assert (fake.port, len(await rounds(port))) == (port, 2)
