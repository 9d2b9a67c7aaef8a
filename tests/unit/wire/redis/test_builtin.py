from __future__ import annotations

from ambassador.wire.redis.builtin import LINES


def test_a_line_has_four_parts_and_names_a_command_once() -> None:
    names: list[str] = []
    for line in LINES.strip().splitlines():
        flags, categories, keys, listed = line.split(" / ")
        assert flags
        assert categories
        assert keys
        names += listed.split()
    assert len(names) == len(set(names)) > 380
    assert all(name == name.upper() for name in names)


def test_a_sub_command_s_container_is_listed_too() -> None:
    names = {name for line in LINES.strip().splitlines() for name in line.rpartition(" / ")[2].split()}
    assert {name.partition("|")[0] for name in names} <= names
