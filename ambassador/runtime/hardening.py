"""Keeping the process's memory to itself: it holds passwords."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def harden() -> tuple[str, ...]:
    """Turn off core dumps, ptrace by others, and new privileges for children (prctl(2)).

    Returns the names of measures the system refused; none on Linux as we know it.
    """
    refused = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        refused.append("PR_SET_DUMPABLE")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        refused.append("PR_SET_NO_NEW_PRIVS")
    return tuple(refused)
