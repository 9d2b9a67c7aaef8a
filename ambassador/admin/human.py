"""Numbers as a person reads them at a glance."""

from __future__ import annotations

from ambassador.admin.status import moment

DASH = "\N{EN DASH}"
"""Stands for what there is not."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def size(octets: int) -> str:
    """Bytes: `0 B`, `1.5 KiB`, `12 GiB`."""
    number = float(octets)
    unit = _UNITS[0]
    for unit in _UNITS:  # noqa: B007 - the unit it stops at is the answer
        if number < 1000:
            break
        number /= 1024
    else:
        number *= 1024  # beyond the largest unit there is none to divide for
    return f"{number:.0f} {unit}" if unit == "B" or number >= 99.5 else f"{number:.1f} {unit}"


def span(seconds: float | None) -> str:
    """A duration in its two largest units: `45 s`, `3 min 5 s`, `12 d 4 h`; under a second in milliseconds."""
    if seconds is None:
        return DASH
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in _SPANS:
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts))


def count(number: int) -> str:
    """A number with its thousands apart: `1 234 567`, by narrow spaces that do not break."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def when(wall: float | None) -> str:
    """Wall seconds as date and time to the second, UTC."""
    text = moment(wall)
    return DASH if text is None else f"{text[:10]} {text[11:19]} UTC"
