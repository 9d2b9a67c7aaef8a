"""Which directories tell of changes to a file, symbolic links and all (reads the file system, changes nothing).

A mounted Secret or ConfigMap is `name -> ..data/name`, `..data -> ..2024_01_31`, and an update is one rename over
`..data`. A watch on the file follows the links once and then sees an inode that nobody writes any more. So every
link on the way is watched in the directory that holds it.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

Names = frozenset[str] | None
"""Names in a directory that matter; None: all of them."""

Interests = Mapping[Path, Names]
"""Names that matter by the real path of their directory."""

# As many links as the kernel follows (path_resolution(7)).
_MOST_LINKS = 40
# A directory of settings holds a few; one that holds thousands was named by mistake, and the slow poll serves it.
_MOST_ENTRIES = 256

_Found = dict[Path, set[str] | None]


def interests(paths: Iterable[Path]) -> Interests:
    """Where a change to what is at `paths`, files or directories, would be seen.

    Of what does not exist, the nearest directory that does is watched for the missing name.
    """
    found: _Found = {}
    for path in paths:
        end = _follow(path, found)
        if end is not None:
            found[end] = None
            for entry in _links(end):
                _follow(entry, found)
    return {directory: None if names is None else frozenset(names) for directory, names in found.items()}


def _follow(path: Path, found: _Found) -> Path | None:
    """Note every name on the way to `path` that may be replaced; returns its real path if it is a directory."""
    here, links = Path("/"), 0
    parts = deque((Path.cwd() / path).parts[1:])
    while parts:
        part = parts.popleft()
        if part == "..":
            here = here.parent
            continue
        full = here / part
        try:
            mode = full.lstat().st_mode
            target = full.readlink() if stat.S_ISLNK(mode) else None
        except OSError:
            _note(found, here, part)
            return None
        if target is not None:
            _note(found, here, part)
            links += 1
            if links > _MOST_LINKS:
                return None
            here = Path("/") if target.is_absolute() else here
            parts.extendleft(reversed(target.relative_to("/").parts if target.is_absolute() else target.parts))
        elif stat.S_ISDIR(mode):
            here = full
        else:
            _note(found, here, part)
            return None
    return here


def _note(found: _Found, directory: Path, name: str) -> None:
    names = found.setdefault(directory, set())
    if names is not None:
        names.add(name)


def _links(directory: Path) -> list[Path]:
    try:
        return [entry for entry in islice(directory.iterdir(), _MOST_ENTRIES) if entry.is_symlink()]
    except OSError:
        return []
