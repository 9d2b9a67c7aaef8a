"""Commands under another name: found out, and not passed on."""

from __future__ import annotations

import pytest

from ambassador.protocols.redis import aliases
from ambassador.wire.redis.commands import BUILT_IN, Command
from ambassador.wire.redis.messages import Encodable, encode
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import MakeTable, Table

ENTRY: list[Encodable] = [b"config", -2, [], 0, 0, 0]
NO_SUCH = b"-ERR unknown command"


@pytest.fixture
async def renamed(either: Table, fake: FakeRedis) -> Table:
    """A server that calls CONFIG xcfg, and tells its table."""
    fake.on("COMMAND", "INFO", "XCFG", raw=encode([ENTRY], 2))
    fake.on("COMMAND", "INFO", "JSON.GET", raw=encode([[b"JSON.GET", 2, [], 0, 0, 0]], 2))
    fake.on("COMMAND", "INFO", "NOSUCH", raw=encode([None], 2))
    fake.on("XCFG", raw=encode([b"requirepass", b"secret"], 2))
    fake.on("JSON.GET", raw=b"+{}\r\n")
    either.hub._commands = {**BUILT_IN, b"CONFIG": Command(b"CONFIG")}
    return either


async def test_what_stands_for_another_command_never_reaches_the_server(renamed: Table, fake: FakeRedis) -> None:
    guest = await renamed.guest()
    refusal = b"-NOPERM Command 'xcfg' stands for another, and is not passed on\r\n"
    assert await guest.ask("XCFG GET requirepass", "xcfg get requirepass", "PING") == refusal * 2 + b"+PONG\r\n"
    assert (fake.asked("XCFG"), fake.asked("xcfg")) == (0, 0)
    assert fake.asked("COMMAND", "INFO") == 1, "it is remembered"


async def test_what_is_new_and_what_there_is_not_are_the_server_s_to_answer(renamed: Table) -> None:
    guest = await renamed.guest()
    assert await guest.ask("JSON.GET a") == b"+{}\r\n"
    assert (await guest.ask("NOSUCH a")).startswith(NO_SUCH)


async def test_it_is_found_out_within_a_transaction_too(renamed: Table, fake: FakeRedis) -> None:
    guest = await renamed.guest()
    assert await guest.ask("MULTI", "PING") == b"+OK\r\n+QUEUED\r\n"
    assert (await guest.ask("XCFG GET a")).startswith(b"-NOPERM")
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT")
    assert fake.asked("XCFG") == 0


async def test_what_the_operator_allows_by_its_name_is_passed_on(renamed: Table, fake: FakeRedis) -> None:
    renamed.allow(allow=["XCFG"])
    guest = await renamed.guest()
    guest.say("XCFG GET requirepass")
    assert await guest.hear() == encode([b"requirepass", b"secret"], 2)
    assert fake.asked("COMMAND", "INFO") == 0


async def test_a_server_that_tells_no_table_is_not_asked(make_table: MakeTable, fake: FakeRedis) -> None:
    guest = await make_table().guest()
    assert (await guest.ask("NOSUCH a")).startswith(NO_SUCH)
    assert fake.asked("COMMAND", "INFO") == 0


async def test_names_that_clients_make_up_are_forgotten(
    renamed: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "MOST", 2)
    for name in (b"A", b"B", b"C"):
        assert not await renamed.hub.aliases.hide(name)
    assert list(renamed.hub.aliases._known) == [b"C"]
