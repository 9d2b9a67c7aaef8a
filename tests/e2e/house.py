"""One daemon with a listener for everything that is tested of logins, shared by the run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ambassador.demo.servers import free_port
from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.postgres import Role, distribution
from tests.support.secrets import SecretDir, canary

CLIENT = "alice"
"""Whom clients call themselves, where it does not matter: the server never hears it."""


@dataclass(frozen=True)
class Front:
    """A way through: which server, and whether TLS is spoken to it and to the client."""

    major: int
    up: str
    down: str

    def __str__(self) -> str:
        return f"pg{self.major}-{self.up}-{self.down}"


FRONTS = [
    Front(major, up, down)
    for major in (15, 17, 18)
    for up in ("plain", "tls")
    for down in ("plain", "tls")
    if (major, up) != (18, "tls")  # that package was built without TLS
]
"""Every server, with and without TLS on both sides."""

FEW_FRONTS = [Front(15, "tls", "plain"), Front(17, "tls", "tls"), Front(18, "plain", "plain")]
"""For what takes longer: every server, and every way of both sides."""


@dataclass
class Plan:
    """A configuration in the making.

    Args:
        home: where its Secrets lie.
        authority: signs our certificates and those of servers and clients.
    """

    home: Path
    authority: Authority
    credentials: dict[str, Any] = field(default_factory=dict)
    upstreams: dict[str, Any] = field(default_factory=dict)
    listeners: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, SecretDir] = field(default_factory=dict)

    def secret(self, name: str, content: Mapping[str, str | bytes]) -> SecretDir:
        """A mounted Secret, and the credential of that name which is read from it."""
        self.secrets[name] = SecretDir(self.home / name, content)
        self.credentials[name] = {"file": {"path": str(self.home / name)}}
        return self.secrets[name]

    def role(self, name: str, role: Role) -> SecretDir:
        """The credential of a role."""
        return self.secret(name, {"username": role.name, "password": role.password})

    def upstream(self, name: str, cluster: Cluster, credential: str | None, **more: Any) -> None:
        """An upstream; give `tls=self.tls()` for TLS to it."""
        entry = {"endpoints": [f"127.0.0.1:{cluster.server.port}"], "credential": credential, **more}
        self.upstreams[name] = {key: value for key, value in entry.items() if value is not None}

    def tls(self, **more: Any) -> dict[str, Any]:
        """TLS to an upstream, verified in full."""
        return {"ca": str(self.authority.file), **more}

    def server_tls(self, **more: Any) -> dict[str, Any]:
        """TLS to clients."""
        pair = self.authority.server("localhost", "127.0.0.1", "::1")
        return {"cert": str(pair.cert), "key": str(pair.key), **more}

    def listener(self, name: str, upstream: str, *, listen: str | None = None, **more: Any) -> int:
        """A listener; returns its port, 0 if `listen` names no port of ours."""
        port = 0 if listen else free_port()
        where = listen or f"127.0.0.1:{port}"
        self.listeners[name] = {"listen": where, "postgres": {"upstream": upstream}, **more}
        return port

    def text(self, **more: Any) -> str:
        """The file's text, but for its `admin` section."""
        sections = {"credentials": self.credentials, "upstreams": self.upstreams, "listeners": self.listeners}
        # There and back again, so that what is used twice is written twice: anchors are not taken.
        return yaml.safe_dump(json.loads(json.dumps({**sections, **more})), sort_keys=False)


def has_ipv6() -> bool:
    """Whether one can listen on ::1 here."""
    try:
        free_port("::1")
    except OSError:
        return False
    return True


