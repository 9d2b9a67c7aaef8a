"""Whatever clients do with a server, they are told the same through the ambassador, byte for byte.

Program number N is always the same one, and a failure names it: `FIRST=N FUZZ=1` carries out that one alone. `FUZZ` is
as in `tests/fuzz`: for every fifty mutations there, one program here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.redis.duel import Different, Stage, wipe
from tests.e2e.redis.plan import MODES, Plan
from tests.support.daemon import Daemon
from tests.support.leaks import SHARED_CHILDREN
from tests.support.redis_client import RedisClient
from tests.support.redis_programs import Program
from tests.support.valkey import ValkeyServer, new_account

PROGRAMS = max(1, int(os.environ.get("FUZZ", "100000")) // 100)
FIRST = int(os.environ.get("FIRST", "0"))
BATCHES = 4


@dataclass(frozen=True)
class Arena:
    """A server, the ways to it through a daemon, and a word with it besides."""

    server: ValkeyServer
    ports: dict[str, int]
    control: RedisClient


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A server and a daemon of this file's own: nobody else may block, or be counted."""
    with ExitStack() as stack:
        # Whoever says RESET is `default` again, there as here.
        server = stack.enter_context(ValkeyServer(everyone=True))
        SHARED_CHILDREN.add(server.pid)
        plan = Plan(tmp_path_factory.mktemp("arena"))
        plan.secret("cache", new_account(server))
        ports = plan.both(server, "cache")
        daemon = stack.enter_context(Daemon(plan.text()))
        SHARED_CHILDREN.add(daemon.child.pid)
        yield Arena(server, ports, stack.enter_context(RedisClient(server.socket)))
        assert not daemon.logged("session failed")
        assert not daemon.logged("task failed")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_programs_are_told_the_same_through_the_ambassador(
    arena: Arena, batch: int, figure: Callable[[str], None]
) -> None:
    steps = replies = 0
    seeds = range(FIRST + batch, FIRST + PROGRAMS, BATCHES)
    for seed in seeds:
        wipe(arena.control)
        program = Program(seed)
        with Stage(arena.server.socket, program.clients, arena.control) as stage:
            directly = stage.perform(program)
        for mode in MODES:
            wipe(arena.control)
            with Stage(("127.0.0.1", arena.ports[mode]), program.clients, arena.control) as stage:
                stage.repeat(program, directly, mode)
        steps += len(directly)
        replies += sum(sum(told.items.values()) for told in directly)
    figure(f"{len(seeds)} programs, {steps} steps, {replies} replies; all of it in both modes")


def test_a_difference_would_be_noticed(arena: Arena) -> None:
    with ValkeyServer(everyone=True, settings=["databases 1"]) as other, RedisClient(other.socket) as control:

        def compare() -> None:
            for seed in range(60):
                wipe(arena.control)
                wipe(control)
                program = Program(seed)
                with Stage(arena.server.socket, program.clients, arena.control) as stage:
                    directly = stage.perform(program)
                with Stage(other.socket, program.clients, control) as stage:
                    stage.repeat(program, directly, "a server with one database")

        with pytest.raises(Different, match=r"client \d of \d+ was told"):
            compare()
