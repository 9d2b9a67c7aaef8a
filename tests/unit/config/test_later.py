"""What later versions bring."""

from __future__ import annotations

from typing import get_args

from ambassador.config.later import LATER
from ambassador.registry import Table


def test_every_table_of_the_registry_has_its_list() -> None:
    assert set(LATER) == set(get_args(Table))


def test_the_kinds_that_are_planned_are_listed() -> None:
    assert LATER["protocols"] == {"redis", "http"}
    assert LATER["sources"] == LATER["vault_logins"] == set()
    assert LATER["discoveries"] == {"dns", "kubernetes"}
    assert LATER["authenticators"] == {"token"}
