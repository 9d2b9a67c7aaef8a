"""A directory of files that somebody else replaces, read as one generation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ambassador.credentials import mounted
from ambassador.credentials.mounted import LARGEST, Unreadable, read_file, read_files
from tests.support.secrets import SecretDir

NAMES = ("username", "password", "tls.key")
ROOT = Path(__file__).parents[3]

SWAPPER = """
import sys
from pathlib import Path
from tests.support.secrets import SecretDir
directory = SecretDir(Path(sys.argv[1]), {name: "0" for name in sys.argv[2:]})
print("ready", flush=True)
for number in range(1, 10**9):
    directory.swap({name: str(number) * 50 for name in sys.argv[2:]})
"""


def generation(number: object) -> dict[str, str]:
    return {name: f"{name} {number}" for name in NAMES}


def as_bytes(content: dict[str, str]) -> dict[str, bytes]:
    return {name: value.encode() for name, value in content.items()}


@pytest.fixture
def secret(tmp_path: Path) -> SecretDir:
    return SecretDir(tmp_path / "secret", generation(1))


class Interrupted:
    """Does something between the first and the second file that is read; each time, or only once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], *, times: int = 1) -> None:
        self._read = mounted._read
        self._act = act
        self.times = times
        self.reads = 0
        monkeypatch.setattr(mounted, "_read", self)

    def __call__(self, name: str, parent: int | None, shown: str) -> bytes | None:
        if name == NAMES[1] and self.times:
            self.times -= 1
            self._act()
        self.reads += 1
        return self._read(name, parent, shown)


def test_all_files_of_a_mounted_secret_are_read(secret: SecretDir) -> None:
    assert read_files(secret.path, NAMES) == as_bytes(generation(1))


def test_what_is_not_there_is_left_out_and_what_is_not_wanted_is_not_read(secret: SecretDir) -> None:
    assert read_files(secret.path, ("password", "ca.crt")) == {"password": b"password 1"}
    assert read_files(secret.path, ()) == {}


def test_plain_files_and_links_to_a_directory_do_as_well(tmp_path: Path) -> None:
    plain = tmp_path / "v1"
    plain.mkdir()
    for name, value in generation(1).items():
        (plain / name).write_text(value)
    (tmp_path / "current").symlink_to("v1")
    assert read_files(tmp_path / "current", NAMES) == as_bytes(generation(1))


def test_keys_may_lie_deeper(tmp_path: Path) -> None:
    deep = SecretDir(tmp_path / "secret", {"db/password": "x"})
    assert read_files(deep.path, ("db/password",)) == {"db/password": b"x"}


def test_a_swap_in_the_middle_of_reading_gives_the_new_generation_whole(
    secret: SecretDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    Interrupted(monkeypatch, lambda: secret.swap(generation(2)))
    assert read_files(secret.path, NAMES) == as_bytes(generation(2))


def test_a_rename_in_the_middle_that_leaves_the_old_generation_for_later_is_noticed_too(
    secret: SecretDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shutil.rmtree

    def swap_and_keep() -> None:
        monkeypatch.setattr(shutil, "rmtree", lambda path: None)
        secret.swap(generation(2))
        monkeypatch.setattr(shutil, "rmtree", kept)

    Interrupted(monkeypatch, swap_and_keep)
    assert read_files(secret.path, NAMES) == as_bytes(generation(2))


def test_a_plain_file_rewritten_in_the_middle_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in generation(1).items():
        (tmp_path / name).write_text(value)

    def rewrite() -> None:
        for name, value in generation(2).items():
            (tmp_path / name).write_text(value)

    Interrupted(monkeypatch, rewrite)
    assert read_files(tmp_path, NAMES) == as_bytes(generation(2))


def test_a_plain_directory_that_becomes_a_mount_in_the_middle_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in generation(1).items():
        (tmp_path / name).write_text(value)

    def mount() -> None:
        for name in NAMES:
            (tmp_path / name).unlink()
        SecretDir(tmp_path, generation(2))

    Interrupted(monkeypatch, mount)
    assert read_files(tmp_path, NAMES) == as_bytes(generation(2))


def test_a_directory_replaced_as_a_whole_in_the_middle_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        (tmp_path / f"v{version}").mkdir()
        for name, value in generation(version).items():
            (tmp_path / f"v{version}" / name).write_text(value)
    current = tmp_path / "current"
    current.symlink_to("v1")

    def replace() -> None:
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").rename(current)
        shutil.rmtree(tmp_path / "v1")

    Interrupted(monkeypatch, replace)
    assert read_files(current, NAMES) == as_bytes(generation(2))


def test_what_never_rests_is_given_up(secret: SecretDir, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = Interrupted(monkeypatch, lambda: secret.swap(generation(2)), times=10**6)
    with pytest.raises(Unreadable, match="changes faster than it can be read"):
        read_files(secret.path, NAMES)
    assert interrupted.reads < 1000


@pytest.fixture
def swapper(tmp_path: Path) -> Iterator[Path]:
    """A mounted Secret that another process swaps as fast as it can."""
    path = tmp_path / "busy"
    process = subprocess.Popen(
        [sys.executable, "-c", SWAPPER, str(path), *NAMES], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "ready\n"
        yield path
        process.kill()
        process.wait()


def test_no_two_generations_are_mixed_however_fast_they_follow(swapper: Path) -> None:
    seen = set()
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        found = read_files(swapper, NAMES)
        assert set(found) == set(NAMES)
        assert len(set(found.values())) == 1, found
        seen.add(found["password"])
    assert len(seen) > 20


def test_no_descriptor_is_left_open_by_whatever_happens(secret: SecretDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_files(secret.path, NAMES)
    (secret.generation / "password").unlink()
    (secret.generation / "password").mkdir()
    with pytest.raises(Unreadable):
        read_files(secret.path, NAMES)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# What cannot be read


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="nowhere: No such file or directory"):
        read_files(tmp_path / "nowhere", NAMES)


def test_a_link_to_a_generation_that_is_gone_is_named(secret: SecretDir) -> None:
    shutil.rmtree(secret.generation)
    with pytest.raises(Unreadable, match=r"\.\.data leads nowhere"):
        read_files(secret.path, NAMES)


def test_data_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "..data").write_text("x")
    with pytest.raises(Unreadable, match=r"\.\.data: Not a directory"):
        read_files(tmp_path, NAMES)


def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password")
    with pytest.raises(Unreadable, match="password is not a regular file"):
        read_files(tmp_path, NAMES)


def test_a_directory_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").mkdir()
    with pytest.raises(Unreadable, match="password is not a regular file"):
        read_files(tmp_path, NAMES)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "password").symlink_to("password")
    with pytest.raises(Unreadable, match="password: Too many levels of symbolic links"):
        read_files(tmp_path, NAMES)


@pytest.mark.parametrize(("size", "fits"), [(LARGEST, True), (LARGEST + 1, False)])
def test_a_file_has_a_largest_size(tmp_path: Path, size: int, fits: bool) -> None:
    (tmp_path / "password").write_bytes(b"x" * size)
    if fits:
        assert read_file(tmp_path / "password") == b"x" * size
        return
    with pytest.raises(Unreadable, match="is larger than"):
        read_file(tmp_path / "password")


def test_a_single_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="nothing: No such file or directory"):
        read_file(tmp_path / "nothing")


def test_a_failing_disk_is_told_by_the_kernel_s_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("x")

    def broken(descriptor: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", broken)
    with pytest.raises(Unreadable, match="password: Input/output error"):
        read_file(tmp_path / "password")
