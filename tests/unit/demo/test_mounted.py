"""A directory that changes as the kubelet's do: whole generations, by one rename."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambassador.demo.mounted import MountedSecret


@pytest.fixture
def mounted(tmp_path: Path) -> MountedSecret:
    """A Secret with one generation."""
    return MountedSecret(tmp_path / "secret", {"username": "a", "password": "one"})


def test_keys_lead_through_data_to_one_generation(mounted: MountedSecret) -> None:
    assert (mounted.path / "password").readlink() == Path("..data/password")
    assert {key: (mounted.path / key).read_text() for key in ("username", "password")} == {
        "username": "a",
        "password": "one",
    }


def test_a_swap_replaces_every_value_and_leaves_no_old_one(mounted: MountedSecret) -> None:
    generation = mounted.path / (mounted.path / "..data").readlink()
    mounted.swap({"username": "b", "password": "two"})
    assert (mounted.path / "username").read_text() + (mounted.path / "password").read_text() == "btwo"
    assert not generation.exists()
    assert len(list(mounted.path.iterdir())) == 4


def test_who_holds_the_old_generation_open_sees_it_whole_to_the_end(mounted: MountedSecret) -> None:
    held = os.open(mounted.path / "..data" / "password", os.O_RDONLY)
    mounted.swap({"username": "b", "password": "two"})
    assert os.read(held, 10) == b"one"
    os.close(held)


def test_only_its_owner_may_read_it(mounted: MountedSecret) -> None:
    assert mounted.path.stat().st_mode & 0o777 == 0o700
    assert (mounted.path / "password").stat().st_mode & 0o777 == 0o600
