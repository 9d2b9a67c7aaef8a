"""The one thing a discovery does, and what it needs for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from ambassador.config.model import Model
from ambassador.credentials.store import Store
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.net.tls import ClientContexts
from ambassador.upstreams.endpoint import EndpointSet


class Discovery(ABC):
    """A stream of endpoint sets, the first as soon as one is known.

    Args:
        name: what the configuration calls the upstream; for the log.
        options: an instance of the class's own `Options`.
        store: where the credentials lie that it shows to those whom it asks.

    Attributes:
        known: what is known without asking anybody.
        trouble: why nobody can be asked, in words for the operator; "" while somebody can.
        tls: contexts towards those whom it asks, to be kept current by whoever keeps it; None without TLS.
    """

    Options: ClassVar[type[Model]]

    known: EndpointSet = ()
    trouble: str = ""
    tls: ClientContexts | None = None

    def __init__(self, name: str, options: Any, store: Store, clock: Clock = SYSTEM) -> None:
        self.name = name
        self.options = options
        self.store = store
        self.clock = clock

    def credentials(self) -> tuple[str, ...]:
        """Names of the credentials it needs, that of its client certificate included."""
        return ()

    @property
    def issuer(self) -> str | None:
        """The credential that its client certificate comes from, if it does."""
        return None

    @abstractmethod
    def watch(self) -> AsyncGenerator[EndpointSet]:
        """Yield the current set, then each that differs from the one before.

        Failures are logged and retried inside, whatever they are, and the last set stands meanwhile. To be closed
        (`contextlib.aclosing`), so that connections end.
        """
