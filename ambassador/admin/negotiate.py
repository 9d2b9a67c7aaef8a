"""Which of two forms of an answer a client would rather have, by its `Accept` header (RFC 9110, 12.5.1)."""

from __future__ import annotations

_LONGEST = 1024
_EVERYTHING = "*/*"


def prefers(accept: str, kind: str, *, over: str) -> bool:
    """Whether `kind` is asked for more than `over`, the form that is given when in doubt.

    What is named outright weighs more than what a wildcard allows: `application/json, */*` wants JSON.
    """
    weights = _weights(accept)
    return _weight(weights, kind) > _weight(weights, over)


def _weight(weights: dict[str, float], kind: str) -> tuple[float, int]:
    for rank, pattern in ((2, kind), (1, kind.partition("/")[0] + "/*"), (0, _EVERYTHING)):
        if pattern in weights:
            return (weights[pattern], rank) if weights[pattern] else (0.0, 0)
    return 0.0, 0


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in accept[:_LONGEST].lower().split(",") if accept.strip() else [_EVERYTHING]:
        kind, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                quality = _quality(value.strip())
        weights[kind] = max(weights.get(kind, 0.0), quality)
    return weights


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
