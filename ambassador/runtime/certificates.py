"""Keeps TLS contexts current: rebuilds them when their files change, or a credential that holds a certificate does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial

from ambassador.config.watch import watch
from ambassador.credentials.credential import Credential
from ambassador.credentials.pem import pem_of
from ambassador.credentials.store import Store
from ambassador.errors import ConfigError
from ambassador.kit.clock import Clock
from ambassador.net.tls import Contexts
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import Metrics

POLL = 30.0
DEBOUNCE = 0.5

_log = logs.logger(__name__)


class Certificates:
    """All contexts of one world, by where they serve (`listener orders`, `upstream orders`).

    Args:
        issued: credential name by place, for contexts whose certificate comes from a credential.
    """

    def __init__(
        self,
        contexts: Mapping[str, Contexts],
        issued: Mapping[str, str],
        *,
        store: Store,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.contexts = dict(contexts)
        self.errors: dict[str, str] = {}
        self._issued = dict(issued)
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._unsubscribe: list[Callable[[], None]] = []

    def start(self) -> None:
        """Take what credentials hold now, and follow them."""
        for where, name in self._issued.items():
            current = self._store.current(name)
            if current is not None:
                self._renew(where, current)
            self._unsubscribe.append(self._store.subscribe(name, partial(self._renew, where)))
        self._note()

    def stop(self) -> None:
        """Follow credentials no more; the contexts stay as they are."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe.clear()

    async def follow(self) -> None:
        """Follow the files, until cancelled."""
        files = {path for contexts in self.contexts.values() for path in contexts.files}
        if not files:
            return
        async with aclosing(watch(files, poll=POLL, debounce=DEBOUNCE, clock=self._clock)) as changes:
            self._rebuild(self.contexts)  # they may have changed since the contexts were made of them
            async for _ in changes:
                self._rebuild(self.contexts)

    def _renew(self, where: str, credential: Credential) -> None:
        self._attempt(where, lambda: self.contexts[where].renew(pem_of(credential)))
        self._note()

    def _rebuild(self, places: Iterable[str]) -> None:
        for where in places:
            self._attempt(where, self.contexts[where].rebuild)
        self._note()

    def _attempt(self, where: str, renew: Callable[[], bool]) -> None:
        try:
            changed = renew()
        except ConfigError as error:
            if self.errors.get(where) != str(error):
                _log.error("certificate not replaced", where=where, error=str(error))
            self.errors[where] = str(error)
            return
        self.errors.pop(where, None)
        if changed:
            _log.info("certificate replaced", where=where, version=self.contexts[where].version)

    def _note(self) -> None:
        self._metrics.certificates.clear()
        for where, contexts in self.contexts.items():
            if contexts.not_after is not None:
                self._metrics.certificates[where] = contexts.not_after
