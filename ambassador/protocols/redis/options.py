"""Settings of the protocol, at a listener and at an upstream."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ambassador.config.model import Model
from ambassador.config.types import Duration, Timeout, UpstreamName, one_or_list
from ambassador.upstreams.balance import ReadFrom
from ambassador.wire.redis.policy import Policy

Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], BeforeValidator(one_or_list)]
Prefixes = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(one_or_list)]

_WORD: Final = re.compile(r"@?\w[\w.:-]*(\|\w[\w.:-]*)?", re.ASCII)
"""What can be the name of a command, a sub-command or a category, modules' included (`FT.SEARCH`)."""


class RedisListenerOptions(Model):
    """`redis:` of a listener."""

    upstream: UpstreamName
    """The upstream that clients of this listener are logged in to."""

    allow: Words = ()
    """Commands (`GET`), sub-commands (`CONFIG|GET`) and categories (`@read`) that clients may use; everything else is
    refused but what every driver sends (PING, HELLO, COMMAND, the harmless ones of CLIENT) and MULTI, WATCH and their
    like. Without it everything is allowed but what shows or changes the proxy's own login."""

    deny: Words = ()
    """The same words, for what clients may not use; wins over `allow`. Scripts are refused with it, since they could
    call all the same what is denied here: see `scripts`."""

    scripts: bool = False
    """Whether scripts and functions may be run (EVAL, FCALL) although `deny` names commands. What they call nobody
    looks at. Naming them in `allow` means the same. With `read_only` or `keys` only that does."""

    read_only: bool = False
    """Whether commands that write are refused."""

    keys: Prefixes = ()
    """Prefixes of keys that clients may use; all keys by default. Each command is then looked at, which costs time."""

    @field_validator("allow", "deny")
    @classmethod
    def _names_categories(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Which commands there are the server tells, modules included; the categories are settled."""
        faults = [_no_word(word) for word in value if not _WORD.fullmatch(word)]
        faults += Policy([word for word in value if _WORD.fullmatch(word)]).unknown_categories()
        if faults:
            raise ValueError("; ".join(faults))
        return value

    @field_validator("keys")
    @classmethod
    def _begins_so(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        patterns = [prefix for prefix in value if prefix.endswith("*")]
        faults = [f"{one!r} is a pattern, and no prefix; did you mean {one.rstrip('*')!r}?" for one in patterns]
        if faults:
            raise ValueError("; ".join(faults))
        return value


def _no_word(word: str) -> str:
    meant = "|".join(word.lstrip("+-~& ").split(maxsplit=1))
    hint = f"; did you mean {meant}?" if _WORD.fullmatch(meant) else ""
    return f"{word!r} can be no command or category{hint}"


class RedisUpstreamOptions(Model):
    """`redis:` of an upstream."""

    mode: Literal["multiplex", "dedicated"] = "multiplex"
    """`multiplex` lets clients share a few server connections, and gives them one of their own for as long as a command
    needs it; `dedicated` gives each client its own from beginning to end."""

    connections: Annotated[int, Field(ge=1, le=64)] = 1
    """Shared connections for each protocol version and database. One gathers most and so costs least; several let a
    server with I/O threads use them."""

    idle: Annotated[int, Field(ge=0, le=10_000)] = 32
    """Most connections kept for the next client that needs one of its own for a while."""

    idle_timeout: Timeout = 60.0
    """How long such a connection is kept unused."""

    cluster: bool = False
    """Whether the servers are a Redis Cluster, which clients shall see as one server. `endpoints` are some of its
    nodes; all others are learned from them."""

    cluster_refresh: Timeout = 30.0
    """How often the nodes are asked who serves what, besides whenever there is a reason to."""

    database: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """The database to use at the server. Clients see it as database 0, and no other. By default clients choose."""

    wait: Duration = 10.0
    """How long a command waits for the server to come back, or for a connection, until it is answered by an error."""

    read_from: ReadFrom | None = None
    """Which servers to use, by their role, which each connection's server is asked for. `primary`: the one that takes
    writes. `replica`: one that follows it. `prefer-replica`: the primary only while there is no replica. With both
    kinds of replica clients may only read, whichever server they get. Left out, `discovery` leads to the primary, and
    of `endpoints` any server will do. Several replicas are used evenly with `balance: random`."""

    retry_reads: bool = False
    """Whether commands that only read are asked once more when the server goes away before it answers. Only where
    `mode` is multiplex."""

    probe: Timeout = 5.0
    """How often a shared connection that says nothing is asked for a sign of life (PING); when the answer takes longer
    than `probe_timeout`, the server is taken for gone."""

    probe_timeout: Timeout = 10.0
    """How long such an answer may take. A server that runs a long script or command answers nobody meanwhile."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        faults = []
        if self.retry_reads and self.mode == "dedicated":
            faults.append(
                "retry_reads is for mode multiplex: a client with a connection of its own is told, and asks again"
            )
        if self.cluster and self.mode == "dedicated":
            faults.append("with cluster, mode is multiplex: a client's commands go to many servers")
        if self.cluster and self.database not in {None, 0}:
            faults.append("with cluster, leave database out: a cluster has number 0 and no other")
        if self.cluster and self.read_from not in {None, "primary"}:
            faults.append("with cluster, read_from is primary: replicas of a cluster are not read from yet")
        if faults:
            raise ValueError("; ".join(faults))
        return self
