from __future__ import annotations

from tests.support.splits import every_split, in_pieces


def test_every_split_gives_the_same_bytes_again() -> None:
    data = bytes(range(20))
    splits = list(every_split(data))
    assert all(b"".join(split) == data for split in splits)
    assert all(piece for split in splits for piece in split)


def test_every_split_cuts_at_every_place() -> None:
    data = bytes(range(9))
    cuts = {len(split[0]) for split in every_split(data) if len(split) == 2}
    assert cuts >= set(range(1, 9))
    assert [data] in list(every_split(data))
    assert [bytes((byte,)) for byte in data] in list(every_split(data))


def test_pieces_have_the_size_asked_for_and_the_last_may_be_shorter() -> None:
    assert in_pieces(b"abcdefg", 3) == [b"abc", b"def", b"g"]
    assert in_pieces(b"", 3) == []
