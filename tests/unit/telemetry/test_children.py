from __future__ import annotations

from ambassador.telemetry.children import Children


class Counter:
    def __init__(self) -> None:
        self.open = 0

    @property
    def idle(self) -> bool:
        return self.open == 0


def test_a_child_is_made_once_and_then_returned() -> None:
    children: Children[str, Counter] = Children(Counter)
    assert children.get("a") is children.get("a")
    assert [key for key, _ in children.items()] == ["a"]


def test_a_retired_idle_child_is_dropped_at_once() -> None:
    children: Children[str, Counter] = Children(Counter)
    children.get("a")
    children.get("b")
    children.retire(["b"])
    assert [key for key, _ in children.items()] == ["b"]


def test_a_retired_busy_child_stays_until_it_is_idle() -> None:
    children: Children[str, Counter] = Children(Counter)
    child = children.get("a")
    child.open = 1
    children.retire([])
    assert list(children.items()) == [("a", child)]
    child.open = 0
    assert list(children.items()) == []


def test_a_child_asked_for_again_before_it_was_dropped_comes_back() -> None:
    children: Children[str, Counter] = Children(Counter)
    child = children.get("a")
    child.open = 1
    children.retire([])
    assert children.get("a") is child
    child.open = 0
    assert list(children.items()) == [("a", child)]
