"""The passwords that clients may show, each in the forms in which it is checked. Pure, but for one slow derivation.

What is kept of a password here checks a proof and cannot log in anywhere. A user who is unknown, or has fewer
passwords than another, is filled up with decoys that nothing matches, so that every check costs the same.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from ambassador.credentials.credential import Credential
from ambassador.wire.scram import DEFAULT_ITERATIONS, KEY_SIZE, StoredKeys, mock_verifier

# For the life of the process: salts that changed would tell which users are unknown, and a reload is no reason.
_PROCESS_KEY: Final = secrets.token_bytes(32)

KEPT: Final = 4
"""Values of one credential that are accepted at most, the current one included, however fast it rotates."""

ITERATIONS: Final = DEFAULT_ITERATIONS


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """One value of one credential.

    Args:
        user: whose password it is.
        scram: keys for the user's salt.
        md5: hex of md5(password + user), what PostgreSQL's md5 method starts from.
        tag: keyed hash of the password.
        expires: end of the value's own life, wall seconds.
        until: end of its grace on the `now` clock, once it is no longer current.
    """

    credential: str
    version: int
    user: str
    scram: StoredKeys
    md5: bytes
    tag: bytes
    expires: float | None = None
    until: float | None = None

    def accepted(self, now: float, wall: float) -> bool:
        """Whether it still counts."""
        return (self.until is None or now < self.until) and (self.expires is None or wall < self.expires)


def salt_of(user: str) -> bytes:
    """The salt every password of `user` is derived with; the same for the life of the process, known or not."""
    return mock_verifier(_PROCESS_KEY, user).salt


def tag_of(password: bytes) -> bytes:
    """A keyed hash, of one length whatever the password's."""
    return hmac.digest(_PROCESS_KEY, password, "sha256")


async def derive(credential: Credential) -> Candidate | None:
    """The candidate a credential gives; None where it lacks a user name or password, and nobody can log in with it."""
    user, password = credential.username, credential.password
    if user is None or password is None:
        return None
    keys = await credential.scram_keys(salt_of(user), ITERATIONS)
    raw = password.reveal()
    return Candidate(
        credential=credential.name,
        version=credential.version,
        user=user,
        scram=keys.stored,
        md5=hashlib.md5(raw + user.encode(), usedforsecurity=False).hexdigest().encode(),
        tag=tag_of(raw),
        expires=credential.not_after,
    )


def decoy() -> Candidate:
    """A candidate that nothing matches: nobody knows what would hash to these random keys."""
    keys = StoredKeys(secrets.token_bytes(KEY_SIZE), secrets.token_bytes(KEY_SIZE))
    return Candidate("", 0, "", keys, secrets.token_hex(16).encode(), secrets.token_bytes(32))


def succeed(candidates: Iterable[Candidate], new: Candidate, *, grace_ends: float) -> tuple[Candidate, ...]:
    """`candidates` with `new` as the current one of its credential, the ones before it in grace until `grace_ends`.

    A version that is there already is replaced; one older than the current changes nothing.
    """
    all_of_them = tuple(candidates)
    mine = [one for one in all_of_them if one.credential == new.credential]
    if any(one.version > new.version for one in mine):
        return all_of_them
    before = [
        one if one.until is not None else replace(one, until=grace_ends) for one in mine if one.version != new.version
    ]
    others = [one for one in all_of_them if one.credential != new.credential]
    return (*others, new, *before[: KEPT - 1])


def of_user(
    candidates: Iterable[Candidate], user: str, *, now: float, wall: float, decoys: tuple[Candidate, ...]
) -> tuple[Candidate, ...]:
    """What `user` may show, filled up with decoys to the most that any user may; empty only if nobody may come in."""
    by_user: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.accepted(now, wall):
            by_user.setdefault(candidate.user, []).append(candidate)
    width = max(map(len, by_user.values()), default=0)
    mine = by_user.get(user, [])
    return (*mine, *decoys[: width - len(mine)])
