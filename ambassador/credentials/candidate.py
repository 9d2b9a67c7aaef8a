"""Candidate: what a source showed, on its way to become current."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from ambassador.credentials.credential import Credential
from ambassador.credentials.pem import end_of
from ambassador.credentials.plan import TrialResult
from ambassador.credentials.sources.base import Fetched, Lease, Source
from ambassador.credentials.term import SHARE
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import Clock
from ambassador.telemetry.logs import logger

T = TypeVar("T")

Trial = Callable[[Credential], Awaitable[TrialResult]]
"""A real login with a value that is not current yet."""

REFUSALS: Final = 3
"""Trials in which a value that was made for us is refused before another is made: a replica may be late to know it."""

_LOG = logger(__name__)


@dataclass(slots=True)
class Candidate:
    """A value that is not current yet.

    Args:
        value: numbered once it is tried.
        lease: what it came with.
        again: in how many seconds the source expects to have another.
        refusals: how often a trial refused it.
    """

    value: Credential
    lease: Lease | None = None
    again: float | None = None
    refusals: int = 0

    def is_worth_a_try(self, now: float) -> bool:
        """Whether a value that was made for us may still be taken, and be of use for a while."""
        lease = self.lease
        if lease is None or lease.is_orphan or self.refusals >= REFUSALS:
            return False
        return now < min(lease.term.at(SHARE), lease.ends_at)

    def see_end(self) -> None:
        """Have the value end when its lease does, as far as that is known by now."""
        if self.lease is not None:
            self.value = self.value.lasting(self.lease.ends_at)


async def fetch(name: str, source: Source, timeout: float) -> Fetched:
    """What the source of the credential `name` shows; raises as `asked`."""
    return await asked(name, source.fetch(), timeout)


async def asked(name: str, asking: Awaitable[T], timeout: float) -> T:
    """What the source of the credential `name` answers.

    Raises:
        CredentialError: nothing, or not within `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            return await asking
    except CredentialError:
        raise
    except TimeoutError:
        failure = f"gave no answer within {timeout:g} s"
    except Exception as error:  # noqa: BLE001 - a fault in a source, perhaps not ours, must not end its keeper
        # Not even its text: who knows what a source quotes.
        failure = f"failed with {type(error).__name__}"
    # Raised out here so that the failure, which may hold what was fetched, is not carried along as its context.
    raise CredentialError(Reason.SOURCE_FAILED, f"credential {name!r}: the source {failure}")


def credential_of(name: str, fetched: Fetched, clock: Clock, version: int = 0) -> Credential:
    """What a source gave, as a credential.

    Raises:
        CredentialError: it is empty, half of one, or a certificate that is none.
    """
    value = Credential(
        name,
        version,
        fetched.fields,
        not_before=clock.wall(),
        not_after=fetched.not_after,
        ends_at=None if fetched.lease is None else fetched.lease.ends_at,
    )
    end = end_of(value)
    if end is None or value.not_after is None:
        return value
    return value.until(min(end, value.not_after))  # what is said of a certificate makes it last no longer


async def tried(trial: Trial, value: Credential, timeout: float) -> TrialResult:
    """What came of a trial of a value, for which there are `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            return await trial(value)
    except Exception as error:  # noqa: BLE001 - a trial that fails says nothing about the value
        _LOG.exception("trial login failed", error, credential=value.name, version=value.version)
        return TrialResult.UNKNOWN
