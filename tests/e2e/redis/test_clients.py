"""What applications do, by every client there is, in both modes, to Valkey 9 and to Redis 7 over TLS."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.redis.conftest import House
from tests.e2e.redis.drivers import DRIVERS, Cli, Seen, benchmark, wrong
from tests.e2e.redis.plan import MODES

each_client = pytest.mark.parametrize("name", DRIVERS)
each_mode = pytest.mark.parametrize("mode", MODES)
each_place = pytest.mark.parametrize("place", [*MODES, *(f"{mode}-open" for mode in MODES)])
each_protocol = pytest.mark.parametrize("protocol", ["-2", "-3"])

LINES = """\
SET {0}:text "caf\\xc3\\xa9"
GET {0}:text
MULTI
INCR {0}:n
INCR {0}:n
EXEC
RPUSH {0}:queue job
BLPOP {0}:queue 5
EVAL "return redis.call('INCRBY', KEYS[1], ARGV[1])" 1 {0}:n 6
SELECT 1
GET {0}:text
SELECT 0
STRLEN {0}:text
NOSUCH
PING
"""


@each_client
@each_mode
def test_a_client_does_what_applications_do(house: House, name: str, mode: str) -> None:
    # With a password in one mode and without one in the other; which is which changes with the server.
    place = mode if (mode == "multiplex") == (house.server.program.tls) else f"{mode}-open"
    assert DRIVERS[name].exercise(house.places[place], f"{name}-{mode}-{secrets.token_hex(4)}") == Seen()


@each_client
def test_a_client_shows_its_password_or_is_refused(house: House, name: str) -> None:
    where = house.places["dedicated" if house.server.program.tls else "multiplex"]
    driver = DRIVERS[name]
    assert driver.login(where) == "PONG"
    # Drivers have classes of their own for the server's words, and some leave the first one out.
    assert "invalid username-password pair" in driver.login(wrong(where))
    refusal = driver.login(dataclasses.replace(where, password=None))
    assert "Authentication required" in refusal or "must be called with the client already authenticated" in refusal


@pytest.mark.apt
@each_place
@each_protocol
def test_redis_cli_is_answered(house: House, place: str, protocol: str) -> None:
    prefix = f"cli{secrets.token_hex(4)}"
    said = Cli(protocol, "--raw").say(house.places[place], LINES.format(prefix))
    found = [line for line in said if line]
    # Database 1 has no such key, which is an empty line.
    assert found == [
        "OK", "caf\u00e9", "OK", "QUEUED", "QUEUED", "1", "2", "1", f"{prefix}:queue", "job", "8", "OK", "OK", "5",
        "ERR unknown command 'NOSUCH', with args beginning with: ", "PONG",
    ]  # fmt: skip


@pytest.mark.apt
@each_protocol
@each_mode
def test_redis_cli_shows_its_password_or_is_refused(house: House, mode: str, protocol: str) -> None:
    where = house.places[mode]
    cli = Cli(protocol)
    assert cli.say(where, "", "PING") == ["PONG"]
    assert "WRONGPASS" in " ".join(cli.say(wrong(where), "", "PING"))
    assert "NOAUTH" in " ".join(cli.say(dataclasses.replace(where, password=None), "", "PING"))


@pytest.mark.apt
@each_place
def test_redis_benchmark_has_nothing_to_complain_of(
    house: House, place: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    tests = "ping,set,get,incr,lpush,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset"
    rates = benchmark(house.places[place], tmp_path, "-n", "1000", "-c", "20", "-P", "4", "-t", tests)
    assert len(rates) >= 14
    assert min(rates.values()) > 0
    figure(f"GET {rates['GET']:.0f}/s")
