"""Credential: one value of one named credential, immutable, with its version and its dates."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, final

from ambassador.credentials.keys import KeyCache
from ambassador.credentials.secret import Secret
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import Clock
from ambassador.wire.scram import Keys

__all__ = ["PUBLIC_FIELDS", "Credential", "Secret"]

USERNAME: Final = "username"
PASSWORD: Final = "password"  # noqa: S105 - the name of a field
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
AUTHORITIES: Final = "ca.crt"
KNOWN_FIELDS: Final = (USERNAME, PASSWORD, CERTIFICATE, KEY, AUTHORITIES)
"""The names Kubernetes gives to the keys of its Secret types basic-auth and tls."""

PUBLIC_FIELDS: Final = frozenset({USERNAME, CERTIFICATE, AUTHORITIES})
"""Fields that are shown to whoever connects; they are not masked in logs."""

# Makes fingerprints useless outside this process: without it they could be compared with those of guesses.
_FINGERPRINT_KEY: Final = secrets.token_bytes(32)


@final
class Credential:
    """One value.

    Args:
        name: what the configuration calls it.
        version: counts up with each distinct value of that name; connections remember the one they used.
        fields: values by field (`username`, `password`, `tls.crt`, `tls.key`, `ca.crt`, or the operator's own).
        not_before: wall seconds when it was obtained.
        not_after: wall seconds when it ends; None: never, as far as its source knows.
        ends_at: when it ends by the clock that never jumps, where its source says for how long it is good.

    Raises:
        CredentialError: the value is empty or half of one, its user name is not text, or its user name or password
            holds a NUL byte, which no protocol can carry.
    """

    __slots__ = (
        "_keys", "ends_at", "fields", "fingerprint", "name", "not_after", "not_before", "password", "username",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        version: int,
        fields: Mapping[str, bytes | Secret],
        *,
        not_before: float | None = None,
        not_after: float | None = None,
        ends_at: float | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.fields: Mapping[str, Secret] = MappingProxyType({field: _secret(field, fields[field]) for field in fields})
        self.not_before = not_before
        self.not_after = not_after
        self.ends_at = ends_at
        if flaw := _flaw({field: secret.reveal() for field, secret in self.fields.items()}):
            raise CredentialError(Reason.SOURCE_FAILED, f"credential {name!r}: {flaw}")
        username = self.get(USERNAME)
        self.username = None if username is None else username.reveal().decode()
        self.password = self.get(PASSWORD)
        self.fingerprint = _fingerprint(self.fields)
        self._keys = KeyCache()

    def __repr__(self) -> str:
        return f"<Credential {self.name} version {self.version}>"

    def get(self, field: str) -> Secret | None:
        """The value of one field, None where the credential has no such field."""
        return self.fields.get(field)

    def expired(self, clock: Clock) -> bool:
        """Whether it has ended."""
        return (self.not_after is not None and clock.wall() >= self.not_after) or (
            self.ends_at is not None and clock.now() >= self.ends_at
        )

    def expires(self, clock: Clock) -> float | None:
        """When it ends, in wall seconds; None: never, as far as its source knows."""
        if self.ends_at is None:
            return self.not_after
        return clock.wall() + self.ends_at - clock.now()

    def renewed(self, other: Credential) -> Credential:
        """The same value and version with the dates of `other`; derived keys are kept."""
        return self._dated(**other._dates())

    def lasting(self, ends_at: float) -> Credential:
        """The same value and version with another end, by the clock that never jumps; derived keys are kept."""
        return self._dated(ends_at=ends_at)

    def until(self, not_after: float) -> Credential:
        """The same value and version with another end, in wall seconds; derived keys are kept."""
        return self._dated(not_after=not_after)

    def numbered(self, version: int) -> Credential:
        """The same value and dates as version `version`."""
        return Credential(self.name, version, self.fields, **self._dates())

    def _dated(self, **dates: float | None) -> Credential:
        new = Credential(self.name, self.version, self.fields, **(self._dates() | dates))
        new._keys = self._keys
        return new

    def _dates(self) -> dict[str, float | None]:
        return {"not_before": self.not_before, "not_after": self.not_after, "ends_at": self.ends_at}

    async def scram_keys(self, salt: bytes, iterations: int) -> Keys:
        """The SCRAM keys of the password for this salt and count; derived once, off the loop, then remembered.

        Raises:
            CredentialError: there is no password.
        """
        if self.password is None:
            raise CredentialError(Reason.NO_CREDENTIAL, f"credential {self.name!r} has no password")
        return await self._keys.get(self.password, salt, iterations)


def _secret(field: str, value: bytes | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value, concealed=field not in PUBLIC_FIELDS)


def _flaw(fields: Mapping[str, bytes]) -> str | None:
    """What makes this no value at all, in words that hold nothing of it; None when it is whole."""
    for field in sorted(fields):
        if not fields[field]:
            return f"the {field} is empty"
        if b"\0" in fields[field] and field in {USERNAME, PASSWORD}:
            return f"the {field} holds a NUL byte"
    if not _is_text(fields.get(USERNAME, b"")):
        return "the username is not UTF-8 text"
    for field, other in ((CERTIFICATE, KEY), (KEY, CERTIFICATE)):
        if field in fields and other not in fields:
            return f"there is a {field} without a {other}"
    if fields.keys() <= PUBLIC_FIELDS:
        return f"there is no {PASSWORD}, nor a {CERTIFICATE} with its {KEY}"
    return None


def _is_text(raw: bytes) -> bool:
    # A UnicodeDecodeError carries the bytes; it must not become the context of an error that travels.
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fingerprint(fields: Mapping[str, Secret]) -> bytes:
    """A keyed hash of all fields; lengths keep `ab`+`c` apart from `a`+`bc`."""
    digest = hmac.new(_FINGERPRINT_KEY, digestmod="sha256")
    for field in sorted(fields):
        for part in (field.encode(), fields[field].reveal()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.digest()
