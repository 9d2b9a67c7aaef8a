"""A configuration file becomes a `Config`, or the list of everything that is wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from errno import EINVAL
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ambassador.config import crosscheck, document, environment
from ambassador.config.document import Document, Malformed
from ambassador.config.fault import ConfigFaults, Fault, KeyPath
from ambassador.config.salvage import salvage
from ambassador.config.schema import Config
from ambassador.config.types import FROM_FILE

__all__ = ["ConfigFaults", "Fault", "Loaded", "load", "load_data", "load_text"]

_SECTIONS = ("vaults", "credentials", "upstreams", "listeners")
# Shorter ones would be found in any sentence.
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sound configuration and the file it came from."""

    config: Config
    file: str


def load(path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check a file.

    Args:
        path: a regular file of at most 1 MiB of UTF-8 YAML.
        environ: values for `${NAME}`.

    Raises:
        ConfigFaults: with every fault there is.
    """
    file = os.fspath(path)
    try:
        text = document.decode(_read(Path(file)))
    except Malformed as error:
        raise ConfigFaults([Fault(file, error.line, (), error.message)]) from None
    except OSError as error:
        raise ConfigFaults([Fault(file, None, (), f"cannot be read: {error.strerror}")]) from None
    return load_text(text, file, environ=environ)


def load_text(text: str, file: str = "<arguments>", *, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Check a configuration held in a text; `file` is the name it has in faults.

    Raises:
        ConfigFaults: with every fault there is.
    """
    try:
        parsed = document.parse(text)
    except Malformed as error:
        raise ConfigFaults([Fault(file, error.line, (), error.message)]) from None
    environment.expand(parsed, environ)
    return _settled(parsed, file)


def load_data(data: Mapping[str, Any], file: str = "<arguments>") -> Loaded:
    """Check a configuration built by our own code from plain dicts, lists and texts; `${` means nothing there.

    Raises:
        ConfigFaults: with every fault there is, without lines.
    """
    return _settled(Document(data=dict(data)), file)


def _read(path: Path) -> bytes:
    # Not blocking, and looked at after opening: a named pipe would hold us for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(EINVAL, "it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(document.LARGEST + 1)
    finally:
        os.close(descriptor)


def _settled(parsed: Document, file: str) -> Loaded:
    if parsed.data is None:
        message = "the configuration is empty: it needs at least upstreams and listeners"
        raise ConfigFaults([Fault(file, parsed.line(()), (), message)])
    faults = [Fault(file, line, path, message) for path, line, message in parsed.faults]
    sound, found = _validated(parsed)
    faults += _placed(found, parsed, file)
    config = sound or salvage(parsed.data, [path for path, _ in found])
    if config is not None:
        damaged = {path[:2] for path, _ in found} | {fault.path[:2] for fault in faults}
        across = crosscheck.check(config, _names(parsed.data), damaged)
        across = ((_uncounted(path) if path[:2] in damaged else path, message) for path, message in across)
        faults += _placed(across, parsed, file)
    if faults or sound is None:
        raise ConfigFaults(sorted(faults, key=lambda fault: fault.line or 0))
    return Loaded(sound, file)


def _validated(parsed: Document) -> tuple[Config | None, list[tuple[KeyPath, str]]]:
    try:
        return Config.model_validate(parsed.data, context=FROM_FILE), []
    except ValidationError as error:
        return None, [(path, _without_values(text, parsed.data, path)) for path, text in Config.explain(error)]


def _placed(found: Iterable[tuple[KeyPath, str]], parsed: Document, file: str) -> Iterator[Fault]:
    """What was found as faults with lines; nothing about a value that got lost, which has its own fault already."""
    for path, message in found:
        if not any(path[:end] in parsed.lost for end in range(1, len(path) + 1)):
            yield Fault(file, parsed.line(path), path, message)


def _without_values(text: str, data: Any, path: KeyPath) -> str:
    """`text` without the values it is about. Ours never hold them; a plug-in's own words under `credentials` might."""
    if path[:1] != ("credentials",):
        return text
    for step in path:
        inside = (isinstance(data, dict) and step in data) or (isinstance(data, list) and step in range(len(data)))
        data = data[step] if inside else None
    for value in _texts(data):
        text = text.replace(value, "***") if len(value) >= _SHORTEST_SECRET else text
    return text


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, (dict, list)):
        for inner in data.values() if isinstance(data, dict) else data:
            yield from _texts(inner)


def _names(data: Mapping[str, Any]) -> dict[str, Collection[str] | None]:
    """The names each section has in the file; None for a section that could not be read."""
    found = {section: {} if data.get(section) is None else data[section] for section in _SECTIONS}
    return {section: names if isinstance(names, dict) else None for section, names in found.items()}


def _uncounted(path: KeyPath) -> KeyPath:
    """`path` up to its first list: where items were cut away, the others no longer have their numbers."""
    return tuple(takewhile(lambda step: isinstance(step, str), path))
