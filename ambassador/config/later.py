"""What later versions bring, so that this one refuses it plainly and not as a spelling mistake.

An entry of the registry always wins: whoever builds one of these need not come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ambassador.registry import Table

LATER: Mapping[Table, frozenset[str]] = MappingProxyType(
    {
        "protocols": frozenset({"redis", "http"}),
        "sources": frozenset(),
        "authenticators": frozenset({"token"}),
        "discoveries": frozenset({"dns", "kubernetes"}),
        "vault_logins": frozenset(),
    }
)
