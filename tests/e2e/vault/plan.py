"""A configuration whose credentials come from a real Vault, in the making."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ambassador.demo.servers import free_port
from tests.e2e.where import Where
from tests.support.openbao import OpenBao
from tests.support.openbao_auth import AppRole, Role
from tests.support.postgres import PostgresServer
from tests.support.valkey import ValkeyServer

GIVING_BACK = 'path "sys/leases/revoke" { capabilities = ["update"] }'
"""What the default policies of Vault and OpenBao lack."""

DATABASE = "postgres"


class Plan:
    """What goes into the file, but for its `admin` section. One Vault is called `main`.

    Args:
        home: where the files lie that it names.

    Attributes:
        vaults, credentials, upstreams, listeners: the sections.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.vaults: dict[str, Any] = {}
        self.credentials: dict[str, Any] = {}
        self.upstreams: dict[str, Any] = {}
        self.listeners: dict[str, Any] = {}

    def vault(self, bao: OpenBao, *rules: str, name: str = "main", **more: Any) -> AppRole:
        """A Vault where we log in as an application that may do what the rules say, and give back leases.

        Args:
            more: of the Vault's settings; `token_ttl` and `token_max_ttl` are the role's.
        """
        times = {key: more.pop(key) for key in ("token_ttl", "token_max_ttl") if key in more}
        policy = bao.policy(self.policy(name), "\n".join([*rules, GIVING_BACK]))
        role = bao.approle(policy, **times)
        (self.home / f"{name}-secret-id").write_text(role.secret_id())
        self.login(bao, "approle", name=name, **self.as_application(role, name), **more)
        return role

    def policy(self, vault: str = "main") -> str:
        """The name of the policy that `vault` makes."""
        return f"{vault}-{self.home.name}".lower()

    def as_application(self, role: AppRole, name: str = "main") -> dict[str, Any]:
        """The settings of an approle login."""
        file = self.home / f"{name}-secret-id"
        return {"options": {"role_id": role.role_id, "secret_id_file": str(file), "mount": role.mount}}

    def login(self, bao: OpenBao, method: str, *, options: dict[str, Any], name: str = "main", **more: Any) -> None:
        """A Vault where we log in by that method."""
        self.vaults[name] = {"address": bao.url, "auth": {method: options}, **more}

    def lent(self, name: str, source: str, *, vault: str = "main", settings: Any = None, **options: Any) -> None:
        """A credential that a Vault gives; `settings` are the credential's own."""
        self.credentials[name] = {source: {"vault": vault, **options}, **(settings or {})}

    def postgres(self, name: str, server: PostgresServer, credential: str | None = None, **more: Any) -> Where:
        """An upstream at a PostgreSQL and a listener before it, both called so.

        Args:
            credential: what it logs in with; by default the one called so.
            more: of the upstream; `listener=` of the listener.
        """
        own = more.pop("listener", {})
        entry = {"endpoints": [f"127.0.0.1:{server.port}"], "credential": credential or name, **more}
        self.upstreams[name] = entry
        port = free_port()
        self.listeners[name] = {"listen": f"127.0.0.1:{port}", "postgres": {"upstream": name}, **own}
        return Where(port, "alice", DATABASE)

    def redis(self, name: str, server: ValkeyServer, credential: str, mode: str) -> int:
        """An upstream at a Valkey and a listener before it, both called so; returns the port."""
        entry = {"endpoints": [f"127.0.0.1:{server.port}"], "credential": credential, "redis": {"mode": mode}}
        self.upstreams[name] = entry
        port = free_port()
        self.listeners[name] = {"listen": f"127.0.0.1:{port}", "redis": {"upstream": name}}
        return port

    def text(self, **more: Any) -> str:
        """The file's text."""
        sections = {
            "vaults": self.vaults,
            "credentials": self.credentials,
            "upstreams": self.upstreams,
            "listeners": self.listeners,
        }
        # There and back again, so that what is used twice is written twice: anchors are not taken.
        return yaml.safe_dump(json.loads(json.dumps({**sections, **more})), sort_keys=False)


def logins(role: Role) -> list[str]:
    """The accessors of all tokens that were got by logging in there, and have not ended."""
    api, found = role.server, []
    for accessor in api.listed("auth/token/accessors"):
        # It may end between the two questions.
        told = api.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        if told.status == 200 and told.body["data"]["path"].startswith(f"auth/{role.mount}/login"):
            found.append(accessor)
    return found
