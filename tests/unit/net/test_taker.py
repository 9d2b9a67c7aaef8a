"""Takers: the links of the chain that every chunk runs through."""

from __future__ import annotations

import sys

import pytest

from ambassador.net.taker import NOWHERE, Giving, Taker


class Keeping(Taker):
    """A taker written in Python, as those of the tests are."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def take(self, chunk: bytes) -> None:
        self.chunks.append(chunk)


def test_giving_hands_each_chunk_to_its_function() -> None:
    chunks: list[bytes] = []
    giving = Giving(chunks.append)
    giving.take(b"one")
    giving.take(b"two")
    assert chunks == [b"one", b"two"]


def test_giving_lets_out_what_its_function_raises() -> None:
    def give(chunk: bytes) -> None:
        raise ZeroDivisionError(chunk)

    with pytest.raises(ZeroDivisionError, match="one"):
        Giving(give).take(b"one")


def test_nowhere_forgets_what_it_takes() -> None:
    chunk = b"x" * 1000
    held = sys.getrefcount(chunk)
    NOWHERE.take(chunk)
    assert sys.getrefcount(chunk) == held


def test_a_chain_may_end_in_a_taker_written_in_python() -> None:
    keeping = Keeping()
    Giving(Giving(keeping.take).take).take(b"x")
    assert keeping.chunks == [b"x"]
