"""What is left when the faulty parts are cut away."""

from __future__ import annotations

from typing import Any

from ambassador.config.fault import KeyPath
from ambassador.config.salvage import Remains, salvage

SOUND: dict[str, Any] = {
    "credentials": {"db": {"file": {"path": "/run/db"}}},
    "upstreams": {"orders": {"endpoints": ["a:1", "b:2"], "credential": "db"}},
    "listeners": {
        "orders": {"listen": "127.0.0.1:1", "postgres": {"upstream": "orders"}, "limits": {"connections": 5}}
    },
}


def with_value(path: KeyPath, value: Any) -> Any:
    def copied(data: Any, rest: KeyPath) -> Any:
        if not rest:
            return value
        if isinstance(data, list):
            return [copied(inner, rest[1:]) if index == rest[0] else inner for index, inner in enumerate(data)]
        return data | {rest[0]: copied(data.get(rest[0], {}), rest[1:])}

    return copied(SOUND, path)


def left(path: KeyPath, value: Any) -> Remains:
    found = salvage(with_value(path, value), [path])
    assert found is not None
    return found


def test_a_faulty_key_costs_no_more_than_itself() -> None:
    path = ("listeners", "orders", "limits", "conections")
    assert left(path, 7) == Remains.model_validate(SOUND)


def test_a_faulty_value_leaves_the_default() -> None:
    assert left(("listeners", "orders", "limits", "connections"), "x").listeners["orders"].limits.connections == 1000


def test_a_faulty_item_costs_no_more_than_itself() -> None:
    endpoints = left(("upstreams", "orders", "endpoints", 0), "x").upstreams["orders"].endpoints
    assert [str(endpoint) for endpoint in endpoints] == ["b:2"]


def test_of_several_faulty_items_the_right_ones_are_cut() -> None:
    data = with_value(("upstreams", "orders", "endpoints"), ["x", "a:1", "y", "b:2"])
    found = salvage(data, [("upstreams", "orders", "endpoints", 0), ("upstreams", "orders", "endpoints", 2)])
    assert found is not None
    assert [str(endpoint) for endpoint in found.upstreams["orders"].endpoints] == ["a:1", "b:2"]


def test_an_entry_that_lacks_what_it_needs_goes() -> None:
    found = left(("credentials", "db", "file"), {})
    assert found.credentials == {}
    assert set(found.upstreams) == {"orders"}


def test_a_section_that_is_no_mapping_goes() -> None:
    found = left(("upstreams",), 5)
    assert found.upstreams == {}
    assert set(found.listeners) == {"orders"}


def test_nothing_need_be_left() -> None:
    assert left(("listeners",), 5).listeners == {}


def test_what_is_no_mapping_at_all_cannot_be_salvaged() -> None:
    assert salvage(["a"], [()]) is None


def test_paths_that_lead_nowhere_cut_what_is_around_them() -> None:
    found = salvage(
        SOUND,
        [("listeners", "orders", "limits", "nothing", "here"), ("nowhere",), ("upstreams", "orders", "endpoints", 9)],
    )
    assert found is not None
    assert found.listeners["orders"].limits.connections == 1000


def test_a_faulty_value_in_a_list_of_mappings_costs_no_more_than_itself() -> None:
    note = ("listeners", "orders", "postgres", "note")
    path = (*note, 0, "text")
    assert salvage(with_value(note, [{"text": 5}, {"text": 6}]), [path, (*note, 1)]) is not None


def test_what_was_given_is_left_as_it_was() -> None:
    data = with_value(("listeners", "orders", "limits"), {"connections": "x"})
    salvage(data, [("listeners", "orders", "limits", "connections")])
    assert data["listeners"]["orders"]["limits"] == {"connections": "x"}
