"""A directory of files that somebody else replaces, read as one generation.

The kubelet writes a Secret or ConfigMap into a new directory `..2026_01_31_...`, renames a symlink `..data` over the
old one, and then removes the old directory (k8s.io/kubernetes/pkg/volume/util/atomic_writer.go). Opening `..data`
once and reading every file below that descriptor can therefore not mix two generations; but files of the old one
may vanish between two reads. So what was read counts only if nothing was swapped meanwhile; else it is read again.

Everything here blocks, if only for a file system call: run it in an executor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

DATA: Final = "..data"
LARGEST: Final = 1 << 20
"""Bytes of one file. The API server takes no Secret larger than this."""

_TRIES: Final = 64
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Identity = tuple[int, int]


class Unreadable(Exception):
    """Files could not be read. Says which and why; never what was in them."""


def read_files(directory: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Contents by name of those of `names` that exist in `directory`, all of one generation.

    Raises:
        Unreadable: no such directory, no permission, not a regular file, too large, or replaced faster than read.
    """
    wanted = tuple(names)
    for _ in range(_TRIES):
        found = _read_generation(directory, wanted)
        if found is not None:
            return found
    raise Unreadable(f"{directory} changes faster than it can be read, or its {DATA} leads nowhere")


def read_file(path: Path) -> bytes:
    """Contents of one file.

    Raises:
        Unreadable: as `read_files`; also when there is no such file.
    """
    content = _read(str(path), None, str(path))
    if content is None:
        raise Unreadable(f"{path}: No such file or directory")
    return content


def _read_generation(directory: Path, names: tuple[str, ...]) -> dict[str, bytes] | None:
    """What `read_files` returns, or None when something was replaced meanwhile."""
    with _opened(directory) as top:
        mounted = _is_mounted(top)
        try:
            generation = os.open(DATA if mounted else ".", _DIRECTORY, dir_fd=top)
        except FileNotFoundError:  # removed between following the link and opening what it leads to
            return None
        except OSError as error:
            raise Unreadable(f"{directory / DATA}: {error.strerror}") from None
        try:
            before = _marks(generation, names)
            contents = {name: _read(name, generation, str(directory / name)) for name in names}
            same = (
                _identity(directory, None) == _identity_of(top)
                and _is_mounted(top) == mounted
                and (not mounted or _identity(DATA, top) == _identity_of(generation))
                and _marks(generation, names) == before
            )
        finally:
            os.close(generation)
    return {name: content for name, content in contents.items() if content is not None} if same else None


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    try:
        descriptor = os.open(directory, _DIRECTORY)
    except OSError as error:
        raise Unreadable(f"{directory}: {error.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_mounted(directory: int) -> bool:
    """Whether there is a `..data`, even if what it leads to is being removed just now."""
    try:
        os.stat(DATA, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _read(name: str, parent: int | None, shown: str) -> bytes | None:
    # O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer, for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{shown}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable(f"{shown} is not a regular file")
        return _read_bounded(descriptor, shown)
    finally:
        os.close(descriptor)


def _read_bounded(descriptor: int, shown: str) -> bytes:
    content = b""
    try:
        while piece := os.read(descriptor, LARGEST + 1 - len(content)):
            content += piece
            if len(content) > LARGEST:
                raise Unreadable(f"{shown} is larger than {LARGEST} bytes")
    except OSError as error:
        raise Unreadable(f"{shown}: {error.strerror}") from None
    return content


def _marks(directory: int, names: tuple[str, ...]) -> Mapping[str, tuple[int, ...] | None]:
    """What of each file changes when it is rewritten or replaced."""
    marks: dict[str, tuple[int, ...] | None] = {}
    for name in names:
        try:
            found = os.stat(name, dir_fd=directory)
        except OSError:
            marks[name] = None
        else:
            marks[name] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return marks


def _identity(path: str | Path, parent: int | None) -> Identity | None:
    try:
        found = os.stat(path, dir_fd=parent)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _identity_of(descriptor: int) -> Identity:
    # The open descriptor keeps the inode from being given to another directory meanwhile.
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
