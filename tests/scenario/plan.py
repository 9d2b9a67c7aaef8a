"""A configuration in the making: what every scenario begins with."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from tests.support.certificates import Authority
from tests.support.secrets import SecretDir, canary

_NUMBERS = count(secrets.randbelow(2**16))
_NETWORK = int(ipaddress.ip_address("127.1.0.0"))

PORT = 6432
"""Below the ports that the kernel gives to connections, so that none of these is in the way."""


class Server(Protocol):
    """Whatever listens."""

    @property
    def address(self) -> str:
        """Where, as the configuration writes it."""


def place() -> str:
    """An address of this machine that nobody else listens at: each has a loopback address of its own."""
    number = (os.getpid() * 257 + next(_NUMBERS)) % 2**22
    return f"{ipaddress.ip_address(_NETWORK + number)}:{PORT}"


class Plan:
    """One listener, `front`, that leads to one upstream, `behind`.

    Attributes:
        at: where the listener listens.
        secrets: mounted Secrets by the name of their credential. One called `db` is the upstream's.
    """

    def __init__(self, home: Path, authority: Authority) -> None:
        self.home = home
        self.authority = authority
        self.at = place()
        self.secrets: dict[str, SecretDir] = {}

    def secret(self, name: str, user: str | None = "orders_rw", **fields: str | bytes) -> str:
        """Mount a Secret with a user, a new password, and what else it is to hold; returns the password."""
        password = canary(f"password-of-{name}")
        content = {"password": password, **fields}
        if user is not None:
            content["username"] = user
        self.secrets[name] = SecretDir(self.home / name, content)
        return password

    def swap(self, name: str, user: str = "orders_rw", password: str | None = None) -> str:
        """Change a mounted Secret: a new generation with a new password, which is returned."""
        fresh = canary(f"next-password-of-{name}") if password is None else password
        self.secrets[name].swap({"username": user, "password": fresh})
        return fresh

    def listener(self, listen: str | None = None, *, protocol: str = "postgres", **more: Any) -> dict[str, Any]:
        """A listener that leads to `behind`, unless `upstream` names another."""
        return {"listen": listen or self.at, protocol: {"upstream": more.pop("upstream", "behind")}, **more}

    def upstream(self, *servers: Server | str, **more: Any) -> dict[str, Any]:
        """An upstream of these servers."""
        endpoints = [server if isinstance(server, str) else server.address for server in servers]
        known = {"credential": "db"} if "db" in self.secrets else {}
        return {"endpoints": endpoints, **known, **more}

    def credentials(self, **settings: Any) -> dict[str, Any]:
        """Every mounted Secret as a credential, with these settings."""
        return {name: {"file": {"path": str(one.path)}, **settings} for name, one in self.secrets.items()}

    def text(
        self,
        *servers: Server | str,
        listener: Mapping[str, Any] | None = None,
        upstream: Mapping[str, Any] | None = None,
        credential: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """The file: `front` with the keys of `listener`, `behind` with those of `upstream`; other sections last."""
        sections = {
            "credentials": self.credentials(**credential or {}),
            "upstreams": {"behind": self.upstream(*servers, **upstream or {})},
            "listeners": {"front": self.listener(**listener or {})},
        }
        return "\n".join(f"{name}: {json.dumps(section)}" for name, section in {**sections, **more}.items()) + "\n"

    def server_tls(self, *names: str, **more: Any) -> dict[str, Any]:
        """TLS towards clients, with a certificate for these names."""
        pair = self.authority.server(*names or ("localhost", "127.0.0.1"))
        return {"cert": str(pair.cert), "key": str(pair.key), **more}

    def client_tls(self, **more: Any) -> dict[str, Any]:
        """TLS towards the upstream, trusting the CA of this run."""
        return {"ca": str(self.authority.file), **more}
