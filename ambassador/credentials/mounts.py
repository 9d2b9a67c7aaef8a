"""Which files can never change because of how they are mounted. Pure.

A volume's `subPath` is a bind mount of what was there when the container started. The kubelet replaces files by
renaming; such a mount goes on showing the old file for as long as the container lives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

# The kubelet's name of one generation of a volume: ..2026_01_31_12_00_00.123456789
_GENERATION = re.compile(r"\.\.\d{4}_\d\d_\d\d_")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount as this process sees it: where, and which part of its file system is seen there."""

    point: PurePosixPath
    root: PurePosixPath


def parse(mountinfo: str) -> tuple[Mount, ...]:
    """Read the text of /proc/self/mountinfo (proc_pid_mountinfo(5)); lines that are none are passed over."""
    rows = (line.split(" ") for line in mountinfo.splitlines())
    return tuple(
        Mount(point=PurePosixPath(_unescape(row[4])), root=PurePosixPath(_unescape(row[3])))
        for row in rows
        if len(row) > 4
    )


def frozen(paths: Iterable[PurePosixPath], mounts: Iterable[Mount]) -> tuple[PurePosixPath, ...]:
    """Those of `paths` (files, absolute) that a change of their volume will never reach."""
    known = tuple(mounts)
    return tuple(path for path in paths if _is_frozen(path, known))


def _is_frozen(path: PurePosixPath, mounts: tuple[Mount, ...]) -> bool:
    holding = [mount for mount in mounts if path.is_relative_to(mount.point)]
    if not holding:
        return False
    # Of several mounts on one point the last hides the others.
    nearest = max(enumerate(holding), key=lambda entry: (len(entry[1].point.parts), entry[0]))[1]
    return nearest.point == path or any(_GENERATION.match(part) for part in nearest.root.parts)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
