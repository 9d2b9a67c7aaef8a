"""How tests steer an OpenBao: its HTTP interface without any client library, and what holds in every namespace."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ambassador.demo.servers import ServerFailed
from tests.support.secrets import MINTED


@dataclass(frozen=True)
class Answer:
    """An answer to one request.

    Args:
        status: of HTTP.
        headers: by lower-case name.
        body: the JSON value; None where there is none.
    """

    status: int
    headers: Mapping[str, str]
    body: Any


class Refused(ServerFailed):
    """OpenBao answered with an error; the text is what it said."""

    def __init__(self, answer: Answer, what: str) -> None:
        said = answer.body.get("errors") if isinstance(answer.body, dict) else answer.body
        super().__init__(f"{what}: {answer.status} {said}")
        self.status = answer.status


class Api(ABC):
    """One namespace of a server, and what every one has: policies, tokens, leases. The root namespace is the server."""

    @abstractmethod
    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        namespace: str | None = None,
        wrap_ttl: int | None = None,
    ) -> Answer:
        """One request on a connection of its own, whatever comes of it.

        Args:
            path: after `/v1/`.
            token: whose; None is root's, "" is nobody's.
            namespace: below this one.
            wrap_ttl: seconds; the answer is wrapped, and a token that unwraps it once comes instead.

        Raises:
            OSError: nobody answered.
        """

    def api(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        namespace: str | None = None,
        wrap_ttl: int | None = None,
    ) -> Any:
        """The JSON value that one request brings; arguments as for `ask`.

        Raises:
            Refused: the status was not 2xx.
            OSError: nobody answered.
        """
        answer = self.ask(method, path, body, token=token, namespace=namespace, wrap_ttl=wrap_ttl)
        if not 200 <= answer.status < 300:
            raise Refused(answer, f"{method} {path}")
        return answer.body

    def listed(self, path: str) -> list[str]:
        """The keys below a path; none where there is nothing."""
        answer = self.ask("LIST", path)
        if answer.status == 404:
            return []
        if answer.status != 200:
            raise Refused(answer, f"LIST {path}")
        return [str(key) for key in answer.body["data"]["keys"]]

    # Who may do what

    def policy(self, name: str, rules: str) -> str:
        """Make a policy, or make one over for all tokens that have it; returns its name.

        Args:
            rules: HCL, one `path "..." { capabilities = [...] }` after the other.
        """
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": rules})
        return name

    def remove_policy(self, name: str) -> None:
        """Take a policy away, from tokens that have it too."""
        self.api("DELETE", f"sys/policies/acl/{name}")

    def token(
        self,
        *policies: str,
        ttl: int = 3600,
        explicit_max_ttl: int = 0,
        renewable: bool = True,
        period: int = 0,
        default_policy: bool = True,
    ) -> str:
        """A token without parent; a canary.

        Args:
            ttl, explicit_max_ttl, period: seconds. A period makes it renewable for ever, each time for that long.
            default_policy: whether it may look at, renew and revoke itself, renew leases, and unwrap.
        """
        asked = {
            "policies": policies,
            "ttl": f"{ttl}s",
            "explicit_max_ttl": f"{explicit_max_ttl}s",
            "renewable": renewable,
            "no_default_policy": not default_policy,
        }
        if period:
            asked["period"] = f"{period}s"
        made = self.api("POST", "auth/token/create-orphan", asked)
        return minted(made["auth"]["client_token"])

    def revoke_token(self, token: str) -> None:
        """End a token and its leases."""
        self.api("POST", "auth/token/revoke", {"token": token})

    def lookup(self, token: str) -> dict[str, Any]:
        """What there is to know of a token: `ttl`, `policies`, `path`, ...

        Raises:
            Refused: 403; it is over.
        """
        found: dict[str, Any] = self.api("POST", "auth/token/lookup", {"token": token})["data"]
        return found

    def tokens(self) -> int:
        """How many tokens are valid, root's among them."""
        return len(self.listed("auth/token/accessors"))

    # What is lent

    def leases(self, prefix: str = "") -> list[str]:
        """The ids of all leases below a path: of a mount, or of `MOUNT/creds/ROLE`.

        Revoking one takes a moment: its id is gone only when the database's user is.
        """
        found = []
        prefix = prefix.strip("/")
        for key in self.listed(f"sys/leases/lookup/{prefix}"):
            path = f"{prefix}/{key}" if prefix else key
            found += self.leases(path) if key.endswith("/") else [path]
        return found

    def revoke_leases(self, prefix: str) -> None:
        """Revoke all leases below a path; returns when they are gone."""
        self.api("PUT", f"sys/leases/revoke-prefix/{prefix.strip('/')}")


def minted(secret: str) -> str:
    """What OpenBao made up, now a canary: it may appear nowhere."""
    MINTED.add(secret)
    return secret


def seconds(number: int) -> str:
    """A duration as OpenBao reads it."""
    return f"{number}s"


def encoded(body: Mapping[str, Any] | None) -> bytes | None:
    """A request's body."""
    return None if body is None else json.dumps(body).encode()
