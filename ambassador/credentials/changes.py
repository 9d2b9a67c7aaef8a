"""Changes: hears what a source tells of, as long as its keeper lives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from ambassador.config.schema import CredentialSettings
from ambassador.credentials.sources.base import Change, Source
from ambassador.kit.backoff import Backoff
from ambassador.kit.clock import Clock
from ambassador.telemetry.logs import logger

FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 30.0
"""Seconds after which a source that has stopped telling is listened to again."""

_LOG = logger(__name__)


class Changes:
    """What one source tells.

    Args:
        heard: called with whatever may have changed. Must not raise.
    """

    def __init__(
        self, source: Source, settings: CredentialSettings, clock: Clock, heard: Callable[[Change], None]
    ) -> None:
        self._source = source
        self._settings = settings
        self._clock = clock
        self._heard = heard
        # From now on, so that no change falls between the first look and the first word.
        self._told = self._listen()

    @property
    def are_told(self) -> bool:
        """Whether the source can tell of any."""
        return self._told is not None

    async def follow(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, floor=FIRST_RETRY)
        while self._told is not None:
            try:
                async with aclosing(self._told) as told:
                    async for change in told:
                        self._heard(change)
            except Exception as error:  # noqa: BLE001 - the edge of this task: rotation must go on whatever fails
                _LOG.exception("credential not watched", error, credential=self._source.name)
            await self._clock.sleep(backoff.next())
            self._told = self._listen()
            # What changed meanwhile is seen by looking once when we listen again.
            self._heard(Change.VALUE)

    def _listen(self) -> AsyncGenerator[Change] | None:
        settings = self._settings
        return self._source.changes(poll=settings.poll, debounce=settings.debounce, clock=self._clock)
