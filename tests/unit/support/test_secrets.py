"""The directory that behaves as the kubelet's do, and secrets to search for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambassador.credentials import mounts
from tests.support.secrets import SecretDir, canary, mountinfo


def test_a_canary_is_new_each_time_and_says_what_it_is() -> None:
    assert canary("password") != canary("password")
    assert canary("password").startswith("password-")


def test_keys_are_links_through_data_into_one_generation(tmp_path: Path) -> None:
    directory = SecretDir(tmp_path / "secret", {"username": "app", "password": b"\xff"})
    assert (directory.path / "username").read_text() == "app"
    assert (directory.path / "password").read_bytes() == b"\xff"
    assert (directory.path / "username").readlink() == Path("..data/username")
    assert directory.generation.is_dir()
    assert not directory.generation.is_symlink()


def test_a_swap_replaces_all_keys_and_removes_the_old_generation(tmp_path: Path) -> None:
    directory = SecretDir(tmp_path / "secret", {"username": "app", "password": "one"})
    old = directory.generation
    directory.swap({"password": "two", "deep/key": "three"})
    assert not old.exists()
    assert (directory.path / "password").read_text() == "two"
    assert (directory.path / "deep" / "key").read_text() == "three"
    assert not (directory.path / "username").is_symlink()


def test_an_empty_one_has_no_keys_and_a_half_one_an_empty_key(tmp_path: Path) -> None:
    directory = SecretDir(tmp_path / "secret", {"username": "app", "password": "one"})
    directory.swap_half({"username": "app", "password": "two"}, lost="password")
    assert (directory.path / "password").read_bytes() == b""
    directory.empty()
    assert [entry.name for entry in directory.path.iterdir() if not entry.name.startswith("..")] == []


def test_a_sub_path_keeps_showing_the_file_it_was_made_from(tmp_path: Path) -> None:
    directory = SecretDir(tmp_path / "secret", {"password": "one"})
    alone = directory.sub_path("password", tmp_path / "app" / "password")
    directory.swap({"password": "two"})
    assert alone.read_text() == "one"


@pytest.mark.parametrize("point", ["/etc/secret", "/etc/a secret\\with\ttraps\n"])
def test_mountinfo_is_what_the_kernel_would_write(point: str) -> None:
    (root, mount) = mounts.parse(mountinfo((point, "/volume")))
    assert str(root.point) == "/"
    assert (str(mount.point), str(mount.root)) == (point, "/volume")
