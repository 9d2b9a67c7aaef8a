from __future__ import annotations

import pytest

from ambassador.errors import UpstreamError
from ambassador.wire.redis.cluster import Layout, Redirect, gains, masters_of, parse_redirect, parse_slots
from ambassador.wire.redis.messages import Value, decode, encode
from ambassador.wire.redis.place import Place

A, B, C = Place("10.0.0.1", 6379), Place("10.0.0.2", 6379), Place("node-c.example.com", 6380)


def node(place: Place, *more: Value) -> list[Value]:
    return [place.host.encode(), place.port, b"f" * 40, *more]


def test_every_slot_has_the_owner_that_the_answer_names() -> None:
    layout = parse_slots([[0, 5, node(A), node(C)], [6, 16383, node(B, [b"hostname", b"b.example.com"])]], "10.0.0.1")
    assert layout.owners[:7] == [A] * 6 + [B]
    assert layout.owners[-1] == B
    assert layout.replicas == {C}
    assert layout.masters == [A, B]


def test_slots_that_nobody_serves_have_no_owner() -> None:
    layout = parse_slots([[3, 3, node(A)]], "10.0.0.1")
    assert [slot for slot, owner in enumerate(layout.owners) if owner] == [3]


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_node_without_a_name_is_the_one_that_was_asked(host: bytes | None) -> None:
    assert parse_slots([[0, 0, [host, 7000, b"id"]]], "10.0.0.9").owners[0] == Place("10.0.0.9", 7000)
    assert parse_slots([[0, 0, [host, 7000, b"id"]]], "").owners[0] is None


def test_a_node_that_cannot_be_reached_by_what_it_is_called_is_left_out() -> None:
    for name, port in ((b"bad host", 1), (b"h", 0), (b"h", 65536)):
        assert parse_slots([[0, 1, [name, port, b"id"]]], "x") == Layout([None] * 16384, frozenset())


def test_a_master_is_nobody_s_replica() -> None:
    layout = parse_slots([[0, 0, node(A), node(B)], [1, 1, node(B), node(A)]], "")
    assert layout.replicas == frozenset()


def test_what_travelled_in_resp3_is_understood() -> None:
    value, _ = decode(encode([[0, 16383, node(A)]], 3))
    assert parse_slots(value, "").masters == [A]


@pytest.mark.parametrize("value", [None, b"", [[0]], [[5, 4, node(A)]], [[0, 16384, node(A)]], [b"x"]])
def test_other_answers_are_refused(value: Value) -> None:
    with pytest.raises(UpstreamError):
        parse_slots(value, "")


def test_an_answer_without_end_is_refused() -> None:
    others = [node(Place(f"h{number}", 1)) for number in range(2001)]
    with pytest.raises(UpstreamError, match="2000 nodes"):
        parse_slots([[0, 0, node(A), *others]], "")


@pytest.mark.parametrize(
    ("line", "redirect"),
    [
        (b"-MOVED 3999 127.0.0.1:6381\r\n", Redirect(False, 3999, Place("127.0.0.1", 6381))),
        (b"ASK 0 node-c.example.com:6380", Redirect(True, 0, C)),
        (b"MOVED 1 ::1:7000", Redirect(False, 1, Place("::1", 7000))),
        (b"MOVED 1 :7000", Redirect(False, 1, Place("said", 7000))),
        (b"MOVED 1 ?:7000", Redirect(False, 1, Place("said", 7000))),
        (b"MOVED 16384 h:1", None),
        (b"MOVED 1 h:0", None),
        (b"MOVED 1 h", None),
        (b"MOVED x h:1", None),
        (b"MOVEDX 1 h:1", None),
        (b"ERR no", None),
    ],
)
def test_redirects_say_where_to_go(line: bytes, redirect: Redirect | None) -> None:
    assert parse_redirect(line, "said") == redirect


def test_who_gained_slots_is_seen() -> None:
    assert gains([A, A, None, B], [A, B, C, None]) == [B, C]
    assert gains([A, B], [A, B]) == []
    assert masters_of([None, B, A, B]) == [B, A]
