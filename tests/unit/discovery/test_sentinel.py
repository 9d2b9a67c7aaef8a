"""What follows from several Sentinels, as they come, go, and change their minds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.discovery import sentinel as module
from ambassador.discovery.sentinel import SentinelOptions
from tests.support.certificates import Authority
from tests.support.fake_sentinel import FakeSentinel
from tests.support.house import until
from tests.unit.discovery.conftest import NEW, OLD, THIRD, Trio


async def test_the_primary_comes_first_and_its_replicas_behind_it(trio: Trio) -> None:
    async with trio.watching():
        await until("the first set", lambda: trio.found == ["1 | 2 3"])


async def test_a_switch_is_noticed_at_once_whoever_tells_of_it(trio: Trio) -> None:
    async with trio.watching():
        await until("all to listen", lambda: bool(trio.found) and all(one.listeners for one in trio.sentinels))
        trio.sentinels[2].replicas = {OLD: True, THIRD: False}
        trio.sentinels[2].switch(NEW)
        await until("the switch", lambda: trio.found[-1] == "2 | 3")
        assert trio.found == ["1 | 2 3", "2 | 3"]


def asked_anew(one: FakeSentinel, before: int) -> Callable[[], bool]:
    """Whether a Sentinel has been asked more often than `before`, and is listened to by one."""
    return lambda: one.asked > before and one.listeners == 1


def found_last(trio: Trio, wanted: str) -> Callable[[], bool]:
    """Whether `wanted` is the last that was found."""
    return lambda: trio.found[-1] == wanted


async def test_those_who_hear_of_a_switch_later_change_nothing(trio: Trio) -> None:
    async with trio.watching():
        await until("all to listen", lambda: all(one.listeners for one in trio.sentinels))
        for one in trio.sentinels:
            asked = one.asked
            one.switch(NEW)
            await until("it to be asked", asked_anew(one, asked))
        await until("the switch", lambda: trio.found[-1] == "2 | 3")
        assert trio.found == ["1 | 2 3", "2 | 3"]


async def test_a_replica_that_goes_down_is_left_out_until_it_is_back(trio: Trio) -> None:
    (first, *_) = trio.sentinels
    first.others = {}
    async with trio.watching(endpoints=[first.address]):
        await until("the first set", lambda: trio.found == ["1 | 2 3"])
        for down in (True, False):
            first.replicas[NEW] = down
            first.publish("+sdown" if down else "-sdown", "slave x 10.0.0.2 6379 @ cache 10.0.0.1 6379")
            await until("the change", found_last(trio, "1 | 3" if down else "1 | 2 3"))


async def test_a_change_of_which_nobody_tells_is_found_by_asking(trio: Trio) -> None:
    async with trio.watching(poll=0.05):
        await until("the first set", lambda: bool(trio.found))
        for one in trio.sentinels:
            one.replicas = {}
        await until("the change", lambda: trio.found[-1] == "1 |")


async def test_one_sentinel_that_answers_is_enough(trio: Trio) -> None:
    await trio.sentinels[0].stop()
    trio.sentinels[1].silent = True
    async with trio.watching():
        await until("the first set", lambda: trio.found == ["1 | 2 3"])


async def test_the_last_set_stands_when_all_are_away_and_they_are_found_again(trio: Trio) -> None:
    async with trio.watching() as discovery:
        await until("the first set", lambda: bool(trio.found))
        for one in trio.sentinels:
            await one.stop()
        await until("it to say so", lambda: discovery.trouble.count("Connection refused") == 3)
        for one in trio.sentinels:
            one.epoch, one.primary = 2, one.primary.parse(NEW)
            await one.start()
        await until("them to be back", lambda: trio.found[-1] == "2 | 3")
        assert discovery.trouble == ""
        assert trio.found == ["1 | 2 3", "2 | 3"]


async def test_one_that_was_cut_off_is_not_believed(trio: Trio) -> None:
    behind, *rest = trio.sentinels
    for one in rest:
        one.switch(NEW)
    async with trio.watching():
        await until("the first set", lambda: trio.found == ["2 | 3"])
        for one in rest:
            await one.stop()
        asked = behind.asked
        behind.publish("+sdown", "master cache 10.0.0.1 6379")
        await until("it to be asked", lambda: behind.asked > asked)
        assert trio.found == ["2 | 3"]


# ---- learned ones


async def test_others_are_learned_and_serve_when_the_configured_one_is_gone(trio: Trio) -> None:
    first, second, third = trio.sentinels
    async with trio.watching(endpoints=[first.address]):
        await until("the others to be followed", lambda: second.listeners == 1 and third.listeners == 1)
        await first.stop()
        second.switch(NEW)
        await until("the switch", lambda: trio.found[-1] == "2 | 3")


async def test_one_that_is_configured_is_not_learned_once_more(trio: Trio) -> None:
    async with trio.watching():
        await until("all to listen", lambda: all(one.listeners for one in trio.sentinels))
        for one in trio.sentinels:
            one.publish("+sentinel", "sentinel x 127.0.0.1 1 @ cache 10.0.0.1 6379")
        await until("all to be asked again", lambda: all(one.asked >= 2 and one.listeners for one in trio.sentinels))
        assert [one.connections for one in trio.sentinels] == [1, 1, 1]


async def test_one_that_is_known_by_another_name_is_let_go_when_it_turns_out_to_be_configured(trio: Trio) -> None:
    first, second, _ = trio.sentinels
    port = second.port
    await second.stop()
    async with FakeSentinel("b", OLD) as elsewhere:
        first.others = {"b": elsewhere}
        async with trio.watching(endpoints=[first.address, f"127.0.0.1:{port}"]):
            await until("it to be learned", lambda: elsewhere.listeners == 1)
            await second.start()
            await until("it to be let go", lambda: second.listeners == 1 and elsewhere.connections == 0)


async def test_a_learned_one_that_went_and_is_told_of_no_more_is_forgotten(trio: Trio) -> None:
    first, second, third = trio.sentinels
    async with trio.watching(endpoints=[first.address]) as discovery:
        await until("the others to be followed", lambda: second.listeners == 1 and third.listeners == 1)
        await second.stop()
        for one in (first, third):
            one.others.pop("b")
            one.publish("+reset-master", "master cache 10.0.0.1 6379")
        await until("it to be forgotten", lambda: len(discovery._all()) == 2)


async def test_only_so_many_are_followed(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    first, second, third = trio.sentinels
    async with trio.watching(endpoints=[first.address]):
        await until("another one", lambda: second.listeners + third.listeners == 1)
        first.publish("+sentinel", "sentinel x 127.0.0.1 1 @ cache 10.0.0.1 6379")
        await until("it to be asked again", lambda: first.asked >= 2 and first.listeners == 1)
        assert second.connections + third.connections == 1


# ---- what it needs


def test_it_names_the_credentials_it_needs(trio: Trio, authority: Authority) -> None:
    assert trio.sentinel().credentials() == ()
    tls = {"ca": str(authority.file), "credential": "cert"}
    needs = trio.sentinel(credential="guard", tls=tls)
    assert (needs.credentials(), needs.issuer) == (("guard", "cert"), "cert")
    assert trio.sentinel(credential="guard", tls=tls | {"credential": "guard"}).credentials() == ("guard",)


def test_it_speaks_tls_where_that_is_asked_for(trio: Trio, authority: Authority) -> None:
    assert trio.sentinel().tls is None
    assert trio.sentinel(tls={"mode": "disable"}).tls is None
    tls = trio.sentinel(tls={"ca": str(authority.file)}).tls
    assert tls is not None
    assert tls.files == (authority.file,)


@pytest.mark.parametrize(
    "options",
    [
        {"endpoints": "s:1"},
        {"master": "", "endpoints": "s:1"},
        {"master": "my cache", "endpoints": "s:1"},
        {"master": "cache"},
        {"master": "cache", "endpoints": []},
        {"master": "cache", "endpoints": [f"s:{1 + number}" for number in range(17)]},
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SentinelOptions.model_validate(options)
