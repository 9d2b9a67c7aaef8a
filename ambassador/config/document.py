"""YAML text becomes plain values and the line of every one of them, strictly.

YAML has more doors than settings need, and some lead outside: aliases that grow without bound, tags that make
objects, keys that silently win over their twins, words that are booleans in one version and text in the next. Here
they are faults with a line. Scalars follow the core schema of YAML 1.2 (§10.3.2) in decimal; what its versions read
differently (`yes`, `0660`, `0o660`, `1:30`) stays text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from ambassador.config.fault import KeyPath

LARGEST: Final = 1 << 20
"""Bytes a file may have."""

DEEPEST: Final = 32
"""How deep values may be nested; the model needs eight."""

MOST: Final = 50_000
"""How many values there may be: a thousand listeners with everything set."""

# The C parser where PyYAML has it; the events of both are the same.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}\Z", re.ASCII)
_WORDS: Final[dict[str, Any]] = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
)
# What YAML 1.2 §5.1 does not let stand in a text.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUOTED = re.compile(r"""(['"])[^'"\s]{4,}\1""")


class Malformed(Exception):
    """The text cannot be read on: the line (1-based) and why."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(slots=True)
class Document:
    """What a text holds.

    Args:
        data: plain dicts, lists, text, ints, floats, booleans and None.
        lines: line (1-based) of every value by its path; in a mapping, the line of the key.
        faults: path, line and message of what is wrong but does not hinder reading on.
        lost: paths of values that could not be had; something stands in their place.
    """

    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[tuple[KeyPath, int | None, str]] = field(default_factory=list)
    lost: set[KeyPath] = field(default_factory=set)

    def line(self, path: KeyPath) -> int | None:
        """The line of the value at `path`, or of the nearest one around it."""
        for end in range(len(path), -1, -1):
            if (line := self.lines.get(path[:end])) is not None:
                return line
        return None


def decode(raw: bytes) -> str:
    """The text of a file.

    Raises:
        Malformed: it is too large, not UTF-8, or holds control characters.
    """
    if len(raw) > LARGEST:
        raise Malformed(1, f"the file is larger than {LARGEST >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(raw.count(b"\n", 0, error.start) + 1, "the file is not UTF-8 text") from None


def parse(text: str) -> Document:
    """Read one YAML document.

    Raises:
        Malformed: the text is no YAML, or more of it than is taken.
    """
    if len(text) > LARGEST:
        raise Malformed(1, f"the text is larger than {LARGEST >> 20} MiB")
    if (bad := _UNPRINTABLE.search(text)) is not None:
        line = text.count("\n", 0, bad.start()) + 1
        raise Malformed(line, f"the character U+{ord(bad[0]):04X} may not stand in a text file")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _malformed(text, error) from None
    return builder.document


def _malformed(text: str, error: yaml.MarkedYAMLError) -> Malformed:
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark is not None else 0
    line = text.split("\n")[number : number + 1]
    if line and "\t" in line[0][: len(line[0]) - len(line[0].lstrip())]:
        return Malformed(number + 1, "tabs may not indent: use spaces")
    # PyYAML's own scanner quotes what it met, and that may be a secret in the wrong place.
    problem = _QUOTED.sub("…", error.problem or "it cannot be read on from here")
    return Malformed(number + 1, f"not valid YAML: {problem}")


class _Open:
    """A mapping or list whose end has not come yet."""

    __slots__ = ("key", "path", "twin", "value")

    def __init__(self, path: KeyPath, value: dict[str, Any] | list[Any], *, twin: bool) -> None:
        self.path = path
        self.value = value
        self.twin = twin  # its key, or one around it, stood there already
        self.key: KeyPath | None = None


class _Builder:
    """Takes parser events one at a time, so that nothing recurses however deep the text is."""

    def __init__(self) -> None:
        self.document = Document()
        self._open: list[_Open] = []
        self._begun = False
        self._twin = False

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._start(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._twin = self._open.pop().twin
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            if self._begun:
                raise Malformed(_line(event), "one document is taken: nothing may follow the line '---'")
            self._begun = True

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._awaits_key():
            self._key(event)
            return
        value = _resolve(event.value) if event.implicit[0] else event.value
        self._plain(event, self._place(event, value))

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if self._awaits_key():
            raise Malformed(_line(event), "keys are plain text")
        if len(self._open) >= DEEPEST:
            raise Malformed(_line(event), f"values are nested deeper than {DEEPEST}")
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._place(event, value)
        self._plain(event, path)
        self._open.append(_Open(path, value, twin=self._twin))

    def _alias(self, event: yaml.AliasEvent) -> None:
        if self._awaits_key():
            raise Malformed(_line(event), "keys are plain text")
        path = self._place(event, None)
        self.document.lost.add(path)
        self._fault(path, event, "aliases (*name) are not taken: write the value out")

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _key(self, event: yaml.ScalarEvent) -> None:
        around = self._open[-1]
        key = event.value
        around.key = path = (*around.path, key)
        self._plain(event, path)
        if key == "<<" and event.implicit[0]:
            self.document.lost.add(path)
            self._fault(path, event, "merge keys (<<) are not taken: write the values out")
        elif not key:
            self._fault(path, event, "a key is missing before the colon")
        self._twin = around.twin or path in self.document.lines
        if self._twin and not around.twin:
            self._fault(path, event, f"this key stands in line {self.document.lines[path]} already")
        self.document.lines.setdefault(path, _line(event))

    def _place(self, event: yaml.NodeEvent, value: Any) -> KeyPath:
        """Put `value` where it belongs; of twins the first stays. Returns its path."""
        if not self._open:
            self.document.data = value
            self.document.lines[()] = _line(event)
            return ()
        around = self._open[-1]
        if isinstance(around.value, list):
            path = (*around.path, len(around.value))
            self._twin = around.twin
            around.value.append(value)
            self.document.lines[path] = _line(event)
        else:
            path, around.key = around.key or (), None
            around.value.setdefault(str(path[-1]), value)
        if len(self.document.lines) > MOST:
            raise Malformed(_line(event), f"there are more than {MOST} values")
        return path

    def _plain(self, event: yaml.NodeEvent, path: KeyPath) -> None:
        if event.anchor is not None:
            self._fault(path, event, "anchors (&name) are not taken: write the value out where it is needed")
        if getattr(event, "tag", None) is not None:
            self._fault(path, event, "tags (!name) are not taken: put text that begins with ! in quotes")

    def _fault(self, path: KeyPath, event: yaml.NodeEvent, message: str) -> None:
        self.document.faults.append((path, _line(event), message))


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return int(mark.line) + 1 if mark is not None else 1


def _resolve(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text
