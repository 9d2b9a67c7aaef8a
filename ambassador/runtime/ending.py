"""When a version of a credential ends: the sessions that show it leave, or are cut at the very end.

Connections that many clients share are no session's; whoever holds those hears of it from its upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ambassador.credentials.store import Store
from ambassador.errors import Reason
from ambassador.proxy.listener import Listener
from ambassador.telemetry import logs

_log = logs.logger(__name__)


class Endings:
    """Carries the word to the sessions.

    Args:
        listeners: all there are, those included that are being taken out.
    """

    def __init__(self, store: Store, listeners: Callable[[], Iterable[Listener]]) -> None:
        self._store = store
        self._listeners = listeners
        self._followed: dict[str, Callable[[], None]] = {}

    def follow(self, names: Iterable[str]) -> None:
        """Heed these credentials, and those that are named no more until nobody uses them."""
        wanted = set(names)
        for name in wanted - self._followed.keys():
            self._followed[name] = self._store.on_ending(name, partial(self._told, name))
        for name in self._followed.keys() - wanted:
            if not self._store.has_users(name):
                self._followed.pop(name)()

    def close(self) -> None:
        """Heed none any more."""
        while self._followed:
            self._followed.popitem()[1]()

    def _told(self, name: str, version: int, final: bool) -> None:
        sessions = [one for listener in self._listeners() for one in listener.sessions if one.shows(name, version)]
        connections = self._store.in_use(name, version)
        say = _log.warning if final and connections else _log.info
        event = "credential ended" if final else "credential ending"
        say(event, credential=name, version=version, sessions=len(sessions), connections=connections)
        for session in sessions:
            if final:
                session.cut(Reason.CREDENTIAL_ENDED)
            else:
                session.leave(Reason.CREDENTIAL_ENDED)
