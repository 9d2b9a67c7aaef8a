"""What a source of credentials does: fetch, and perhaps tell of changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto, unique
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from ambassador.config.model import Model
from ambassador.credentials.term import Term
from ambassador.errors import CredentialError
from ambassador.kit.clock import Clock


class LeaseLost(CredentialError):
    """The lease is known no more to whoever granted it: what came with it is no good, or soon will be."""


class Parent(Protocol):
    """What a lease ends with, however long its own term is: a Vault's token."""

    trouble: str | None
    """Why it may not live on; None: nothing is known to be wrong."""

    replaced: bool
    """Whether it has a successor, with which a lease is to be asked for anew: nobody keeps this one alive."""

    @property
    def ends_at(self) -> float:
        """When it ends, by the clock that never jumps; infinite while it is kept alive."""


@dataclass(frozen=True, slots=True)
class Lease:
    """That a value was made for us alone, for a time.

    Args:
        id: what it is called where it was granted.
        term: from when and for how long.
        parent: what it ends with.
    """

    id: str
    term: Term
    parent: Parent | None = None

    @property
    def ends_at(self) -> float:
        """When it ends, as far as is known by now."""
        return self.term.ends_at if self.parent is None else min(self.term.ends_at, self.parent.ends_at)

    @property
    def is_orphan(self) -> bool:
        """Whether its parent has a successor: it ends soon, whatever its own term is."""
        return self.parent is not None and self.parent.replaced

    @property
    def trouble(self) -> str | None:
        """Why it may end without a successor; None: nothing is known to be wrong."""
        return None if self.parent is None else self.parent.trouble


@unique
class Change(Enum):
    """What a source tells of."""

    VALUE = auto()
    """There may be another value."""

    END = auto()
    """What it gave may end at another time than was thought."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answer of a source.

    `fields` are the values by field (`username`, `password`, `tls.crt`, `tls.key`, `ca.crt`, or the operator's own
    names), all of one generation; `not_after` is when they end, wall seconds, None where the source does not say.
    `lease` says that every further fetch makes another value, and that this one can be renewed and revoked. `again` is
    in how many seconds the source expects to have another value; None: it does not know.
    """

    fields: Mapping[str, bytes] = field(repr=False)
    not_after: float | None = None
    lease: Lease | None = None
    again: float | None = None


class Source(ABC):
    """Where one credential comes from.

    Args:
        name: what the configuration calls the credential; for errors.
        options: an instance of the class's own `Options`.
        vaults: those of the configuration, by name, for sources that ask one.
    """

    Options: ClassVar[type[Model]]

    fixed: ClassVar[bool] = False
    """Whether its answer cannot change while the daemon lives, so that asking twice is pointless."""

    brings_password: ClassVar[bool] = True
    brings_certificate: ClassVar[bool] = True
    """Whether its value can be one: False where it never is, so that a wrong use is refused with the configuration."""

    def __init__(self, name: str, options: Any, vaults: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.name = name
        self.options = options
        self.vaults = vaults

    @property
    def makes_new(self) -> bool:
        """Whether each fetch makes another value, so that it is asked only when one is needed."""
        return False

    @property
    def pace(self) -> tuple[int, float] | None:
        """How many fetches may be made at once, and in how many seconds one more; None: as many as are asked for."""
        return None

    @abstractmethod
    async def fetch(self) -> Fetched:
        """Ask for the value now. May be cancelled; blocks the loop for no longer than a file system call.

        Raises:
            CredentialError: there is no complete value to be had; the text holds nothing of what was there.
        """

    @abstractmethod
    def describe(self) -> str:
        """Where the value comes from, for the status and the log: a path, names of variables, a program."""

    def changes(self, *, poll: float, debounce: float, clock: Clock) -> AsyncGenerator[Change] | None:  # noqa: ARG002 - for sources that can tell
        """Yield whenever something may have changed since this call; None where the source cannot tell, and is polled.

        Args:
            poll: seconds between the looks that back up the notifications.
            debounce: seconds without a further change before one is told.
        """
        return None

    async def renew(self, lease: Lease) -> Lease | None:
        """The next term of a lease that `fetch` gave; None where it has none, though the present one goes on.

        Raises:
            LeaseLost: there is no such lease any more.
            CredentialError: it could not be asked for.
        """
        # Not abstract: most sources grant none, and a keeper asks this only of who has granted one.
        raise NotImplementedError(f"{type(self).__name__} grants no leases")

    async def revoke(self, lease: Lease) -> bool:
        """Give a lease back before its end; one that is gone already is given back.

        Returns whether it is; False where leases are to be left to their end.

        Raises:
            CredentialError: it could not be done.
        """
        # Not abstract: most sources grant none, and a keeper asks this only of who has granted one.
        raise NotImplementedError(f"{type(self).__name__} grants no leases")

    async def warnings(self) -> tuple[str, ...]:
        """What the operator should know about how this source is set up, each a sentence. Asked once, at the start."""
        return ()


def without_newline(raw: bytes) -> bytes:
    """`raw` without one `\\n` at its end: editors and `echo` leave one behind that is no part of the value.

    Only one: a value that really ends in newlines is written with one more.
    """
    return raw[:-1] if raw.endswith(b"\n") else raw
