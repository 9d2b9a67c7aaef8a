"""The poller tells its members, on every kind of loop, and costs nothing once they are gone."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import select
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ambassador.net import poller as module
from ambassador.net.poller import Poller, poller
from ambassador.net.syscalls import BATCH, Descriptor
from tests.conftest import LOOPS, LoopFactory

IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Member(Descriptor):
    """A counter (eventfd(2)), which can be read once it has been raised, until it is reset; tells what it was told."""

    def __init__(self, fd: int | None = None) -> None:
        super().__init__(os.eventfd(0, os.EFD_NONBLOCK) if fd is None else fd)
        self.told: list[int] = []
        self.failures: list[Exception] = []
        self.then: Callable[[], None] = self.reset
        self.watched = 0
        self.poller: Poller | None = None

    def ready(self, events: int) -> None:
        self.told.append(events)
        self.then()

    def failed(self, error: Exception) -> None:
        self.failures.append(error)
        self.reset()

    def enter(self, events: int = IN) -> None:
        self.poller = poller()
        self.poller.enter(self)
        self.watch(events)

    def watch(self, events: int) -> None:
        assert self.poller is not None
        self.poller.watch(self.fd, self.watched, events)
        self.watched = events

    def leave(self) -> None:
        assert self.poller is not None
        if self.watched:
            self.watch(0)
        self.poller.leave(self)
        self.poller = None

    def up(self) -> None:
        os.eventfd_write(self.fd, 1)

    def reset(self) -> None:
        os.eventfd_read(self.fd)

    def close(self) -> None:
        if self.poller is not None:
            self.leave()
        os.close(self.fd)


@pytest.fixture
def make() -> Iterator[Callable[[], Member]]:
    """Makes members of the running loop's poller, which are gone after the test."""
    made: list[Member] = []

    def one() -> Member:
        made.append(Member())
        made[-1].enter()
        return made[-1]

    yield one
    for member in made:
        if member.poller is not None:
            # The loop of the test still stands, but does not run; the poller needs no more.
            member.leave()
        os.close(member.fd)


Make = Callable[[], Member]


