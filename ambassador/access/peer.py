"""The process at the other end of a unix socket, as the kernel vouches for it (SO_PEERCRED).

The kernel tells the ids the process had when it connected. A process of a user namespace that is not mapped into
ours appears as the overflow id (usually 65534, `nobody`): do not write a rule for that one.
"""

from __future__ import annotations

import asyncio
import grp
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import Field

from ambassador.access.base import Authenticator, Claim, Principal, Proven, Refused, Verdict
from ambassador.access.users import Users, allowed
from ambassador.config.model import Model, Need

METHOD: Final = "peer"


class PeerOptions(Model):
    """`peer:` of a listener's access. Without any rule a process may be the user of the same name."""

    users: Mapping[str, Users] = Field(default_factory=dict)
    """Users a process may be, by the name or number of the system user it runs as; `"*"`: any."""

    groups: Mapping[str, Users] = Field(default_factory=dict)
    """Users a process may be, by the name or number of its primary group."""

    @property
    def needs(self) -> frozenset[Need]:
        rules = self.users or self.groups
        return frozenset({"unix_sockets"}) if rules else frozenset({"unix_sockets", "user_names"})


class PeerUser(Authenticator):
    """Lets a process in as the users its system user or group is mapped to."""

    Options: ClassVar[type[Model]] = PeerOptions
    options: PeerOptions

    async def identify(self, claim: Claim) -> Verdict:
        uid, gid = claim.peer.uid, claim.peer.gid
        if uid is None or gid is None:
            return Refused("the client is not at a unix socket, so its process is not known")
        # The name service may ask a directory on the network.
        process = await asyncio.get_running_loop().run_in_executor(None, _named, uid, gid)
        if claim.user is None and not self.options.users and not self.options.groups:
            return Refused("the protocol has no user names to compare with: access by peer needs rules here")
        return self._verdict(claim.user, process)

    def _verdict(self, user: str | None, process: Process) -> Verdict:
        if any(allowed(user, users) for users in self._rules(process)):
            return Proven(Principal(process.user or str(process.uid), METHOD))
        return Refused(f"the process of {process} may not be {user!r}")

    def _rules(self, process: Process) -> list[tuple[str, ...]]:
        """The users that the rules give to this process, rule by rule."""
        options = self.options
        if options.users or options.groups:
            by_user = [users for who, users in options.users.items() if _is(who, process.uid, process.user)]
            by_group = [users for who, users in options.groups.items() if _is(who, process.gid, process.group)]
            return by_user + by_group
        return [] if process.user is None else [(process.user,)]


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the kernel and the name service know it; a name is None where an id has none."""

    uid: int
    gid: int
    user: str | None
    group: str | None

    def __str__(self) -> str:
        return f"system user {self.user or self.uid} (uid {self.uid}, gid {self.gid})"


def _is(who: str, number: int, name: str | None) -> bool:
    """Whether a rule for `who` speaks of this id. Digits are a number, even if somebody is named so."""
    return int(who) == number if who.isascii() and who.isdigit() else who == name


def _named(uid: int, gid: int) -> Process:
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = None
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = None
    return Process(uid, gid, user, group)
