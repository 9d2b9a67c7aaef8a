"""Everything that can be extended, one line each: protocols, credential sources, authenticators, discoveries, logins.

Entries are strings, so that nothing is imported until a configuration names it. `resolve` is the one dynamic
import of the project. Installed packages may add entries through the entry point group `ambassador.plugins`
(named `protocols.memcached`, `sources.gcp_secret`, ...); they may not replace ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Literal

Table = Literal["protocols", "sources", "authenticators", "discoveries", "vault_logins"]

PROTOCOLS = {
    "tcp": "ambassador.protocols.tcp:Tcp",
    "postgres": "ambassador.protocols.postgres.protocol:Postgres",
    "redis": "ambassador.protocols.redis.protocol:Redis",
}

SOURCES = {
    "file": "ambassador.credentials.sources.file:File",
    "env": "ambassador.credentials.sources.env:Env",
    "exec": "ambassador.credentials.sources.exec:Exec",
    "vault_kv": "ambassador.credentials.sources.vault_kv:VaultKv",
    "vault_database": "ambassador.credentials.sources.vault_database:VaultDatabase",
    "vault_pki": "ambassador.credentials.sources.vault_pki:VaultPki",
}

AUTHENTICATORS = {
    "trust": "ambassador.access.trust:Trust",
    "password": "ambassador.access.password:Password",
    "mtls": "ambassador.access.mtls:Mtls",
    "peer": "ambassador.access.peer:PeerUser",
}

DISCOVERIES = {
    "static": "ambassador.discovery.static:Static",
    "sentinel": "ambassador.discovery.sentinel:Sentinel",
}

VAULT_LOGINS = {
    "token": "ambassador.credentials.vault.logins.token:TokenLogin",
    "token_file": "ambassador.credentials.vault.logins.token_file:TokenFileLogin",
    "kubernetes": "ambassador.credentials.vault.logins.kubernetes:KubernetesLogin",
    "approle": "ambassador.credentials.vault.logins.approle:AppRoleLogin",
    "jwt": "ambassador.credentials.vault.logins.jwt:JwtLogin",
    "userpass": "ambassador.credentials.vault.logins.userpass:UserpassLogin",
    "cert": "ambassador.credentials.vault.logins.cert:CertLogin",
}

PLUGIN_GROUP = "ambassador.plugins"

_OURS: Mapping[Table, Mapping[str, str]] = MappingProxyType(
    {
        "protocols": PROTOCOLS,
        "sources": SOURCES,
        "authenticators": AUTHENTICATORS,
        "discoveries": DISCOVERIES,
        "vault_logins": VAULT_LOGINS,
    }
)


@cache
def entries(table: Table) -> Mapping[str, str]:
    """Names of one table and where each is found (`module:attribute`), ours first, then installed plug-ins'."""
    found = dict(_OURS[table])
    for point in entry_points(group=PLUGIN_GROUP):
        kind, _, name = point.name.partition(".")
        if kind == table and name:
            found.setdefault(name, point.value)
    return MappingProxyType(found)


@cache
def resolve(table: Table, name: str) -> Any:
    """Import and return the entry `name` of `table`.

    Raises:
        KeyError: no such entry; the caller knows the words to refuse it with.
    """
    module, _, attribute = entries(table)[name].partition(":")
    return getattr(import_module(module), attribute)
