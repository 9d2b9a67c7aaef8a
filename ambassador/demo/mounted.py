"""A directory that changes as a mounted Secret does, without a Kubernetes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path


class MountedSecret:
    """A Secret volume as the kubelet lays it out: keys are links through `..data`, which leads to one generation.

    A change writes a new generation and renames the link over, so that no reader sees one key old and another new
    (atomic_writer.go).

    Args:
        path: the mount point; made here.
        content: the first generation, text by key.
    """

    def __init__(self, path: Path, content: Mapping[str, str]) -> None:
        self.path = path
        self._numbers = count(1)
        path.mkdir(mode=0o700)
        self.swap(content)
        for key in content:
            (path / key).symlink_to(f"..data/{key}")

    def swap(self, content: Mapping[str, str]) -> None:
        """Replace every value at once; the keys are those of the first generation."""
        link = self.path / "..data"
        old = self.path / link.readlink() if link.is_symlink() else None
        new = self.path / f"..generation-{next(self._numbers)}"
        new.mkdir(mode=0o700)
        for key, value in content.items():
            descriptor = os.open(new / key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(value)
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(new.name)
        fresh.rename(link)
        if old is not None:
            shutil.rmtree(old)
