"""What every source shares."""

from __future__ import annotations

import pytest

from ambassador.config.model import Model
from ambassador.credentials.sources.base import Fetched, Lease, Source, without_newline
from ambassador.credentials.term import Term
from ambassador.kit.clock import SYSTEM


class Least(Source):
    """The least a source must do."""

    Options = Model

    async def fetch(self) -> Fetched:
        return Fetched({"password": b"hunter22"})

    def describe(self) -> str:
        return "least"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"pw\n", b"pw"),
        (b"pw", b"pw"),
        (b"pw\n\n", b"pw\n"),
        (b"\n", b""),
        (b"", b""),
        (b"pw\r\n", b"pw\r"),
        (b"\npw", b"\npw"),
    ],
)
def test_one_newline_at_the_end_is_no_part_of_a_value(raw: bytes, value: bytes) -> None:
    assert without_newline(raw) == value


async def test_a_source_that_says_nothing_more_is_polled_and_has_no_advice() -> None:
    source = Least("db", Model())
    assert source.changes(poll=1, debounce=1, clock=SYSTEM) is None
    assert await source.warnings() == ()
    assert not source.fixed


def test_what_was_fetched_is_not_in_its_repr() -> None:
    assert repr(Fetched({"password": b"hunter22"}, 5.0)) == "Fetched(not_after=5.0, lease=None, again=None)"


def test_a_source_that_cannot_fetch_is_none() -> None:
    class Nothing(Source):
        Options = Model

    with pytest.raises(TypeError, match="abstract"):
        Nothing("db", Model())  # type: ignore[abstract]  # that is the point


class Tree:
    """What a lease hangs on."""

    trouble: str | None = None
    replaced = False
    ends_at = float("inf")


def test_a_lease_ends_with_its_parent() -> None:
    alone, parent = Lease("one", Term(100.0, 60.0, renewable=True)), Tree()
    lease = Lease("one", alone.term, parent)
    assert (alone.ends_at, alone.trouble) == (160.0, None)
    assert (lease.ends_at, lease.trouble) == (160.0, None)
    parent.ends_at, parent.trouble = 120.0, "it withers"
    assert (lease.ends_at, lease.trouble) == (120.0, "it withers")
    parent.ends_at = 170.0
    assert lease.ends_at == 160.0
    assert not lease.is_orphan
    assert not alone.is_orphan
    parent.replaced = True
    assert lease.is_orphan
