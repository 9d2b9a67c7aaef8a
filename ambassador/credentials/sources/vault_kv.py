"""A secret that lies in a Vault's key/value store, version 1 or 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from hvac.adapters import JSONAdapter
from hvac.api.secrets_engines import KvV1, KvV2
from pydantic import BeforeValidator, Field, model_validator

from ambassador.config.marks import Shown
from ambassador.config.model import Model
from ambassador.config.types import Count, VaultName, whole_number
from ambassador.config.vault import VaultPath
from ambassador.credentials.credential import KNOWN_FIELDS
from ambassador.credentials.sources.base import Fetched
from ambassador.credentials.vault.answers import block
from ambassador.credentials.vault.failure import Kind, malformed
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.source import VaultSource

FieldName = Annotated[str, Field(min_length=1, max_length=128), Shown()]


class VaultKvOptions(Model):
    """`vault_kv:` of a credential."""

    vault: VaultName
    """The Vault, an entry of `vaults`."""

    path: VaultPath
    """The secret's path below the mount, without `data/`."""

    mount: VaultPath = "secret"
    """Where the key/value store is mounted."""

    engine: Annotated[int, Field(ge=1, le=2), BeforeValidator(whole_number)] = 2
    """Version of the key/value store."""

    version: Count | None = None
    """Which version of the secret; the newest without it. Only where `engine` is 2."""

    fields: dict[FieldName, FieldName] = Field(default_factory=dict)
    """Which key of the secret is which field: `{password: db_pass}`. Without it `username`, `password`, `tls.crt`,
    `tls.key` and `ca.crt` are taken as they are, and other keys are left alone."""

    @model_validator(mode="after")
    def _versioned(self) -> Self:
        if self.version is not None and self.engine == 1:
            raise ValueError("a key/value store of version 1 keeps no versions: remove version, or set engine: 2")
        return self


class VaultKv(VaultSource):
    """Reads the secret; it is polled."""

    Options: ClassVar[type[Model]] = VaultKvOptions
    options: VaultKvOptions

    async def fetch(self) -> Fetched:
        options = self.options
        # The path that a policy must allow, which is not the one that people know.
        doing = f"read {options.mount}/{'data/' if options.engine == 2 else ''}{options.path}"
        answer = await self.vault.ask(Operation.READ_SECRET, doing, self._read)
        data = block(answer, "data")
        if options.engine == 2 and data is not None:
            data = block(data, "data")
        if data is None:
            raise malformed(self.vault.name, doing, "data")
        return Fetched(self._fields(data, doing))

    def describe(self) -> str:
        options = self.options
        pinned = "" if options.version is None else f" version {options.version}"
        return f"vault {options.vault} {options.mount}/{options.path}{pinned}"

    def _read(self, adapter: JSONAdapter) -> Any:
        options = self.options
        if options.engine == 1:
            return KvV1(adapter).read_secret(options.path, mount_point=options.mount)
        return KvV2(adapter).read_secret_version(
            options.path, version=options.version, mount_point=options.mount, raise_on_deleted_version=True
        )

    def _fields(self, data: Mapping[str, Any], doing: str) -> dict[str, bytes]:
        wanted = self.options.fields or {name: name for name in KNOWN_FIELDS if name in data}
        if not wanted:
            keys = "none of the keys " + ", ".join(KNOWN_FIELDS)
            raise self.error(Kind.MISSING, doing, f"the secret has {keys}: name its own with fields")
        found = {}
        for field, key in wanted.items():
            value = data.get(key)
            if not isinstance(value, str):
                what = "no key" if key not in data else "no text under the key"
                raise self.error(Kind.MISSING, doing, f"the secret has {what} {key!r}")
            found[field] = value.encode("utf-8", "surrogatepass")
        return found
