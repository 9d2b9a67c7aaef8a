"""One inotify instance for all watches of an event loop.

The kernel grants each user 128 instances by default (fs.inotify.max_user_instances), shared by every container that
runs as that user on a node. One for each watched Secret would use them up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from weakref import WeakKeyDictionary

from asyncinotify import Event, Inotify, Mask

from ambassador.config.interest import Interests, Names

_log = logging.getLogger(__name__)

_CHANGES = (
    Mask.ATTRIB
    | Mask.CLOSE_WRITE
    | Mask.CREATE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.MOVE_SELF
    | Mask.EXCL_UNLINK
    | Mask.ONLYDIR
)
# Events handled before other work gets its turn.
_BATCH = 256


class Subscription:
    """What one watcher wants to hear of.

    Args:
        wake: called for each event that concerns it; must not raise.
    """

    def __init__(self, notifier: Notifier | None, wake: Callable[[], None]) -> None:
        self._notifier = notifier
        self.wake = wake
        self.wanted: dict[int, Names] = {}

    def want(self, interests: Interests) -> None:
        """Replace what is listened for; what cannot be watched is left to the caller's poll."""
        if self._notifier is not None:
            self._notifier.want(self, interests)

    def end(self) -> None:
        """Listen no more. Ending twice does nothing."""
        if self._notifier is not None:
            self._notifier.end(self)
            self._notifier = None


class Notifier:
    """An inotify instance and those who want to hear of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The library's descriptor blocks; a timeout of zero makes it look before it reads.
        self._inotify = Inotify(sync_timeout=0)
        self._subscriptions: set[Subscription] = set()
        loop.add_reader(self._inotify.fd, self._ready)

    def subscribe(self, wake: Callable[[], None]) -> Subscription:
        """A new subscription, which wants nothing yet."""
        subscription = Subscription(self, wake)
        self._subscriptions.add(subscription)
        return subscription

    def want(self, subscription: Subscription, interests: Interests) -> None:
        """See `Subscription.want`. Every directory is looked up anew: another may be at the same path by now."""
        before = subscription.wanted
        subscription.wanted = {}
        for directory, names in interests.items():
            if (wd := self._add(directory)) is None:
                continue
            # Two paths may lead to one directory, by a bind mount.
            others = subscription.wanted.get(wd, frozenset())
            subscription.wanted[wd] = None if names is None or others is None else names | others
        self._drop(before.keys() - subscription.wanted.keys())

    def end(self, subscription: Subscription) -> None:
        """See `Subscription.end`. The last one closes the instance."""
        self._subscriptions.discard(subscription)
        self._drop(subscription.wanted.keys())
        if not self._subscriptions:
            del _notifiers[self._loop]
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()

    def _add(self, directory: Path) -> int | None:
        try:
            return self._inotify.add_watch(directory, _CHANGES).wd
        except OSError as error:
            if error.errno == ENOSPC:
                _log.warning("the kernel grants no more inotify watches: changes are noticed by polling only")
            return None

    def _drop(self, descriptors: Iterable[int]) -> None:
        unwanted = set(descriptors).difference(*(one.wanted for one in self._subscriptions))
        for watch in self._inotify.watches:
            if watch.wd in unwanted:
                with suppress(OSError):  # its directory is gone, and the kernel's watch with it
                    self._inotify.rm_watch(watch)

    def _ready(self) -> None:
        for _ in range(_BATCH):
            event = self._inotify.sync_get() if self._subscriptions else None
            if event is None:
                return
            self._tell(event)
        # The library reads ahead: what it holds does not make the descriptor readable again.
        self._loop.call_soon(self._ready)

    def _tell(self, event: Event) -> None:
        watch = event.watch
        if watch is None and Mask.Q_OVERFLOW not in event.mask:
            return  # of a watch that was dropped meanwhile
        name = None if event.name is None else str(event.name)
        for subscription in tuple(self._subscriptions):
            if watch is not None and watch.wd not in subscription.wanted:
                continue
            names = None if watch is None else subscription.wanted[watch.wd]
            if name is None or names is None or name in names:
                subscription.wake()


_notifiers: WeakKeyDictionary[asyncio.AbstractEventLoop, Notifier] = WeakKeyDictionary()


def subscribe(wake: Callable[[], None]) -> Subscription:
    """Hear of changes on the running loop's instance. Where the kernel grants none, nothing is ever heard."""
    loop = asyncio.get_running_loop()
    if (notifier := _notifiers.get(loop)) is None:
        try:
            notifier = _notifiers[loop] = Notifier(loop)
        except OSError as error:
            _log.warning(
                "the kernel grants no inotify instance (%s): changes are noticed by polling only", error.strerror
            )
            return Subscription(None, wake)
    return notifier.subscribe(wake)
