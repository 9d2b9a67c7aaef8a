"""Attempts: when a login that failed may be tried again."""

from __future__ import annotations

import random
from typing import Final

from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.kit.backoff import Backoff
from ambassador.kit.clock import Clock

FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 30.0
"""Seconds between two logins that fail."""

FIRST_REFUSAL: Final = 60.0
LONGEST_REFUSAL: Final = 300.0
"""Seconds between two logins that are refused where a Vault locks out who tries too often, unless what is shown has
changed."""


class Attempts:
    """The logins at one Vault.

    Args:
        locks: whether a Vault locks out who is refused too often.
    """

    def __init__(self, clock: Clock, rng: random.Random, *, locks: bool) -> None:
        self._clock = clock
        self._locks = locks
        self._retry_at = float("-inf")
        self._shown: tuple[object, ...] = ()  # stamps of the files of the login that failed
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, floor=FIRST_RETRY / 2, rng=rng)
        self._refusals = Backoff(FIRST_REFUSAL, LONGEST_REFUSAL, floor=FIRST_REFUSAL, rng=rng)
        self._failure: VaultError | None = None  # of the last one; None when it succeeded

    def begin(self, shown: tuple[object, ...]) -> None:
        """One that shows this is about to be made.

        Raises:
            VaultError: one that showed the same failed a moment ago.
        """
        if self._failure is not None and self._clock.now() < self._retry_at and shown == self._shown:
            raise VaultError(self._failure.kind, *self._failure.told)

    def failed(self, error: VaultError, shown: tuple[object, ...]) -> bool:
        """One has; whether in another way than the last one."""
        before, self._failure, self._shown = self._failure, error, shown
        refused = self._locks and error.kind in {Kind.DENIED, Kind.REJECTED}
        self._retry_at = self._clock.now() + (self._refusals if refused else self._backoff).next()
        return before is None or str(before) != str(error)

    def succeeded(self) -> bool:
        """One has; whether the last one had not."""
        self.pause_anew()
        self._refusals.reset()
        before, self._failure = self._failure, None
        return before is not None

    def pause(self, left: float) -> float:
        """Seconds until the next try to keep a token alive, of which so much is `left`: the less, the shorter."""
        return min(self._backoff.next(), max(FIRST_RETRY, left / 4) if left > 0 else LONGEST_RETRY)

    def pause_anew(self) -> None:
        """The next pause is as short as the first."""
        self._backoff.reset()
