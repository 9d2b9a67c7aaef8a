"""When a login may be tried again."""

from __future__ import annotations

import random

import pytest

from ambassador.credentials.vault.attempts import FIRST_REFUSAL, FIRST_RETRY, LONGEST_RETRY, Attempts
from ambassador.credentials.vault.failure import Kind, VaultError
from tests.support.clock import ManualClock

AWAY = VaultError(Kind.UNREACHABLE, "main", "log in", "cannot be reached")
REFUSED = VaultError(Kind.DENIED, "main", "log in", "refused the login")


def made(clock: ManualClock, *, locks: bool = True) -> Attempts:
    return Attempts(clock, random.Random(7), locks=locks)


def may(attempts: Attempts, *shown: str) -> bool:
    try:
        attempts.begin(shown)
    except VaultError:
        return False
    return True


async def test_one_that_failed_is_not_tried_again_at_once() -> None:
    attempts = made(clock := ManualClock())
    assert may(attempts)
    assert attempts.failed(AWAY, ())
    assert not may(attempts)
    await clock.advance(FIRST_RETRY)
    assert may(attempts)


async def test_meanwhile_the_failure_is_told_again() -> None:
    attempts = made(ManualClock())
    attempts.failed(AWAY, ())
    with pytest.raises(VaultError) as caught:
        attempts.begin(())
    assert (caught.value.kind, str(caught.value)) == (AWAY.kind, str(AWAY))
    assert caught.value is not AWAY, "a traceback that is raised again and again grows"


@pytest.mark.parametrize("locks", [True, False])
async def test_one_that_was_refused_waits_where_a_vault_locks_out(locks: bool) -> None:
    attempts = made(clock := ManualClock(), locks=locks)
    attempts.failed(REFUSED, ())
    await clock.advance(FIRST_REFUSAL / 2)
    assert may(attempts) is not locks
    await clock.advance(FIRST_REFUSAL * 2)
    assert may(attempts)


async def test_unless_something_else_is_shown() -> None:
    attempts = made(ManualClock())
    attempts.failed(REFUSED, ("the first secret id",))
    assert not may(attempts, "the first secret id")
    assert may(attempts, "the second")


async def test_the_same_failure_is_new_once_and_a_success_ends_it() -> None:
    attempts = made(ManualClock())
    assert [attempts.failed(error, ()) for error in (AWAY, AWAY, REFUSED, AWAY)] == [True, False, True, True]
    assert attempts.succeeded()
    assert may(attempts)
    assert not attempts.succeeded()


async def test_the_less_is_left_the_shorter_is_the_pause() -> None:
    attempts = made(ManualClock())
    assert all(attempts.pause(left=4.0) <= 1.0 for _ in range(20))
    assert max(attempts.pause(left=0.0) for _ in range(20)) > 1.0
    assert all(attempts.pause(left=-1.0) <= LONGEST_RETRY for _ in range(20))
    attempts.pause_anew()
    assert attempts.pause(left=1000.0) <= FIRST_RETRY
