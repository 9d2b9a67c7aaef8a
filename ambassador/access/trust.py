"""Everyone is who they say they are. Right where reaching the socket is the proof: loopback in a pod, a unix socket."""

from __future__ import annotations

from typing import ClassVar, Final

from ambassador.access.base import Authenticator, Claim, Principal, Proven, Verdict
from ambassador.config.model import Model

METHOD: Final = "trust"


class TrustOptions(Model):
    """`trust:` of a listener's access; has no settings."""


class Trust(Authenticator):
    """Lets everyone in under the name they claim."""

    Options: ClassVar[type[Model]] = TrustOptions

    async def identify(self, claim: Claim) -> Verdict:
        return Proven(Principal(claim.user or "", METHOD))
