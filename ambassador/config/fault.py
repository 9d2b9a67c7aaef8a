"""Fault: one thing that is wrong in the operator's words, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ambassador.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""The way from the top of a file to a value: keys of mappings, indices of lists."""

PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z", re.ASCII)
"""What keys look like; anything else at the place of one may be a misplaced value."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        file: the file as it was named on the command line.
        line: 1-based; None where there is no line to point to.
        path: where in the file's tree; empty for the file as a whole.
        message: what is wrong and what would be right; never a value that may be secret.
    """

    file: str
    line: int | None
    path: KeyPath
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {dotted(self.path)}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigFaults(ConfigError):
    """A configuration was refused; `faults` are all that is wrong with it, in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        first = self.faults[0]
        super().__init__("\n".join(map(str, self.faults)), file=first.file, line=first.line)


def dotted(path: KeyPath) -> str:
    """`listeners.orders.listen[0]`. Unprintable and overlong keys are cut down to what a terminal may show."""
    text = ""
    for depth, step in enumerate(path):
        # Below the name of a credential, what does not look like a key may be a value: {password:secret}.
        misplaced = path[0] == "credentials" and depth > 1
        text += f"[{step}]" if isinstance(step, int) else f".{_printable(step, wary=misplaced)}"
    return text.removeprefix(".")


def _printable(key: str, *, wary: bool) -> str:
    if wary and not PLAIN_KEY.match(key):
        return "***"
    short = key if len(key) <= 64 else key[:64] + "…"
    return short if short.isprintable() else ascii(short)
