"""Which directories tell of changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambassador.config.interest import interests


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory whose path has no links in it."""
    return tmp_path.resolve()


def found(*paths: Path) -> dict[Path, set[str] | None]:
    """Interests with plain sets, to compare."""
    return {directory: None if names is None else set(names) for directory, names in interests(paths).items()}


def test_a_plain_file_is_seen_in_its_directory(top: Path) -> None:
    (top / "a").touch()
    assert found(top / "a") == {top: {"a"}}


def test_several_files_of_a_directory_share_it(top: Path) -> None:
    (top / "a").touch()
    (top / "b").touch()
    assert found(top / "a", top / "b") == {top: {"a", "b"}}


def test_in_a_directory_all_names_matter(top: Path) -> None:
    (top / "a").touch()
    assert found(top) == {top: None}
    assert found(top, top / "a") == {top: None}
    assert found(top / "a", top) == {top: None}


def mounted(directory: Path, generation: str = "..1") -> None:
    """A Secret as the kubelet mounts it."""
    (directory / generation).mkdir(parents=True)
    (directory / generation / "password").write_text("x")
    (directory / "..data").symlink_to(generation)
    (directory / "password").symlink_to("..data/password")


def test_every_link_on_the_way_matters(top: Path) -> None:
    mounted(top)
    assert found(top / "password") == {top: {"password", "..data"}, top / "..1": {"password"}}


def test_links_in_a_directory_are_followed_too(top: Path) -> None:
    mounted(top)
    assert found(top) == {top: None, top / "..1": {"password"}}


def test_a_link_in_the_middle_of_a_path_matters(top: Path) -> None:
    mounted(top)
    assert found(top / "..data" / "password") == {top: {"..data"}, top / "..1": {"password"}}
    assert found(top / "..data") == {top: {"..data"}, top / "..1": None}


def test_absolute_links_are_followed(top: Path) -> None:
    (top / "far").mkdir()
    (top / "far" / "real").touch()
    (top / "near").mkdir()
    (top / "near" / "link").symlink_to(top / "far" / "real")
    assert found(top / "near" / "link") == {top / "near": {"link"}, top / "far": {"real"}}


def test_links_upwards_are_followed(top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "file").touch()
    (top / "a" / "b" / "up").symlink_to("../../file")
    assert found(top / "a" / "b" / "up") == {top / "a" / "b": {"up"}, top: {"file"}}
    assert found(top / "a" / ".." / "file") == {top: {"file"}}


def test_of_what_is_missing_the_nearest_directory_is_watched(top: Path) -> None:
    assert found(top / "a" / "b" / "c") == {top: {"a"}}
    (top / "link").symlink_to("nowhere/file")
    assert found(top / "link") == {top: {"link", "nowhere"}}


def test_a_file_in_the_place_of_a_directory_is_waited_on(top: Path) -> None:
    (top / "a").touch()
    assert found(top / "a" / "b") == {top: {"a"}}


def test_links_in_circles_end(top: Path) -> None:
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    assert found(top / "a") == {top: {"a", "b"}}


def test_relative_paths_start_here(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    (top / "a").touch()
    assert found(Path("a")) == {top: {"a"}}


def test_a_directory_that_cannot_be_listed_is_watched_all_the_same(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    assert found(top) == {top: None}
