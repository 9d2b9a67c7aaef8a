"""Whether the content of files has changed (reads the file system, changes nothing).

Content is what counts: a file that was touched or replaced by its equal has not changed, and one rewritten with the
same size within the same tick of the kernel's clock has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from pathlib import Path

Fingerprint = tuple[tuple[Path, bytes], ...]
"""Each file found and a digest of its content, keyed: it tells nothing to one who has not this process's key."""

_KEY = os.urandom(32)
# Of larger files, size and times stand for the content.
_LARGEST = 1 << 20
_MOST_ENTRIES = 256
_UNREADABLE = b"unreadable"


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """The state of what is at `paths`: files, and the files directly in directories; what is missing is absent.

    Names that begin with two dots are the kubelet's own and not looked at.
    """
    found: dict[Path, bytes] = {}
    for path in paths:
        for file in _files(path):
            if (digest := _digest(file)) is not None:
                found[file] = digest
    return tuple(sorted(found.items()))


def _files(path: Path) -> list[Path]:
    try:
        entries = list(islice(path.iterdir(), _MOST_ENTRIES))
    except NotADirectoryError:
        return [path]
    except OSError:
        return []
    return [entry for entry in entries if not entry.name.startswith("..")]


def _digest(path: Path) -> bytes | None:
    """None for what is no file; a file that is there but cannot be read differs from one that is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return _UNREADABLE
    try:
        return _digest_of(descriptor)
    except OSError:
        return _UNREADABLE
    finally:
        os.close(descriptor)


def _digest_of(descriptor: int) -> bytes | None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return None
    if status.st_size > _LARGEST:
        return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}".encode()
    with open(descriptor, "rb", closefd=False) as file:
        return blake2b(file.read(_LARGEST + 1), digest_size=16, key=_KEY).digest()
