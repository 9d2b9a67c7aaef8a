"""A mounted Secret: a directory with one file per key, or a single file with a password."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from ambassador.config.marks import Shown
from ambassador.config.model import Model
from ambassador.config.watch import watch
from ambassador.credentials import mounted, mounts
from ambassador.credentials.credential import KNOWN_FIELDS, PASSWORD, USERNAME
from ambassador.credentials.sources.base import Change, Fetched, Source, without_newline
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import Clock

_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z", re.ASCII)
MOUNTINFO = Path("/proc/self/mountinfo")


def _field_name(value: str) -> str:
    if not _FIELD.match(value):
        raise ValueError("names of fields are made of letters, digits and . _ -")
    return value


def _file_name(value: str) -> str:
    parts = PurePosixPath(value).parts
    if not parts or "\0" in value or value.startswith("/") or any(part.startswith("..") for part in parts):
        raise ValueError("must be the name of a file inside the directory")
    return value


FieldName = Annotated[str, AfterValidator(_field_name), Shown()]
FileName = Annotated[str, AfterValidator(_file_name), Shown()]
FileNames = Annotated[dict[FieldName, FileName], Field(max_length=32)]


class FileOptions(Model):
    """`file:` of a credential."""

    path: Path
    """A directory whose files are the fields, as Kubernetes mounts a Secret; or one file that holds the password.
    One newline at the end of a file is not part of its value."""

    keys: FileNames = Field(default_factory=dict)
    """Names of the files by field, where they differ from `username`, `password`, `tls.crt`, `tls.key`, `ca.crt`,
    or for fields beyond these. Files named here must exist; no other file is read."""

    username: Annotated[str, Field(min_length=1), Shown()] | None = None
    """User name, where the Secret holds only a password."""


class File(Source):
    """Reads all files of one generation together, so that user and password never come from different ones."""

    Options: ClassVar[type[Model]] = FileOptions
    options: FileOptions

    async def fetch(self) -> Fetched:
        loop = asyncio.get_running_loop()
        try:
            fields = await loop.run_in_executor(None, self._read)
        except mounted.Unreadable as error:
            raise CredentialError(Reason.SOURCE_FAILED, f"credential {self.name!r}: {error}") from None
        return Fetched(fields)

    def describe(self) -> str:
        return f"file {self.options.path}"

    def changes(self, *, poll: float, debounce: float, clock: Clock) -> AsyncGenerator[Change]:
        path = self.options.path
        # Files further down are not among the directory's own.
        nested = [path / name for name in self.options.keys.values() if "/" in name]
        return _values(watch((path, *nested), poll=poll, debounce=debounce, clock=clock))

    async def warnings(self) -> tuple[str, ...]:
        frozen = await asyncio.get_running_loop().run_in_executor(None, self._frozen)
        return tuple(
            f"{path} is mounted by itself (in Kubernetes: with subPath), so it never shows a new value: "
            "mount the directory of the Secret instead"
            for path in frozen
        )

    def _read(self) -> dict[str, bytes]:
        path, keys = self.options.path, self.options.keys
        if path.is_dir():
            return self._with_username(self._read_directory(path, self._files()))
        if keys:
            raise mounted.Unreadable(f"{path} is no directory, so `keys` cannot name files in it")
        return self._with_username({PASSWORD: without_newline(mounted.read_file(path))})

    def _read_directory(self, path: Path, files: Mapping[str, str]) -> dict[str, bytes]:
        contents = mounted.read_files(path, files.values())
        for field in self.options.keys:
            if files.get(field) not in contents:
                raise mounted.Unreadable(f"{path / files[field]}, named as the {field}, does not exist")
        return {field: without_newline(contents[name]) for field, name in files.items() if name in contents}

    def _with_username(self, fields: dict[str, bytes]) -> dict[str, bytes]:
        if self.options.username is not None:
            fields[USERNAME] = self.options.username.encode()
        return fields

    def _files(self) -> dict[str, str]:
        """Names of the files to read, by field."""
        files = {field: field for field in KNOWN_FIELDS} | self.options.keys
        if self.options.username is not None:
            del files[USERNAME]
        return files

    def _frozen(self) -> tuple[PurePosixPath, ...]:
        path = self.options.path.absolute()
        paths = [path / name for name in self._files().values()] if path.is_dir() else [path]
        try:
            table = mounts.parse(MOUNTINFO.read_text(errors="surrogateescape"))
        except OSError:  # no /proc: nothing is known, and nothing is claimed
            return ()
        return mounts.frozen([PurePosixPath(each) for each in paths if each.exists()], table)


async def _values(changes: AsyncGenerator[None]) -> AsyncGenerator[Change]:
    async with aclosing(changes):
        async for _ in changes:
            yield Change.VALUE
