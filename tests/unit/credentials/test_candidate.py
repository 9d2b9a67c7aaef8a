"""What a source showed becomes a credential."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ambassador.credentials.candidate import Candidate, credential_of, tried
from ambassador.credentials.credential import Credential
from ambassador.credentials.plan import TrialResult
from ambassador.credentials.sources.base import Fetched, Lease
from ambassador.credentials.term import Term
from ambassador.errors import CredentialError
from tests.support.clock import ManualClock
from tests.support.secrets import canary

FIELDS = {"username": b"app", "password": b"hunter22"}


def test_a_value_without_a_lease_ends_when_its_source_says_by_the_wall_clock() -> None:
    found = credential_of("db", Fetched(FIELDS, 5000.0), ManualClock(now=100.0, wall=4000.0))
    assert (found.name, found.version) == ("db", 0)
    assert (found.not_before, found.not_after, found.ends_at) == (4000.0, 5000.0, None)


def test_a_value_with_a_lease_ends_with_it_by_the_clock_that_does_not_jump() -> None:
    lease = Lease("database/creds/app/1", Term(90.0, 60.0, renewable=True))
    found = credential_of("db", Fetched(FIELDS, lease=lease), ManualClock(now=100.0, wall=4000.0), version=3)
    assert (found.version, found.not_after, found.ends_at) == (3, None, 150.0)


def test_half_a_value_is_none() -> None:
    with pytest.raises(CredentialError, match="the password is empty"):
        credential_of("db", Fetched({"username": b"app", "password": b""}), ManualClock())


def test_a_candidate_shows_no_value() -> None:
    secret = canary()
    value = credential_of("db", Fetched({"username": b"app", "password": secret.encode()}), ManualClock())
    candidate = Candidate(value)
    assert (candidate.lease, candidate.again, candidate.refusals) == (None, None, 0)
    assert secret not in repr(candidate)


@pytest.mark.parametrize("result", TrialResult)
async def test_a_trial_s_answer_is_what_came_of_it(result: TrialResult) -> None:
    async def trial(value: Credential) -> TrialResult:
        return result

    assert await tried(trial, credential_of("db", Fetched(FIELDS), ManualClock()), 1.0) is result


async def test_a_trial_that_fails_or_never_ends_says_nothing_of_the_value(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    value = credential_of("db", Fetched(FIELDS), ManualClock(), version=3)

    async def fails(value: Credential) -> TrialResult:
        raise RuntimeError("out of order")

    async def hangs(value: Credential) -> TrialResult:
        await asyncio.Event().wait()
        return TrialResult.ACCEPTED

    for trial in (fails, hangs):
        assert await tried(trial, value, 0.01) is TrialResult.UNKNOWN
    assert [(line["event"], line["credential"], line["version"]) for line in logged()] == [
        ("trial login failed", "db", 3)
    ] * 2
