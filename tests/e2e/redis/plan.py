"""A configuration with Redis upstreams, in the making."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ambassador.demo.servers import free_port
from tests.support.certificates import Authority
from tests.support.secrets import SecretDir
from tests.support.valkey import Account, ValkeyServer

MODES = ("multiplex", "dedicated")


class Plan:
    """What goes into the file, but for its `admin` section.

    Args:
        home: where its Secrets lie.
        authority: signs certificates of servers.

    Attributes:
        secrets: the mounted Secrets by the credential's name.
    """

    def __init__(self, home: Path, authority: Authority | None = None) -> None:
        self._home = home
        self._authority = authority
        self._sections: dict[str, dict[str, Any]] = {"credentials": {}, "upstreams": {}, "listeners": {}}
        self.secrets: dict[str, SecretDir] = {}

    def secret(self, name: str, account: Account, **more: Any) -> SecretDir:
        """A mounted Secret with a login, and the credential of that name which is read from it, with more settings."""
        content = {"username": account.name, "password": account.password}
        self.secrets[name] = SecretDir(self._home / name, content)
        self._sections["credentials"][name] = {"file": {"path": str(self._home / name)}, **more}
        return self.secrets[name]

    def upstream(self, name: str, server: ValkeyServer | int, credential: str | None, **more: Any) -> None:
        """An upstream at a server, or at a port of this machine; `redis=` are its options."""
        port = server if isinstance(server, int) else server.port
        entry = {"endpoints": [f"127.0.0.1:{port}"], "credential": credential, **more}
        self._sections["upstreams"][name] = {key: value for key, value in entry.items() if value is not None}

    def tls(self) -> dict[str, Any]:
        """TLS to an upstream, verified in full."""
        assert self._authority is not None
        return {"ca": str(self._authority.file)}

    def listener(self, name: str, upstream: str, *, redis: Mapping[str, Any] | None = None, **more: Any) -> int:
        """A listener; returns its port."""
        port = free_port()
        entry = {"listen": f"127.0.0.1:{port}", "redis": {"upstream": upstream, **(redis or {})}, **more}
        self._sections["listeners"][name] = entry
        return port

    def both(self, server: ValkeyServer | int, credential: str | None, **options: Any) -> dict[str, int]:
        """An upstream and a listener of each mode, named like it; returns the ports."""
        ports = {}
        for mode in MODES:
            self.upstream(mode, server, credential, redis={"mode": mode, **options})
            ports[mode] = self.listener(mode, mode, limits={"connections": 500})
        return ports

    def text(self, **more: Any) -> str:
        """The file's text."""
        # There and back again, so that what is used twice is written twice: anchors are not taken.
        return yaml.safe_dump(json.loads(json.dumps({**self._sections, **more})), sort_keys=False)
