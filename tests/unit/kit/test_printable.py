"""Text of somebody else's in a line of ours."""

from __future__ import annotations

from ambassador.kit.printable import printable


def test_it_stays_one_line_and_moves_no_cursor() -> None:
    assert printable("a b\u00e9\nc\x1b[2J\u2028\ud800") == "a b\u00e9?c?[2J??"
