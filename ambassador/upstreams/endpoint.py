"""One address of a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ambassador.config.types import Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server of an upstream listens. A value: two with equal fields are the same endpoint."""

    address: Address

    def __str__(self) -> str:
        return str(self.address)


EndpointSet: TypeAlias = tuple[Endpoint, ...]
"""The endpoints of an upstream at one moment, in the order of preference."""
