"""Which files can never change because of how they are mounted."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from ambassador.credentials.mounts import Mount, frozen, parse
from tests.support.secrets import mountinfo

KUBELET = "/var/lib/kubelet/pods/0f/volumes/kubernetes.io~secret/db"
OLD = "..2026_01_31_12_00_00.123456789"


def paths(*texts: str) -> list[PurePosixPath]:
    return [PurePosixPath(text) for text in texts]


@pytest.mark.parametrize(
    ("mounts", "path", "is_frozen"),
    [
        ([("/etc/secret", "/")], "/etc/secret/password", False),
        ([("/etc/secret", KUBELET)], "/etc/secret/password", False),
        ([("/etc/secret/password", f"/{OLD}/password")], "/etc/secret/password", True),
        ([("/etc/secret/password", "/any/file")], "/etc/secret/password", True),
        ([("/etc/secret", f"/{OLD}/deep")], "/etc/secret/password", True),
        ([("/etc/secret", f"{KUBELET}/{OLD}")], "/etc/secret/a/b", True),
        ([("/etc/secret", f"/{OLD}"), ("/etc/secret", "/")], "/etc/secret/password", False),
        ([("/etc/secret/password", "/x"), ("/etc", "/")], "/etc/secret/password", True),
        ([("/etc/secretive", f"/{OLD}")], "/etc/secret/password", False),
        ([("/etc/a b", f"/{OLD}")], "/etc/a b/password", True),
        ([("/etc/secret", "/..but not a generation")], "/etc/secret/password", False),
        ([], "/etc/secret/password", False),
    ],
)
def test_a_file_is_frozen_if_it_is_a_mount_or_in_one_of_an_old_generation(
    mounts: list[tuple[str, str]], path: str, is_frozen: bool
) -> None:
    assert frozen(paths(path), parse(mountinfo(*mounts))) == (tuple(paths(path)) if is_frozen else ())


def test_without_any_mount_table_nothing_is_claimed() -> None:
    assert frozen(paths("/etc/secret"), parse("")) == ()


def test_lines_that_are_no_mounts_are_passed_over() -> None:
    assert parse("garbage\n\n1 2 3 /root /point rw\n") == (Mount(PurePosixPath("/point"), PurePosixPath("/root")),)
