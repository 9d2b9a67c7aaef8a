"""Conditions that must be met."""

from __future__ import annotations

from ambassador.kit.latch import Latches


def test_all_are_held_at_first_in_order() -> None:
    assert Latches(["config", "listeners", "credentials"]).held == ("config", "listeners", "credentials")


def test_released_ones_are_gone_and_releasing_again_does_nothing() -> None:
    latches = Latches(["a", "b"])
    latches.release("a")
    latches.release("a")
    latches.release("never heard of")
    assert latches.held == ("b",)


def test_one_may_be_added_or_held_again() -> None:
    latches = Latches(["a"])
    latches.release("a")
    latches.hold("b")
    latches.hold("a")
    latches.hold("b")
    assert latches.held == ("b", "a")


def test_none_held_means_ready() -> None:
    assert Latches().held == ()
