"""What a source of credentials does: fetch, and perhaps tell of changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ambassador.config.model import Model
from ambassador.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answer of a source.

    `fields` are the values by field (`username`, `password`, `tls.crt`, `tls.key`, `ca.crt`, or the operator's own
    names), all of one generation; `not_after` is when they end, wall seconds, None where the source does not say.
    """

    fields: Mapping[str, bytes] = field(repr=False)
    not_after: float | None = None


class Source(ABC):
    """Where one credential comes from.

    Args:
        name: what the configuration calls the credential; for errors.
        options: an instance of the class's own `Options`.
    """

    Options: ClassVar[type[Model]]

    fixed: ClassVar[bool] = False
    """Whether its answer cannot change while the daemon lives, so that asking twice is pointless."""

    def __init__(self, name: str, options: Any) -> None:
        self.name = name
        self.options = options

    @abstractmethod
    async def fetch(self) -> Fetched:
        """Ask for the value now. May be cancelled; blocks the loop for no longer than a file system call.

        Raises:
            CredentialError: there is no complete value to be had; the text holds nothing of what was there.
        """

    @abstractmethod
    def describe(self) -> str:
        """Where the value comes from, for the status and the log: a path, names of variables, a program."""

    def changes(self, *, poll: float, debounce: float, clock: Clock) -> AsyncGenerator[None] | None:  # noqa: ARG002 - for sources that can tell
        """Yield whenever the value may have changed since this call; None where the source cannot tell, and is polled.

        Args:
            poll: seconds between the looks that back up the notifications.
            debounce: seconds without a further change before one is told.
        """
        return None

    async def warnings(self) -> tuple[str, ...]:
        """What the operator should know about how this source is set up, each a sentence. Asked once, at the start."""
        return ()


def without_newline(raw: bytes) -> bytes:
    """`raw` without one `\\n` at its end: editors and `echo` leave one behind that is no part of the value.

    Only one: a value that really ends in newlines is written with one more.
    """
    return raw[:-1] if raw.endswith(b"\n") else raw
