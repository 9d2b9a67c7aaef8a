"""What a Vault that is none knows, lends and says: no sockets here, only requests, answers and times.

Whoever has a token may do everything, except what is `denied`.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs

from tests.support.fake_vault_answers import Json, Loan, No, Request, Said, frame, stamp
from tests.support.secrets import canary

POLICIES = ["default", "everything"]
DENIED = "1 error occurred:\n\t* permission denied\n\n"
PAST = "past the max TTL, cannot renew"


@dataclass
class Version:
    """Of a secret in a KV store of version 2."""

    fields: Json
    created: float
    deleted: float = 0.0
    destroyed: bool = False


@dataclass(frozen=True)
class Way:
    """A login: whoever says these fields with these values gets a token like this."""

    said: Mapping[str, str]
    ttl: int
    max_ttl: int
    renewable: bool


Handler = Callable[["Contents", Request], Said]


class Contents:
    """Everything behind one server.

    Attributes:
        sealed: nothing is answered then.
        denied: what paths begin with that no policy allows.
        tokens, leases: what is lent now, by its name.
    """

    def __init__(self) -> None:
        self.sealed = False
        self.denied: set[str] = set()
        self.tokens: dict[str, Loan] = {}
        self.leases: dict[str, Loan] = {}
        self.ways: dict[str, Way] = {}
        self.wrapped: dict[str, Json] = {}
        self.mounts: dict[str, Literal[1, 2]] = {}
        self.values: dict[str, list[Version]] = {}
        self.lenders: dict[str, tuple[Literal["GET", "POST"], Handler]] = {}

    def answer(self, request: Request) -> Said:
        """What a Vault says to that."""
        self._forget(request.time)
        try:
            return _health(self) if request.path == "sys/health" else self._let_in(request)
        except No as no:
            return no.said

    def lend(self, path: str, ttl: int, max_ttl: int, *, renewable: bool, owner: str) -> str:
        """A new lease."""
        name = f"{path}/{secrets.token_urlsafe(18)}"
        self.leases[name] = Loan(ttl, time.time() + max_ttl, renewable, owner, path)
        return name

    def issue(
        self, path: str, ttl: int, max_ttl: int, *, renewable: bool, meta: Mapping[str, str] | None = None
    ) -> str:
        """A new token."""
        token = canary("token")
        entity = "" if meta is None else str(uuid.uuid4())
        self.tokens[token] = Loan(ttl, time.time() + max_ttl, renewable, "", path, meta, entity=entity)
        return token

    def revoke(self, token: str) -> None:
        """End a token and its leases."""
        self.tokens.pop(token, None)
        for name in [name for name, lease in self.leases.items() if lease.owner == token]:
            del self.leases[name]

    # Behind it

    def _forget(self, now: float) -> None:
        for token in [name for name, loan in self.tokens.items() if loan.ends <= now]:
            self.revoke(token)
        for name in [name for name, loan in self.leases.items() if loan.ends <= now]:
            del self.leases[name]

    def _let_in(self, request: Request) -> Said:
        if self.sealed:
            raise No(503, "Vault is sealed")
        if request.path == "sys/wrapping/unwrap":
            return self._unwrap(request)
        if request.path in self.ways:
            return self._log_in(request)
        if request.token not in self.tokens:
            raise No(403, "permission denied")
        if any(request.path.startswith(prefix) for prefix in self.denied):
            raise No(403, DENIED)
        return self._route(request)

    def _route(self, request: Request) -> Said:
        fixed = _FIXED.get(request.path)
        if fixed is not None:
            return fixed(self, _only(request, "GET" if request.path == "auth/token/lookup-self" else "POST"))
        if request.path in self.lenders:
            method, handler = self.lenders[request.path]
            return handler(self, _only(request, method))
        mount, _, name = request.path.partition("/")
        if mount in self.mounts:
            return self._read(_only(request, "GET"), self.mounts[mount])
        if any(path.startswith(f"{mount}/") for path in self.lenders):
            raise No(400, f"unknown role: {name.rpartition('/')[2]}")
        raise No(404, f'no handler for route "{request.path}". route entry not found.')

    def _log_in(self, request: Request) -> Said:
        way = self.ways[request.path]
        if any(request.body.get(key) != value for key, value in way.said.items()):
            raise No(400, "invalid role or secret ID")
        meta = {"role_name": "app"}
        token = self.issue(request.path, way.ttl, way.max_ttl, renewable=way.renewable, meta=meta)
        return 200, frame(auth=self.auth(token))

    def _unwrap(self, request: Request) -> Said:
        held = self.wrapped.pop(request.body.get("token") or request.token, None)
        if held is None:
            raise No(400, "wrapping token is not valid or does not exist")
        return 200, frame(held)

    def _read(self, request: Request, version: Literal[1, 2]) -> Said:
        mount, _, name = request.path.partition("/")
        if version == 2:
            if not name.startswith("data/"):
                raise No(404, said=frame(warnings=["Invalid path for a versioned K/V secrets engine. ..."]))
            name = name.removeprefix("data/")
        versions = self.values.get(f"{mount}/{name}", [])
        number = int(parse_qs(request.query).get("version", ["0"])[0]) or len(versions)
        if not 0 < number <= len(versions):
            raise No(404)
        found = versions[number - 1]
        if version == 1:
            return 200, frame(found.fields) | {"lease_duration": 2764800}
        facts = {
            "created_time": stamp(found.created),
            "custom_metadata": None,
            "deletion_time": stamp(found.deleted) if found.deleted else "",
            "destroyed": found.destroyed,
            "version": number,
        }
        gone = found.destroyed or bool(found.deleted)
        return 404 if gone else 200, frame({"data": None if gone else found.fields, "metadata": facts})

    def auth(self, token: str) -> Json:
        """What a login and a renewal say of a token."""
        loan = self.tokens[token]
        return {
            "client_token": token,
            "accessor": loan.accessor,
            "policies": POLICIES,
            "token_policies": POLICIES,
            "metadata": loan.meta,
            "lease_duration": loan.left(loan.renewed or loan.issued),
            "renewable": loan.renewable,
            "entity_id": loan.entity,
            "token_type": "service",
            "orphan": True,
            "mfa_requirement": None,
            "num_uses": 0,
        }

    def _look_up(self, request: Request) -> Said:
        loan = self.tokens[request.token]
        last = {"last_renewal": stamp(loan.renewed), "last_renewal_time": int(loan.renewed)} if loan.renewed else {}
        facts = {
            "accessor": loan.accessor,
            "creation_time": int(loan.issued),
            "creation_ttl": loan.ttl,
            "display_name": "token",
            "entity_id": loan.entity,
            "expire_time": stamp(loan.ends),
            "explicit_max_ttl": loan.explicit,
            "id": request.token,
            "issue_time": stamp(loan.issued),
            "meta": loan.meta,
            "num_uses": 0,
            "orphan": True,
            "path": loan.path,
            "policies": POLICIES,
            "renewable": loan.renewable,
            "ttl": loan.left(request.time),
            "type": "service",
        }
        return 200, frame(facts | last)

    def _renew_self(self, request: Request) -> Said:
        past = (500, f"1 error occurred:\n\t* {PAST}\n\n")
        warnings = self.tokens[request.token].renew(_increment(request), request.time, past)
        return 200, frame(auth=self.auth(request.token), warnings=warnings)

    def _revoke_self(self, request: Request) -> Said:
        self.revoke(request.token)
        return 204, None

    def _renew(self, request: Request) -> Said:
        name, lease = self._lease(request)
        past = (400, f"failed to renew entry: resp: (*logical.Response)(nil) err: {PAST}")
        warnings = lease.renew(_increment(request), request.time, past)
        said = {"lease_id": name, "renewable": True, "lease_duration": lease.left(request.time)}
        return 200, frame(warnings=warnings) | said

    def _revoke(self, request: Request) -> Said:
        self.leases.pop(_lease_id(request), None)
        return 204, None

    def _look_up_lease(self, request: Request) -> Said:
        name, lease = self._lease(request, "invalid lease")
        facts = {
            "expire_time": stamp(lease.ends),
            "id": name,
            "issue_time": stamp(lease.issued),
            "last_renewal": stamp(lease.renewed) if lease.renewed else None,
            "path": lease.path,
            "renewable": lease.renewable,
            "ttl": lease.left(request.time),
        }
        return 200, frame(facts)

    def _lease(self, request: Request, unknown: str = "lease not found") -> tuple[str, Loan]:
        name = _lease_id(request)
        if name not in self.leases:
            raise No(400, unknown)
        return name, self.leases[name]


_FIXED: Mapping[str, Handler] = {
    "auth/token/lookup-self": Contents._look_up,
    "auth/token/renew-self": Contents._renew_self,
    "auth/token/revoke-self": Contents._revoke_self,
    "sys/leases/renew": Contents._renew,
    "sys/leases/revoke": Contents._revoke,
    "sys/leases/lookup": Contents._look_up_lease,
}


def _health(contents: Contents) -> Said:
    facts = {
        "initialized": True,
        "sealed": contents.sealed,
        "standby": contents.sealed,
        "replication_performance_mode": "unknown" if contents.sealed else "disabled",
        "replication_dr_mode": "unknown" if contents.sealed else "disabled",
        "server_time_utc": int(time.time()),
        "version": "2.7.2",
    }
    cluster = {} if contents.sealed else {"cluster_name": "vault-cluster-fake", "cluster_id": str(uuid.uuid4())}
    return 503 if contents.sealed else 200, facts | cluster


def _only(request: Request, method: str) -> Request:
    if ("POST" if request.method == "PUT" else request.method) != method:
        raise No(405, "1 error occurred:\n\t* unsupported operation\n\n")
    return request


def _lease_id(request: Request) -> str:
    name = request.body.get("lease_id", "")
    if not isinstance(name, str) or not name:
        raise No(400, "lease_id must be specified")
    return name


def _increment(request: Request) -> int:
    """Seconds; 0 where none are named."""
    return int(str(request.body.get("increment", 0)).removesuffix("s"))
