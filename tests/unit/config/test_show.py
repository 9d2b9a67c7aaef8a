"""What may be shown of a value."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, SecretBytes

from ambassador.config.address import Address
from ambassador.config.marks import FirstShown, Shown, Written
from ambassador.config.show import HIDDEN, show


class Values(BaseModel):
    """One of each kind."""

    text: str = "hunter2"
    texts: tuple[str, ...] = ("hunter2",)
    named: dict[str, str] = {"key": "hunter2"}
    name: Annotated[str, Shown()] = "orders"
    names: tuple[Annotated[str, Shown()], ...] = ("orders",)
    word: Literal["a", "b"] = "a"
    number: int = 7
    flag: bool = True
    nothing: str | None = None
    seconds: Annotated[float, Written("{:.0f}s".format)] = 5.0
    path: Path = Path("/run/x")
    address: Address = Address("db", 1)
    network: IPv4Network = IPv4Network("10.0.0.0/8")
    secret: SecretBytes = SecretBytes(b"hunter2")
    command: Annotated[tuple[str, ...], FirstShown()] = ("/bin/token", "hunter2", "more")
    alone: Annotated[tuple[str, ...], FirstShown()] = ("/bin/token",)


SAME: dict[str, Any] = {
    "name": "orders",
    "names": ["orders"],
    "word": "a",
    "number": 7,
    "flag": True,
    "nothing": None,
    "seconds": "5s",
    "path": "/run/x",
    "address": "db:1",
    "network": str(ip_network("10.0.0.0/8")),
    "secret": HIDDEN,
    "command": ["/bin/token", HIDDEN],
    "alone": ["/bin/token"],
}


@pytest.mark.parametrize(
    ("field", "shown"), [*SAME.items(), ("text", "hunter2"), ("texts", ["hunter2"]), ("named", {"key": "hunter2"})]
)
def test_settings_are_shown_plainly(field: str, shown: Any) -> None:
    assert show(Values(), field, wary=False) == shown


@pytest.mark.parametrize(
    ("field", "shown"), [*SAME.items(), ("text", HIDDEN), ("texts", [HIDDEN]), ("named", {"key": HIDDEN})]
)
def test_of_a_source_s_settings_only_what_is_known_to_be_no_secret_is_shown(field: str, shown: Any) -> None:
    assert show(Values(), field, wary=True) == shown
