"""Tiny plug-ins in place of the real ones: this room must work with whatever the registry holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest
from pydantic import Field, field_validator

from ambassador import registry
from ambassador.config import schema
from ambassador.config.model import Model, Need
from ambassador.config.tls import ClientTls
from ambassador.config.types import Addresses, Argv, CredentialName, Timeout, UpstreamName, VariableName


class Nothing(Model):
    """No settings."""


class ForwardOptions(Model):
    """Of a listener."""

    upstream: UpstreamName
    """Where to."""

    credential: CredentialName | None = None
    """With what."""

    note: str = ""
    """Why."""


class PoolOptions(Model):
    """How server connections are shared."""

    later: ClassVar[frozenset[str]] = frozenset({"size"})

    mode: Literal["session"] = "session"
    """When they are given back."""


class DatabaseOptions(Model):
    """Of an upstream."""

    database: str | None = None
    """Its name."""

    pool: PoolOptions = PoolOptions()
    """Its pool."""


class FileOptions(Model):
    """A mounted Secret."""

    path: Path
    """Where it is."""

    keys: dict[str, str] = Field(default_factory=dict)
    """Names of its files."""


class EnvOptions(Model):
    """Environment variables."""

    password: VariableName
    """The one with the password."""

    username: VariableName | None = None
    """The one with the name."""


class ExecOptions(Model):
    """A command."""

    command: Argv
    """It and its arguments."""

    timeout: Timeout = 5.0
    """How long it may take."""


class GrumpyOptions(Model):
    """Says aloud what it dislikes."""

    token: str
    """A value that no message may hold."""

    @field_validator("token")
    @classmethod
    def _refused(cls, value: str) -> str:
        raise ValueError(f"{value} is no good")


class ClumsyOptions(Model):
    """Stumbles."""

    @field_validator("*", mode="before")
    @classmethod
    def _unhashable(cls, value: object) -> object:
        return {value: value}

    words: str = ""
    """Anything."""


class PasswordOptions(Model):
    """Clients know a password."""

    credential: CredentialName | None = None
    """The one."""

    credentials: tuple[CredentialName, ...] = ()
    """Or several."""

    cleartext: bool = False
    """Whether it is sent as it is."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"tls"}) if self.cleartext else frozenset()


class MtlsOptions(Model):
    """Clients show a certificate."""

    users: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Who may be whom."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"client_certificates"})


class PeerOptions(Model):
    """The kernel names the client."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"unix_sockets"})


class ListOptions(Model):
    """Whoever is asked knows."""

    endpoints: Addresses
    """Who is asked."""

    credential: CredentialName | None = None
    """With what."""

    tls: ClientTls | None = None
    """How."""


class WordOptions(Model):
    """A word opens the door."""

    word: str = "sesame"
    """The word."""


class ShowOptions(Model):
    """The certificate of the connection does."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"vault_certificate"})


def _protocol(upstream_options: type[Model]) -> SimpleNamespace:
    logs_in = upstream_options is not Nothing
    return SimpleNamespace(
        ListenerOptions=ForwardOptions,
        UpstreamOptions=upstream_options,
        logs_in=logs_in,
        negotiates_tls=logs_in,
        client_speaks_first=False,
    )


PLUGINS: dict[str, dict[str, SimpleNamespace | None]] = {
    "protocols": {"tcp": _protocol(Nothing), "postgres": _protocol(DatabaseOptions)},
    "sources": {
        "file": SimpleNamespace(Options=FileOptions),
        "env": SimpleNamespace(Options=EnvOptions, brings_certificate=False),
        "exec": SimpleNamespace(Options=ExecOptions, brings_password=False),
        "grumpy": SimpleNamespace(Options=GrumpyOptions),
        "clumsy": SimpleNamespace(Options=ClumsyOptions),
        "absent": None,
    },
    "authenticators": {
        "trust": SimpleNamespace(Options=Nothing),
        "password": SimpleNamespace(Options=PasswordOptions),
        "mtls": SimpleNamespace(Options=MtlsOptions),
        "peer": SimpleNamespace(Options=PeerOptions),
    },
    "discoveries": {"list": SimpleNamespace(Options=ListOptions)},
    "vault_logins": {"word": SimpleNamespace(Options=WordOptions), "cert": SimpleNamespace(Options=ShowOptions)},
}


_ENTRIES, _RESOLVE = registry.entries, registry.resolve


@pytest.fixture
def real_plugins(plugins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry as it is."""
    monkeypatch.setattr(registry, "entries", _ENTRIES)
    monkeypatch.setattr(registry, "resolve", _RESOLVE)


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry of the plug-ins above; what is cached of them is forgotten afterwards."""

    def resolve(table: str, name: str) -> SimpleNamespace:
        if (found := PLUGINS[table][name]) is None:
            raise ImportError(f"No module named {name!r}")
        return found

    monkeypatch.setattr(registry, "entries", PLUGINS.__getitem__)
    monkeypatch.setattr(registry, "resolve", resolve)
    schema._trust.cache_clear()
    yield
    schema._trust.cache_clear()