class House:
    """The daemon, and where its listeners are by name.

    Args:
        home: where its Secrets lie.
        sockets: where its unix sockets lie; short, since a socket's name ends at 107 bytes.

    Attributes:
        clients: the user whom the listeners with `password` access let in.
    """

    def __init__(self, home: Path, sockets: Path, authority: Authority, clusters: Mapping[int, Cluster]) -> None:
        self.authority = authority
        self.clusters = clusters
        self.clients = Role(CLIENT, canary("client"))
        self.places: dict[str, Where] = {}
        self._plan = Plan(home, authority)
        self._plan.role("clients", self.clients)
        self._sockets = sockets
        for cluster in clusters.values():
            self._fronts(cluster)
            self._methods(cluster)
        self._accesses()
        self.daemon = Daemon(self._plan.text(log={"level": "debug"}), secrets=self._secrets())

    def where(self, name: str | Front) -> Where:
        """The address of a listener, or of a front; skips the test where this machine cannot have it."""
        if isinstance(name, Front):
            distribution(name.major)
        if name == "ipv6" and not has_ipv6():
            pytest.skip("this machine has no IPv6")
        return self.places[str(name)]

    def _fronts(self, cluster: Cluster) -> None:
        app = f"app{cluster.major}"
        self._plan.role(app, cluster.roles["app"])
        ways = {"plain": None} | ({"tls": self._plan.tls()} if cluster.tls else {})
        for up, tls in ways.items():
            upstream = f"pg{cluster.major}-{up}"
            self._plan.upstream(upstream, cluster, app, tls=tls)
            self._place(f"{upstream}-plain", upstream)
            self._place(f"{upstream}-tls", upstream, tls=self._plan.server_tls(), access=self._password())

    def _methods(self, cluster: Cluster) -> None:
        """An upstream for each way of logging in, TLS wherever the server has it."""
        tls = self._plan.tls() if cluster.tls else None
        plus = {"channel_binding": "require"}
        wanted: dict[str, tuple[str | None, dict[str, Any]]] = {
            "trust": (None, {}),
            **{kind: (kind, {}) for kind in ("password", "md5", "token", "unprepared", "prepared")},
            "scram": ("app", {"postgres": {"channel_binding": "disable"}}),
        }
        if cluster.tls:
            pair = self._plan.authority.client("by_cert")
            content = {"username": "by_cert", "tls.crt": pair.cert.read_text(), "tls.key": pair.key.read_text()}
            self._plan.secret(f"cert{cluster.major}", content)
            wanted["scram-plus"] = ("app", {"postgres": plus})
            wanted["cert"] = ("cert", {"tls": self._plan.tls(credential=f"cert{cluster.major}")})
            wanted["cert-files"] = ("cert", {"tls": self._plan.tls(cert=str(pair.cert), key=str(pair.key))})
        if cluster.major >= 17 and cluster.tls:
            wanted["direct"] = ("app", {"postgres": {"tls_negotiation": "direct", **plus}})
        for name, (role, more) in wanted.items():
            credential = None if role is None else f"{role}{cluster.major}"
            if role is not None and credential not in self._plan.credentials:
                self._plan.role(f"{role}{cluster.major}", cluster.roles[role])
            upstream = f"pg{cluster.major}-{name}"
            self._plan.upstream(upstream, cluster, credential, **({"tls": tls} | more))
            self._place(upstream, upstream, user="by_trust" if name == "trust" else CLIENT)

    def _accesses(self) -> None:
        """A listener for each way of coming in."""
        to, tls = "pg17-tls", self._plan.server_tls()
        for method in ("scram-sha-256", "md5", "cleartext"):
            self._place(method, to, access=self._password(method=method))
            self._place(f"{method}-tls", to, access=self._password(method=method), tls=tls)
        self._place("allow", to, access=self._password(), tls={**tls, "mode": "allow"})
        asking = self._plan.server_tls(client_ca=str(self.authority.file))
        rules = {"users": {"cn:billing": ["alice", "bob"], "spiffe://example.com/ns/*/sa/orders": "*"}}
        self._place("mtls", to, access={"mtls": rules}, tls=asking)
        self._place("mtls-cn", to, access={"mtls": {}}, tls=asking)
        if has_ipv6():
            self._place("ipv6", to, listen=f"[::1]:{free_port('::1')}", tls=tls, access=self._password())
        for name, number, users in (("peer", 5432, {str(os.geteuid()): ["alice"]}), ("peer-other", 5433, {"1": "*"})):
            path = f"unix:{self._sockets}/.s.PGSQL.{number}"
            more: dict[str, Any] = {"unix": {"mode": "0600"}} if name == "peer" else {}
            self._place(name, to, listen=path, access={"peer": {"users": users}}, **more)

    def _password(self, **more: str) -> dict[str, Any]:
        return {"password": {"credential": "clients", **more}}

    def _place(self, name: str, upstream: str, *, user: str = CLIENT, listen: str | None = None, **more: Any) -> None:
        port = self._plan.listener(name, upstream, listen=listen, **more)
        host = "127.0.0.1"
        if listen is not None:
            host, _, tail = listen.removeprefix("unix:").rpartition("/.s.PGSQL." if "/" in listen else ":")
            host, port = host.strip("[]"), int(tail)
        self.places[name] = Where(
            port=port,
            user=user,
            database=DATABASE,
            host=host,
            password=self.clients.password if "password" in more.get("access", {}) else None,
            ca=self.authority.file if "tls" in more else None,
        )

    def _secrets(self) -> Iterable[str]:
        yield self.clients.password
        for cluster in self.clusters.values():
            yield from (role.password for role in cluster.roles.values())
