"""Secrets for tests: random ones that can be searched for, and a directory that behaves as the kubelet's do."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path

MINTED: set[str] = set()
"""Canaries of the running test: they may appear nowhere (`telltale` and `Daemon` look)."""

LASTING: set[str] = set()
"""Those among them that were made by fixtures which outlive a test."""


def canary(what: str = "canary", size: int = 16) -> str:
    """A random secret to search logs, metrics and pages for; `what` says in a failure which one was found."""
    minted = f"{what}-{secrets.token_hex(size)}"
    MINTED.add(minted)
    return minted


class SecretDir:
    """A mounted Secret. Every change is one rename, as in the kubelet's atomic_writer.go:

        username -> ..data/username
        ..data -> ..2026_01_31_12_00_00.000000001
        ..2026_01_31_12_00_00.000000001/username

    Args:
        path: where to mount it; made if need be.
        content: the first generation: text or bytes by key.
    """

    def __init__(self, path: Path, content: Mapping[str, str | bytes] | None = None) -> None:
        self.path = path
        self._numbers = count(1)
        path.mkdir(parents=True, exist_ok=True)
        self.swap(content or {})

    @property
    def generation(self) -> Path:
        """The directory that `..data` leads to."""
        return self.path / (self.path / "..data").readlink()

    def swap(self, content: Mapping[str, str | bytes]) -> None:
        """Replace all keys at once: write a new generation, rename `..data` over, remove the old one."""
        old = self.generation if (self.path / "..data").is_symlink() else None
        new = self.path / f"..2026_01_31_12_00_00.{next(self._numbers):09}"
        _fill(new, content)
        (self.path / "..data_tmp").symlink_to(new.name)
        (self.path / "..data_tmp").rename(self.path / "..data")
        self._link(content)
        if old is not None:
            shutil.rmtree(old)

    def swap_half(self, content: Mapping[str, str | bytes], *, lost: str) -> None:
        """A generation whose key `lost` is there and empty, as when somebody writes a Secret without its value."""
        self.swap({**content, lost: b""})

    def empty(self) -> None:
        """A generation without any key."""
        self.swap({})

    def sub_path(self, key: str, at: Path) -> Path:
        """`key` as a container sees it that mounts it alone, with `subPath`: this file, never its successors."""
        at.parent.mkdir(parents=True, exist_ok=True)
        os.link(self.generation / key, at)
        return at

    def _link(self, content: Mapping[str, str | bytes]) -> None:
        tops = {key.partition("/")[0] for key in content}
        for entry in self.path.iterdir():
            if not entry.name.startswith("..") and entry.name not in tops:
                entry.unlink()
        for top in tops:
            if not (self.path / top).is_symlink():
                (self.path / top).symlink_to(f"..data/{top}")


def mountinfo(*mounts: tuple[Path | str, str]) -> str:
    """The text of /proc/self/mountinfo for (mount point, root) pairs, below the mount of `/`."""
    lines = ["20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw"]
    for number, (point, root) in enumerate(mounts, 21):
        # A space, a tab, a newline and a backslash are written as octal (proc_pid_mountinfo(5)).
        shown = "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in str(point))
        lines.append(f"{number} 20 0:{number} {root} {shown} ro,relatime master:{number} - tmpfs tmpfs rw,size=64k")
    return "\n".join(lines) + "\n"


def _fill(directory: Path, content: Mapping[str, str | bytes]) -> None:
    directory.mkdir()
    for key, value in content.items():
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.encode() if isinstance(value, str) else value)
