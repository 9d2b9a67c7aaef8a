"""What is wrong, in words that help and that hold no value from the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

_MOST_LISTED = 24

_FIXED = {
    "missing": "this key is required",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping (lines of key: value)",
    "model_type": "must be a mapping (lines of key: value)",
    "model_attributes_type": "must be a mapping (lines of key: value)",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "path_type": "must be a path",
    "ip_any_network": "networks look like 10.0.0.0/8 or fd00::/8",
    "ip_any_address": "must be an IP address",
    "url_parsing": "must be a URL",
    "finite_number": "must be a finite number",
}

_BOUNDS = {
    "greater_than": ("gt", "must be greater than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "too_short": ("min_length", "must have at least {} entries"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "too_long": ("max_length", "must have at most {} entries"),
    "string_too_long": ("max_length", "must have at most {} characters"),
    "string_pattern_mismatch": ("pattern", "must match {}"),
}


def explain(kind: str, context: Mapping[str, Any], text: str) -> str:
    """A sentence for a fault of pydantic's type `kind`.

    `context` and `text` are pydantic's; only the parts of them that come from our own schema or validators are used.
    """
    if kind in _FIXED:
        return _FIXED[kind]
    if kind in _BOUNDS:
        key, sentence = _BOUNDS[kind]
        return "must not be empty" if (key, context[key]) == ("min_length", 1) else sentence.format(context[key])
    if kind in {"literal_error", "enum"}:
        return f"must be {context['expected']}"
    if kind in {"value_error", "assertion_error"}:
        return str(context["error"])
    # A PydanticCustomError of our own rooms says it itself.
    return text if kind.startswith("ambassador_") else f"is not valid here ({kind.replace('_', ' ')})"


def unknown_key(key: str, known: Collection[str], later: Collection[str] = ()) -> str:
    """Refuse `key`, suggesting the nearest of `known`; or say that it comes with a later version."""
    if key in later:
        return not_available(repr(key))
    return f"unknown key{suggestion(key, known)}"


def suggestion(wrong: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?`, or else what there is, or nothing."""
    names = sorted(filter(str.isprintable, known))
    near = get_close_matches(wrong, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(names)}" if 0 < len(names) <= _MOST_LISTED else ""


def not_available(what: str) -> str:
    """The plain refusal of what a later version brings."""
    return f"{what} is not available in this version"
