"""Model, the base of every settings class: frozen, strict about its keys, and plain-spoken.

Faults are put into our own words where they arise, by the innermost model they concern. The words never hold the
offending value, so neither does any exception: a value may be a secret in the wrong place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ambassador.config import words
from ambassador.config.fault import KeyPath
from ambassador.config.show import show

Need = Literal[
    "client_certificates", "unix_sockets", "user_names", "tls", "passwords", "upstream_tls", "vault_certificate"
]
"""What options may ask of where they stand: an authenticator's of their listener, a protocol's of their upstream."""

EXPLAINED = "explained"
"""Error type of faults that are already in our words."""


class Model(BaseModel):
    """Settings that cannot be changed after they were checked.

    A field's docstring says its meaning, its unit and the reason of its default; it becomes the description in the
    JSON Schema. `later` names keys that a later version brings: they are refused as such, not as unknown.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=False,
        ser_json_inf_nan="null",
    )

    later: ClassVar[frozenset[str]] = frozenset()

    @property
    def needs(self) -> frozenset[Need]:
        """What a listener or an upstream must have for these options to make sense."""
        return frozenset()

    @classmethod
    def key_names(cls) -> frozenset[str]:
        """Every key this model takes, as written in a file."""
        return frozenset(cls.model_fields)

    def redacted(self, *, wary: bool = False) -> dict[str, Any]:
        """What is in force, defaults included, keyed and written as in a file, without what may be secret.

        Args:
            wary: these are a credential source's options: show no text that is not known to be a mere name.
        """
        return {name: self._shown(name, wary=wary) for name in type(self).model_fields}

    def _shown(self, name: str, *, wary: bool) -> Any:
        value = getattr(self, name)
        if isinstance(value, Model):
            return value.redacted(wary=wary)
        if isinstance(value, Mapping) and any(isinstance(inner, Model) for inner in value.values()):
            return {key: inner.redacted(wary=wary) for key, inner in value.items()}
        if isinstance(value, tuple) and any(isinstance(inner, Model) for inner in value):
            return [inner.redacted(wary=wary) for inner in value]
        return show(self, name, wary=wary)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # What pydantic prints for repr() and str(); a traceback or an assertion may show either.
        return self.redacted().items()

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # A section whose every line is commented out reads as null; it means the defaults.
        if data is None:
            data = {}
        try:
            return handler(data)
        except ValidationError as error:
            raise refusal(cls.__name__, cls.explain(error)) from None

    @classmethod
    def explain(cls, error: ValidationError) -> list[tuple[KeyPath, str]]:
        """Where and what, in our words, for each fault of `error`."""
        faults = []
        for fault in error.errors(include_url=False, include_input=False):
            loc, kind = fault["loc"], fault["type"]
            if loc[-1:] == ("[key]",):  # pydantic's way to say that the key is meant, not its value
                loc = loc[:-1]
            if kind == EXPLAINED:
                text = fault["msg"]
            elif kind == "extra_forbidden":
                text = words.unknown_key(str(loc[-1]), cls.key_names(), cls.later)
            else:
                text = words.explain(kind, fault.get("ctx", {}), fault["msg"])
            faults.append((loc, text))
        return faults


def refusal(title: str, faults: Iterable[tuple[KeyPath, str]]) -> ValidationError:
    """A ValidationError that says `faults`, in that order, and holds no input."""
    details = [
        InitErrorDetails(type=PydanticCustomError(EXPLAINED, _literal(text)), loc=loc, input=None)
        for loc, text in faults
    ]
    return ValidationError.from_exception_data(title, details, hide_input=True)


def _literal(text: str) -> Any:
    # pydantic types the template as LiteralString; ours has no placeholders and is given no context to fill any.
    return text
