"""The names in the client's certificate, which the TLS handshake has verified against the listener's `client_ca`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field

from ambassador.access import names
from ambassador.access.base import Authenticator, Claim, Principal, Proven, Refused, Verdict
from ambassador.access.users import Users, allowed
from ambassador.config.model import Model, Need
from ambassador.credentials.store import Store
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.net.facts import PeerNames

METHOD: Final = "mtls"


def _rule(text: str) -> str:
    names.parse(text)
    return text


RuleText = Annotated[str, AfterValidator(_rule)]


class MtlsOptions(Model):
    """`mtls:` of a listener's access. Without any rule a client may be the user that its certificate's CN names."""

    users: Mapping[RuleText, Users] = Field(default_factory=dict)
    """Users a client may be, by a name in its certificate: `cn:app`, `dns:*.example.com`, `spiffe://td/ns/*/sa/app`,
    `email:app@example.com`. `*` stands for one whole label or segment. Users: a list, or `"*"` for any."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"client_certificates"})


class Mtls(Authenticator):
    """Lets a client in as the users that the names in its certificate are mapped to."""

    Options: ClassVar[type[Model]] = MtlsOptions
    options: MtlsOptions

    def __init__(self, options: Any, store: Store, clock: Clock = SYSTEM) -> None:
        super().__init__(options, store, clock)
        self._rules = tuple((names.parse(text), users) for text, users in self.options.users.items())

    async def identify(self, claim: Claim) -> Verdict:
        shown = None if claim.tls is None else claim.tls.peer_names()
        if shown is None:
            return Refused("the client showed no certificate, or none that was verified")
        if not self._rules:
            return self._by_common_name(claim.user, shown)
        for rule, users in self._rules:
            name = rule.matches(shown)
            if name is not None and allowed(claim.user, users):
                return Proven(Principal(name, METHOD))
        return Refused(f"no rule lets the certificate of {shown.subject!r} be {claim.user!r}")

    @staticmethod
    def _by_common_name(user: str | None, shown: PeerNames) -> Verdict:
        name = shown.common_name
        if name and allowed(user, (name,)):
            return Proven(Principal(name, METHOD))
        return Refused(f"the certificate's subject {shown.subject!r} does not name the user {user!r} as its one CN")
