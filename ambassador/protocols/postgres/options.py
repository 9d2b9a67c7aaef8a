"""Settings of the protocol, at a listener and at an upstream."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ambassador.config import words
from ambassador.config.model import Model, Need
from ambassador.config.types import UpstreamName

SessionAttributes = Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]


class PostgresListenerOptions(Model):
    """`postgres:` of a listener."""

    upstream: UpstreamName
    """The upstream that clients of this listener are logged in to."""


class PoolOptions(Model):
    """`pool:` of a PostgreSQL upstream."""

    mode: Literal["session"] = "session"
    """One server connection for each client, for as long as the client stays."""

    later: ClassVar[frozenset[str]] = frozenset({"size", "reserve", "wait", "lifetime", "idle"})

    @field_validator("mode", mode="before")
    @classmethod
    def _not_yet(cls, value: object) -> object:
        if value in ("transaction", "statement"):
            raise ValueError(words.not_available(f"pool mode {value}"))
        return value


class PostgresUpstreamOptions(Model):
    """`postgres:` of an upstream."""

    pool: PoolOptions = PoolOptions()
    """How server connections are shared."""

    database: Annotated[str, Field(min_length=1)] | None = None
    """The database to log in to. By default the one the client asked for."""

    databases: dict[str, str] = Field(default_factory=dict)
    """The server's name of a database by the name clients use for it; names not listed are kept."""

    target_session_attrs: SessionAttributes = "any"
    """Which servers will do, in libpq's words. All but `any` need PostgreSQL 14 or later, which tells its role at
    login. Any server by default, because most upstreams have but one."""

    channel_binding: Literal["disable", "prefer", "require"] = "prefer"
    """SCRAM-SHA-256-PLUS, which ties the login to the TLS connection so that nobody can stand between: `prefer` uses
    it wherever the server offers it over TLS, `require` insists on it."""

    tls_negotiation: Literal["postgres", "direct"] = "postgres"
    """`direct` begins TLS at once instead of asking first, which saves a round trip and needs PostgreSQL 17."""

    max_scram_iterations: Annotated[int, Field(ge=4096, le=100_000_000)] = 1_000_000
    """The most PBKDF2 rounds a server may ask for: bounds the CPU time a hostile server can take from us. A million
    takes about a third of a second; PostgreSQL's default is 4096."""

    @property
    def needs(self) -> frozenset[Need]:
        bound = self.channel_binding == "require" or self.tls_negotiation == "direct"
        return frozenset({"upstream_tls"} if bound else ())

    def server_database(self, wanted: str) -> str:
        """The server's name of the database that a client calls `wanted`."""
        return self.database or self.databases.get(wanted, wanted)
