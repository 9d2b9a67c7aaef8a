"""Whether the content of files has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambassador.config.fingerprint import fingerprint


def test_the_same_content_is_no_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    before = fingerprint([file])
    os.utime(file, (1, 1))
    other = tmp_path / "b"
    other.write_text("one")
    other.rename(file)
    assert fingerprint([file]) == before


def test_other_content_of_the_same_size_and_time_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    before, times = fingerprint([file]), file.stat()
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint([file]) != before


def test_a_directory_stands_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "sub").mkdir()
    before = fingerprint([tmp_path])
    assert [path.name for path, _ in before] == ["a"]
    (tmp_path / "sub" / "deep").write_text("not looked at")
    assert fingerprint([tmp_path]) == before
    (tmp_path / "b").write_text("")
    assert fingerprint([tmp_path]) != before


def test_the_kubelet_s_own_names_are_not_looked_at(tmp_path: Path) -> None:
    before = fingerprint([tmp_path])
    (tmp_path / "..data").write_text("x")
    (tmp_path / "..2026").mkdir()
    assert fingerprint([tmp_path]) == before


def test_what_is_missing_and_what_is_no_file_is_absent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert fingerprint([tmp_path / "none", tmp_path / "none" / "deeper", tmp_path]) == ()


def test_an_empty_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert len(fingerprint([tmp_path / "a"])) == 1


def test_an_unreadable_file_differs_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    before = fingerprint([file])

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    unreadable = fingerprint([file])
    assert len(unreadable) == 1
    assert unreadable != before


def test_a_link_that_leads_in_circles_is_unreadable_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert len(fingerprint([tmp_path / "loop"])) <= 1


def test_a_large_file_is_known_by_its_size_and_times(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * ((1 << 20) + 1))
    before = fingerprint([file])
    assert fingerprint([file]) == before
    file.write_bytes(b"x" * ((1 << 20) + 2))
    assert fingerprint([file]) != before


def test_no_digest_holds_the_content(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2")
    assert b"hunter2" not in fingerprint([file])[0][1]


def test_a_directory_that_cannot_be_listed_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a").touch()
    monkeypatch.setattr(Path, "iterdir", denied)
    assert fingerprint([tmp_path]) == ()
