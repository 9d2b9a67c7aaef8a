"""How to run a program that refuses to be root, and how to make sure that it does not outlive us."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

NOBODY = 65534

# Inside the new namespace geteuid() is NOBODY; outside nothing changes, so no file needs another owner and a program
# below root's own home directory can still be read.
NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")


@dataclass(frozen=True)
class Guise:
    """Who a child appears to be.

    Args:
        prefix: words to put before the child's own.
        uid: the real user and group to switch to; None keeps ours. What the child reads or writes must then be
            open to that user.
    """

    prefix: tuple[str, ...]
    uid: int | None

    def command(self, words: Sequence[str | os.PathLike[str]]) -> list[str]:
        """The child's whole argument list."""
        return [*self.prefix, *(os.fspath(word) for word in words)]


@cache
def guise() -> Guise:
    """The least intrusive way to not be root, found by trying.

    As an ordinary user: nothing is needed. As root: a user namespace where the kernel allows one; in containers that
    forbid it, the user `nobody`. (`setpriv --reuid` is no way: it keeps root's capabilities across the change.)
    """
    return choose(os.geteuid(), _works)


def choose(euid: int, works: Callable[[Sequence[str]], bool]) -> Guise:
    """The decision behind `guise`: `works` says whether a prefix of words can run a program here."""
    if euid != 0:
        return Guise((), None)
    if works(NAMESPACE):
        return Guise(NAMESPACE, None)
    return Guise((), NOBODY)


@cache
def mortal() -> tuple[str, ...]:
    """Words that make the kernel send SIGQUIT to a child whose parent has died; none where the system has no such tool.

    The kernel's "parent" is the thread that started the child: start it from one that lives as long as the child may.
    The words belong right before the child's own, after any change of user, which would undo them.
    """
    words = ("setpriv", "--pdeathsig", "QUIT", "--")
    return words if _works(words) else ()


def _works(prefix: Sequence[str]) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    trial = subprocess.run([*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    return trial.returncode == 0
