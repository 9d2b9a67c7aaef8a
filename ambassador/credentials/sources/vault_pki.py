"""A certificate that a Vault issues, with its key: shown to an upstream, or to our own clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from hvac.adapters import JSONAdapter
from hvac.api.secrets_engines import Pki
from pydantic import Field

from ambassador.config.marks import Shown
from ambassador.config.model import Model
from ambassador.config.types import Timeout, VaultName
from ambassador.config.vault import VaultPath, VaultRole
from ambassador.credentials.credential import AUTHORITIES, CERTIFICATE, KEY
from ambassador.credentials.sources.base import Fetched
from ambassador.credentials.vault.answers import block, moment, text
from ambassador.credentials.vault.failure import malformed
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.source import VaultSource

NameOf = Annotated[str, Field(min_length=1, max_length=253), Shown()]


class VaultPkiOptions(Model):
    """`vault_pki:` of a credential."""

    vault: VaultName
    """The Vault, an entry of `vaults`."""

    role: VaultRole
    """The role that says what may be issued."""

    common_name: NameOf
    """Common name of the certificate."""

    mount: VaultPath = "pki"
    """Where the PKI engine is mounted."""

    alt_names: tuple[NameOf, ...] = ()
    """Further DNS names and mail addresses."""

    ip_sans: tuple[NameOf, ...] = ()
    """IP addresses."""

    uri_sans: tuple[NameOf, ...] = ()
    """URIs, as SPIFFE has them."""

    ttl: Timeout | None = None
    """How long it is to be good; the role's own time without it."""


class VaultPki(VaultSource):
    """Has a new certificate issued at each fetch. Old ones are not revoked: they end by themselves."""

    Options: ClassVar[type[Model]] = VaultPkiOptions
    brings_password = False
    options: VaultPkiOptions

    @property
    def makes_new(self) -> bool:
        return True

    async def fetch(self) -> Fetched:
        doing = f"get a certificate from {self.options.mount}/issue/{self.options.role}"
        answer = await self.vault.ask(Operation.ISSUE_CERTIFICATE, doing, self._issue)
        data = block(answer, "data") or {}
        certificate, key, expiration = text(data, "certificate"), text(data, "private_key"), data.get("expiration")
        not_after = moment(expiration)
        if certificate is None or key is None or not_after is None:
            raise malformed(self.vault.name, doing, "certificate, private_key and expiration")
        chain = _chain(data)
        fields = {CERTIFICATE: "\n".join([certificate, *chain]), KEY: key}
        if (root := chain[-1] if chain else text(data, "issuing_ca")) is not None:
            fields[AUTHORITIES] = root
        return Fetched({name: value.encode() for name, value in fields.items()}, not_after)

    def describe(self) -> str:
        options = self.options
        return f"vault {options.vault} {options.mount}/issue/{options.role} for {options.common_name}"

    def _issue(self, adapter: JSONAdapter) -> Any:
        options = self.options
        lists = {"alt_names": options.alt_names, "ip_sans": options.ip_sans, "uri_sans": options.uri_sans}
        more: dict[str, Any] = {name: ",".join(values) for name, values in lists.items() if values}
        if options.ttl is not None:
            more["ttl"] = f"{int(options.ttl)}s"
        return Pki(adapter).generate_certificate(options.role, options.common_name, more, options.mount)


def _chain(data: Mapping[str, Any]) -> list[str]:
    """The certificates between ours and the root, the root included where the Vault shows it."""
    chain = data.get("ca_chain")
    return [one for one in chain if isinstance(one, str)] if isinstance(chain, list) else []
