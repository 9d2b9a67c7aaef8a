"""Commands at random: every line makes one, and the same number always makes the same ones."""

from __future__ import annotations

import random
import re

import pytest

from tests.support import redis_words
from tests.support.redis_words import BLOCKING, CONTROL, DATA, ODD, PRIVATE, PUBSUB, SCRIPTS, TIMED, Table, Words

TABLES = (DATA, ODD, CONTROL, PUBSUB, SCRIPTS, BLOCKING, TIMED, PRIVATE)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: next(iter(table)))
def test_every_line_becomes_a_request_without_placeholders(table: Table) -> None:
    for line in table:
        words = Words(random.Random(1)).one({line: 1})
        assert words[0] == line.split(" ")[0].encode()
        assert len(words) == len(line.split(" "))
        assert not [word for word in words if re.fullmatch(rb"@\w|\$[a-z]", word)]


def test_what_stands_in_place_of_spaces_in_a_script_becomes_one() -> None:
    line = "FUNCTION LOAD REPLACE #!lua*name=lib^redis.register_function('f1',1)"
    assert Words(random.Random(1)).one({line: 1})[3] == b"#!lua name=lib\nredis.register_function('f1',1)"


def test_a_bound_of_scores_keeps_its_parenthesis() -> None:
    words = Words(random.Random(2)).one({"ZRANGEBYSCORE @z ($f +inf": 1})
    assert words[1][:1] == b"z"
    assert words[2][:1] == b"("
    assert float(words[2][1:]) in {1.0, 0.5, -2.25, 1e3, float("inf"), 3.0}


def test_ids_of_streams_grow() -> None:
    words = Words(random.Random(3))
    assert [words.one({"XADD x $d f v": 1})[2] for _ in range(3)] == [b"1-1", b"2-1", b"3-1"]


def test_large_values_come_only_where_they_are_wanted() -> None:
    line = {"SET s $v": 1}
    small = [len(Words(random.Random(seed)).one(line)[2]) for seed in range(200)]
    large = [len(Words(random.Random(seed), large=True).one(line)[2]) for seed in range(200)]
    assert max(small) < 1000
    assert max(large) > 65536


def test_a_number_makes_a_line_more_frequent() -> None:
    table = redis_words._table("9 PING\nECHO a")
    assert table == {"PING": 9, "ECHO a": 1}
    words = Words(random.Random(4))
    asked = [words.one(table)[0] for _ in range(200)]
    assert asked.count(b"PING") > 140
