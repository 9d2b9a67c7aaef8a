from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.support.mutations import WAYS, cut, mutate

DATA = bytes(range(100))


def test_the_same_number_spoils_the_same_way() -> None:
    assert [mutate(DATA, random.Random(n)) for n in range(50)] == [mutate(DATA, random.Random(n)) for n in range(50)]


def test_many_numbers_spoil_in_many_ways() -> None:
    assert len({mutate(DATA, random.Random(n)) for n in range(500)}) > 450


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", [b"x", DATA])
def test_each_way_takes_whatever_is_not_empty(way: Callable[[bytearray, random.Random], None], data: bytes) -> None:
    changed = set()
    for number in range(20):
        spoilt = bytearray(data)
        way(spoilt, random.Random(number))
        changed.add(bytes(spoilt))
    assert changed - {data} or len(data) == 1  # a single byte cannot be moved elsewhere


def test_nothing_stays_nothing() -> None:
    assert mutate(b"", random.Random(1)) == b""


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_cuts_give_the_same_bytes_again(data: bytes) -> None:
    pieces = [cut(data, random.Random(n)) for n in range(50)]
    assert all(b"".join(split) == data and all(split) for split in pieces)
    assert len(data) < 2 or len({len(split) for split in pieces}) > 3
