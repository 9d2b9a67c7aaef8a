"""Settings whose kind is named by the key that carries its options: `file: {path: ...}`, `postgres: {...}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator

from ambassador import registry
from ambassador.config import words
from ambassador.config.fault import KeyPath
from ambassador.config.later import LATER
from ambassador.config.model import Model, refusal


class Keyed(Model):
    """A union over one table of the registry, keyed as in Kubernetes.

    The key becomes the attribute `kind_field`; what it holds becomes `options`, an instance of the model that the
    plug-in declares as its attribute `options_attribute`. Our own code may hand in both attributes ready-made.
    """

    table: ClassVar[registry.Table]
    kind_field: ClassVar[str]
    options_attribute: ClassVar[str] = "Options"
    kind_required: ClassVar[bool] = True
    noun: ClassVar[str]
    wary: ClassVar[bool] = False
    """Whether the options may hold secrets."""

    @classmethod
    def key_names(cls) -> frozenset[str]:
        own = frozenset(cls.model_fields) - {cls.kind_field, "options"}
        return own | frozenset(registry.entries(cls.table))

    @classmethod
    def options_model(cls, kind: str) -> type[Model]:
        """The model of the options of `kind`.

        Raises:
            KeyError: the registry has no such entry.
            ImportError, AttributeError: its plug-in cannot be loaded.
        """
        model: type[Model] = getattr(registry.resolve(cls.table, kind), cls.options_attribute)
        return model

    def redacted(self, *, wary: bool = False) -> dict[str, Any]:
        shown = super().redacted(wary=wary)
        kind = shown.pop(self.kind_field)
        del shown["options"]
        options = getattr(self, "options", None)
        own = {} if options is None else {kind: options.redacted(wary=wary or self.wary)}
        return own | shown

    @model_validator(mode="wrap")
    @classmethod
    def _keyed(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if data is None:
            data = {}
        if not isinstance(data, Mapping) or isinstance(data.get("options"), Model):
            return handler(data)
        kinds = [key for key in data if key in registry.entries(cls.table)]
        rest = {key: value for key, value in data.items() if key not in kinds}
        faults = cls._misnamed(kinds, rest)
        if kinds:
            rest["options"] = cls._options(kinds[0], data[kinds[0]], info.context, faults)
            rest[cls.kind_field] = kinds[0]
        elif cls.kind_required:
            rest |= {cls.kind_field: "", "options": Model()}
        try:
            model = handler(rest)
        except ValidationError as error:
            raise refusal(cls.__name__, [*faults, *cls.explain(error)]) from None
        if faults:
            raise refusal(cls.__name__, faults)
        return model

    @classmethod
    def _misnamed(cls, kinds: list[str], rest: dict[str, Any]) -> list[tuple[KeyPath, str]]:
        """Faults in naming the kind; takes out of `rest` what is an attribute but no key."""
        faults: list[tuple[KeyPath, str]] = []
        for attribute in (cls.kind_field, "options"):
            if attribute in rest:
                del rest[attribute]
                faults.append(((attribute,), words.unknown_key(attribute, cls.key_names())))
        faults += [((second,), f"{kinds[0]!r} stands here already: keep one {cls.noun}") for second in kinds[1:]]
        # An unknown key is most likely the misspelt kind, and is refused by itself.
        if cls.kind_required and not kinds and not faults and rest.keys() <= cls.key_names():
            faults.append(((), f"no {cls.noun} is named: add one of {', '.join(sorted(registry.entries(cls.table)))}"))
        return faults

    @classmethod
    def _options(cls, kind: str, data: Any, context: Any, faults: list[tuple[KeyPath, str]]) -> Model:
        try:
            return cls.options_model(kind).model_validate({} if data is None else data, context=context)
        except ValidationError as error:
            faults += [((kind, *loc), text) for loc, text in cls.explain(error)]
        except (ImportError, AttributeError) as error:
            faults.append(((kind,), f"its code cannot be loaded: {error}"))
        except Exception as error:  # noqa: BLE001 - a plug-in's own checks may choke on a value in any way
            faults.append(((kind,), f"is not valid here ({type(error).__name__})"))
        return Model()


def later(table: registry.Table, others: Iterable[str] = ()) -> frozenset[str]:
    """Keys to refuse as coming later: those of `table` that the registry does not have yet, and `others`."""
    return (LATER[table] - frozenset(registry.entries(table))) | frozenset(others)