async def until(true: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 5
    while not true():
        assert loop.time() < deadline, "waited too long"
        await asyncio.sleep(0.001)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
    await asyncio.sleep(0.005)


def pollers_open() -> int:
    """How many epolls this process has; the loops have some of their own."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()) == "anon_inode:[eventpoll]"
        except FileNotFoundError:
            continue
    return count


# Being told


async def test_a_member_is_told_what_happens(make: Make) -> None:
    member = make()
    await turns()
    assert member.told == []
    member.up()
    await until(lambda: member.told)
    assert member.told == [IN]
    member.up()
    await until(lambda: len(member.told) == 2)


async def test_a_member_is_told_until_it_has_done_something_about_it(make: Make) -> None:
    member = make()
    member.then = lambda: member.reset() if len(member.told) == 3 else None
    member.up()
    await until(lambda: len(member.told) == 3)
    await turns()
    assert member.told == [IN] * 3


async def test_what_is_watched_for_can_be_changed(make: Make) -> None:
    member = make()
    member.then = lambda: member.watch(IN)
    member.watch(IN | OUT)
    await until(lambda: member.told)
    await turns()
    assert member.told == [OUT]


async def test_a_member_that_is_not_watched_is_not_told(make: Make) -> None:
    member = make()
    member.watch(0)
    member.up()
    await turns()
    assert member.told == []
    member.watch(IN)
    await until(lambda: member.told == [IN])


async def test_more_members_than_one_batch_holds_are_all_told(make: Make) -> None:
    members = [make() for _ in range(BATCH + 50)]
    for member in members:
        member.up()
    await until(lambda: all(member.told for member in members))
    assert all(member.told == [IN] for member in members)


async def test_members_that_always_have_something_do_not_keep_others_from_being_told(make: Make) -> None:
    greedy = [make() for _ in range(BATCH + 10)]
    for member in greedy:
        member.then = lambda: None
        member.up()
    modest = make()
    modest.up()
    await until(lambda: modest.told)
    assert all(member.told for member in greedy)


async def test_a_member_may_have_a_great_number(make: Make) -> None:
    make()
    source = os.eventfd(1, os.EFD_NONBLOCK)
    member = Member(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 700))
    os.close(source)
    assert member.fd >= 700
    member.enter()
    await until(lambda: member.told == [IN])
    member.close()


# Trouble


async def test_a_member_that_raises_hears_of_it_and_the_others_are_told(make: Make) -> None:
    members = [make() for _ in range(5)]

    def fault() -> None:
        raise ZeroDivisionError

    members[0].then = members[3].then = fault
    for member in members:
        member.up()
    await until(lambda: all(member.told for member in members))
    await turns()
    assert [len(member.failures) for member in members] == [1, 0, 0, 1, 0]
    assert isinstance(members[0].failures[0], ZeroDivisionError)
    assert all(member.told == [IN] for member in members)


async def test_a_member_that_raised_is_told_again(make: Make) -> None:
    member = make()

    def fault() -> None:
        raise ZeroDivisionError

    member.then = fault
    member.up()
    await until(lambda: member.failures)
    member.then = member.reset
    member.up()
    await until(lambda: len(member.told) == 2)
    assert len(member.failures) == 1


# Leaving


async def test_nothing_is_told_after_leaving(make: Make) -> None:
    make()
    member = make()
    member.up()
    member.leave()
    await turns()
    assert member.told == []


async def test_a_member_that_left_in_the_middle_of_a_batch_is_not_told(make: Make) -> None:
    stays = make()
    pair = [make(), make()]

    def leaves(other: Member) -> Callable[[], None]:
        return lambda: other.leave() if other.poller is not None else None

    for member, other in (pair, pair[::-1]):
        member.then = leaves(other)
        member.up()
    await until(lambda: pair[0].told or pair[1].told)
    told, silent = pair if pair[0].told else pair[::-1]
    told.reset()
    await turns()
    assert silent.told == []
    stays.up()
    await until(lambda: stays.told)


async def test_the_poller_may_close_in_the_middle_of_a_batch(make: Make) -> None:
    members = [make() for _ in range(10)]

    def all_leave() -> None:
        for member in members:
            member.leave()

    for member in members:
        member.then = all_leave
        member.up()
    await until(lambda: any(member.told for member in members))
    await turns()
    assert sum(len(member.told) for member in members) == 1
    assert not any(member.failures for member in members)
    again = make()
    again.up()
    await until(lambda: again.told == [IN])


async def test_a_member_may_enter_while_another_is_told(make: Make) -> None:
    first = make()
    entered: list[Member] = []

    def enter() -> None:
        first.reset()
        entered.append(make())
        entered[0].up()

    first.then = enter
    first.up()
    await until(lambda: entered and entered[0].told)
    assert entered[0].told == [IN]


async def test_a_number_can_be_used_again(make: Make) -> None:
    make()
    old = Member()
    old.enter()
    old.up()
    number = old.fd
    old.close()
    new = Member()
    assert new.fd == number
    new.enter()
    await turns()
    assert new.told == []
    new.up()
    await until(lambda: new.told)
    assert old.told == []
    new.close()


async def test_a_member_that_left_is_not_held(make: Make) -> None:
    make()
    member = Member()
    member.then = lambda: None
    seen = weakref.ref(member)
    member.enter()
    member.close()
    gc.disable()
    try:
        del member
        assert seen() is None
    finally:
        gc.enable()


# One for each loop


async def test_a_loop_has_one_poller(make: Make) -> None:
    make()
    found = poller()
    assert poller() is found
    assert found.loop is asyncio.get_running_loop()
    make()
    assert poller() is found


@pytest.mark.parametrize("factory", LOOPS.values(), ids=LOOPS)
def test_each_loop_has_its_own(factory: LoopFactory) -> None:
    with asyncio.Runner(loop_factory=factory) as one, asyncio.Runner(loop_factory=factory) as other:

        async def enter() -> Member:
            member = Member()
            member.enter()
            return member

        async def told(member: Member) -> None:
            member.up()
            await until(lambda: member.told)
            member.close()

        first, second = one.run(enter()), other.run(enter())
        assert first.poller is not second.poller
        other.run(told(second))
        one.run(told(first))
        assert (first.told, second.told) == ([IN], [IN])
        assert module._pollers == {}


async def test_the_poller_closes_with_its_last_member_and_opens_with_the_next(make: Make) -> None:
    before = pollers_open()
    assert asyncio.get_running_loop() not in module._pollers
    for _ in range(3):
        first, second = Member(), Member()
        first.enter()
        second.enter()
        assert pollers_open() == before + 1
        first.close()
        assert pollers_open() == before + 1
        second.close()
        assert pollers_open() == before
        assert asyncio.get_running_loop() not in module._pollers
        await turns()
    member = make()
    member.up()
    await until(lambda: member.told == [IN])


def test_without_a_loop_there_is_no_poller() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        poller()
    assert module._pollers == {}
