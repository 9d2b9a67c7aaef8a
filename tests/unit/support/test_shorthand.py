from __future__ import annotations

from tests.support.shorthand import from_client, from_server


def test_a_client_s_word_is_a_message_with_that_tag() -> None:
    assert from_client("S X") == b"S\0\0\0\x04X\0\0\0\x04"
    assert from_client("Q").startswith(b"Q\0\0\0\x0dselect 1")


def test_a_server_s_word_says_more_where_more_matters() -> None:
    assert from_server("ZT") == b"Z\0\0\0\x05T"
    assert b"VERROR\0C42P01\0" in from_server("E:42P01")
    assert b"VFATAL\0C57P01\0" in from_server("F:57P01")
    assert from_server("1 2") == b"1\0\0\0\x042\0\0\0\x04"
