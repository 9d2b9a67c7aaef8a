"""One address of a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ambassador.config.types import Address

Role: TypeAlias = Literal["primary", "replica"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server of an upstream listens. A value: two with equal fields are the same endpoint.

    `role` is what discovery says it is there for; None where nobody said. A server that changes its role becomes
    another endpoint: whoever is connected to it has to look again.
    """

    address: Address
    role: Role | None = None

    def __str__(self) -> str:
        return str(self.address)


EndpointSet: TypeAlias = tuple[Endpoint, ...]
"""The endpoints of an upstream at one moment, in the order of preference."""
