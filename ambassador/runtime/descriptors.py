"""Open files: every session takes two, and 1024, the usual soft limit, is meant for programs of another kind."""

from __future__ import annotations

import resource
from contextlib import suppress

from ambassador.config.schema import Config
from ambassador.proxy.listener import REFUSALS

PER_SESSION = 2
"""The client's socket and the server's."""

OUR_OWN = 128
"""Listening sockets, the admin server's connections, what is watched, programs of sources, the log."""


def needed(config: Config) -> int:
    """Most files that may be open at one time."""
    listeners = config.listeners.values()
    return OUR_OWN + sum(PER_SESSION * listener.limits.connections + REFUSALS for listener in listeners)


def shortage(config: Config) -> int:
    """Raise the soft limit to what is needed, as far as the hard one allows (getrlimit(2)).

    No further, because programs that we run inherit it. Returns how many are missing all the same.
    """
    want = needed(config)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= want:
        return 0
    allowed = want if hard == resource.RLIM_INFINITY else min(want, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return want - resource.getrlimit(resource.RLIMIT_NOFILE)[0]
