"""TLS settings of both sides, as frozen values; `net.tls` makes contexts of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from ambassador.config.model import Model
from ambassador.config.types import CredentialName, ExistingFile


def _version(value: Any) -> Any:
    # Unquoted, YAML reads a number here.
    return str(value) if isinstance(value, float) else value


def _server_name(value: str) -> str:
    label = value.removeprefix("*.")
    if not label or "*" in label or "/" in label or len(value) > 253 or not value.isascii() or not value.isprintable():
        raise ValueError("server names look like db.example.com or *.example.com")
    return value.lower()


TlsVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(_version)]
ServerName = Annotated[str, AfterValidator(_server_name)]


class ServerCheck(Model):
    """TLS towards a server: whom we believe it to be, and who we are to it."""

    ca: ExistingFile | None = None
    """PEM file of the certificate authorities to trust; the system's without it. Re-read when it changes."""

    cert: ExistingFile | None = None
    """PEM file of our client certificate and its chain; needs `key`. Re-read when it changes."""

    key: ExistingFile | None = None
    """PEM file of the private key of `cert`."""

    server_name: ServerName | None = None
    """Name the server's certificate must bear, also sent as SNI. By default the host of its address."""

    min_version: TlsVersion = "1.2"
    """Oldest TLS version spoken. 1.2 because older ones are broken and many managed databases still lack 1.3."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs both cert and key")
        return self


class ClientTls(ServerCheck):
    """TLS towards an upstream."""

    mode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    """How much of the server's certificate is checked: `verify-full` its chain and its name, `verify-ca` its chain,
    `require` nothing (whoever answers may be anyone), `disable` speaks without TLS. Full by default, because
    anything less can be listened to. There is no "prefer": TLS that gives way protects from nobody."""

    ca: ExistingFile | None = None
    """PEM file of the certificate authorities to trust. Without it a `ca.crt` of `credential`, else the system's."""

    credential: CredentialName | None = None
    """Credential whose `tls.crt` and `tls.key` are shown as our client certificate."""

    @model_validator(mode="after")
    def _one_certificate(self) -> Self:
        if self.cert is not None and self.credential is not None:
            raise ValueError("the client certificate comes from cert and key or from credential: keep one")
        return self


class Certificate(Model):
    """A certificate and its key, both PEM files, re-read when they change."""

    cert: ExistingFile
    """PEM file of the certificate followed by its chain."""

    key: ExistingFile
    """PEM file of the private key; not encrypted."""


def _certificate_somewhere(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"required": ["cert", "key"]}, {"required": ["credential"]}]


class ServerTls(Model):
    """TLS towards clients: its certificate in files (`cert`, `key`), or one that a `credential` brings."""

    model_config = ConfigDict(json_schema_extra=_certificate_somewhere)

    cert: ExistingFile | None = None
    """PEM file of the certificate followed by its chain. Re-read when it changes."""

    key: ExistingFile | None = None
    """PEM file of the private key; not encrypted."""

    credential: CredentialName | None = None
    """Credential whose `tls.crt` and `tls.key` are shown instead, followed when they change: `vault_pki`, say, or a
    mounted Secret. Before it has a value there is nothing to show, and the daemon is not ready."""

    client_ca: ExistingFile | None = None
    """PEM file of the authorities that sign client certificates. With it every client is asked for a certificate,
    and one that is shown must be valid; whether one is demanded is decided by `access`."""

    mode: Literal["require", "allow"] = "require"
    """`require` turns away clients that do not speak TLS. `allow` lets them in without it, where anyone between may
    read along: for the time of a migration. Before redis the first byte tells which a client speaks, and must come
    within `limits.login_timeout`; before tcp nothing does."""

    min_version: TlsVersion = "1.2"
    """Oldest TLS version accepted."""

    sni: dict[ServerName, Certificate] = Field(default_factory=dict)
    """Further certificates by the server name a client asks for, exact or `*.example.com`; others get `cert`."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a certificate needs both cert and key")
        if (self.cert is None) == (self.credential is None):
            raise ValueError("say where the certificate is: in the files cert and key, or in a credential")
        return self
