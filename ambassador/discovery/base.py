"""The one thing a discovery does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from ambassador.upstreams.endpoint import EndpointSet


class Discovery(ABC):
    """A stream of endpoint sets, the first as soon as one is known."""

    @abstractmethod
    def watch(self) -> AsyncIterator[EndpointSet]:
        """Yield the current set, then each that replaces it. Failures are retried inside; the last set stands."""
