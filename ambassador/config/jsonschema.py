"""The JSON Schema (draft 2020-12) of the configuration, for editors and for `ambassador schema`.

pydantic writes that of the classes. What it cannot know is added: a keyed union has one property for each entry of
its table in the registry, with the schema of that plug-in's options; and any value may be a `${VARIABLE}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from ambassador import registry
from ambassador.config.address import Address
from ambassador.config.keyed import Keyed
from ambassador.config.model import Model
from ambassador.config.schema import (
    AccessSettings,
    Config,
    CredentialSettings,
    DiscoverySettings,
    ListenerSettings,
    UpstreamSettings,
    VaultAuthSettings,
)
from ambassador.config.types import DURATION_PATTERN, FILE_MODE_PATTERN, written_duration, written_file_mode

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_UNIONS: Final[tuple[type[Keyed], ...]] = (
    AccessSettings,
    CredentialSettings,
    DiscoverySettings,
    ListenerSettings,
    UpstreamSettings,
    VaultAuthSettings,
)
_WRITTEN: Final[dict[str, Callable[[Any], str]]] = {
    DURATION_PATTERN: written_duration,
    FILE_MODE_PATTERN: written_file_mode,
}
_VARIABLE: Final = "Variable"
_KEPT: Final = frozenset({"description", "default", "restart"})

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema, with every plug-in of the registry in it.

    Raises:
        ImportError, AttributeError: a plug-in cannot be loaded.
    """
    schema = _of_model(Config, "#/$defs/{model}")
    definitions = schema["$defs"]
    definitions.pop(Model.__name__, None)
    for union in _UNIONS:
        _add_kinds(union, definitions)
    definitions[_VARIABLE] = {
        "description": "The value of an environment variable.",
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}",
    }
    return {"$schema": DIALECT, "title": "Configuration of ambassador"} | schema


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, tuple) and all(isinstance(item, Address) for item in dft):
            return [str(item) for item in dft]
        return super().encode_default(dft)


def _of_model(model: type[Model], ref_template: str) -> Schema:
    schema = model.model_json_schema(ref_template=ref_template, schema_generator=_Generator)
    definitions = {name: _tidy(inner) for name, inner in schema.pop("$defs", {}).items()}
    tidied: Schema = _tidy(schema)
    return tidied | {"$defs": definitions}


def _tidy(schema: Any) -> Any:
    """Drop what repeats the key's name or a section's own defaults, write defaults as people do, allow variables."""
    if isinstance(schema, list):
        return [_tidy(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(inner) for key, inner in schema.items() if key not in {"title", "properties"}}
    if "properties" in schema:
        tidy["properties"] = {name: _tidy(inner) for name, inner in schema["properties"].items()}
    if "description" in tidy:
        tidy["description"] = " ".join(tidy["description"].split())
    if isinstance(tidy.get("default"), dict):
        del tidy["default"]
    if (write := _WRITTEN.get(tidy.get("pattern", ""))) is not None and isinstance(tidy.get("default"), (int, float)):
        tidy["default"] = write(tidy["default"])
    scalar = "enum" in tidy or tidy.get("type") in ("boolean", "integer", "number")
    return _or_variable(tidy) if scalar else tidy


def _or_variable(schema: Schema) -> Schema:
    about = {key: inner for key, inner in schema.items() if key in _KEPT}
    value = {key: inner for key, inner in schema.items() if key not in _KEPT}
    return {"anyOf": [value, {"$ref": f"#/$defs/{_VARIABLE}"}]} | about


def _add_kinds(union: type[Keyed], definitions: dict[str, Schema]) -> None:
    """Replace the attributes `kind_field` and `options` by one property for each kind there is."""
    schema = definitions[union.__name__]
    own = {union.kind_field, "options"}
    kinds = sorted(registry.entries(union.table))
    schema["properties"] = {kind: _kind(union, kind, definitions) for kind in kinds} | {
        key: inner for key, inner in schema["properties"].items() if key not in own
    }
    required = [key for key in schema.pop("required", []) if key not in own]
    if required:
        schema["required"] = required
    choices: list[Schema] = [{"required": [kind]} for kind in kinds]
    schema["oneOf"] = choices if union.kind_required else [*choices, {"not": {"anyOf": choices}}]


def _kind(union: type[Keyed], kind: str, definitions: dict[str, Schema]) -> Schema:
    """The schema of one kind's options; its definitions are added under names of their own."""
    prefix = f"{union.table}.{kind}.{union.options_attribute}"
    schema = _of_model(union.options_model(kind), f"#/$defs/{prefix}.{{model}}")
    definitions |= {f"{prefix}.{name}": inner for name, inner in _definitions(schema).items()}
    definitions[prefix] = schema
    return {"anyOf": [{"$ref": f"#/$defs/{prefix}"}, {"type": "null"}], "description": schema.get("description", kind)}


def _definitions(schema: Schema) -> Mapping[str, Schema]:
    found: Mapping[str, Schema] = schema.pop("$defs")
    return found
