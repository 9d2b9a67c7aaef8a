"""TLS contexts for both sides, kept current: built from files or from PEM in memory, replaced as a whole.

A handshake begun on an old context ends on it. A new certificate that cannot be used leaves the old one in place.
Older versions than TLS 1.2 are not spoken, nothing is renegotiated, and secret keys never touch a disk here.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ambassador.errors import ConfigError
from ambassador.net import certificate
from ambassador.net.engine import explain
from ambassador.net.facts import Connection, Context, PeerNames, TlsFacts

__all__ = ["ClientContexts", "Contexts", "PeerNames", "Pem", "ServerContexts", "TlsFacts"]

_LONGEST_FILE = 4 << 20
"""A PEM file longer than this is not one: the bundle of all public authorities has 200 KB."""

FROM_CREDENTIAL = "tls.crt of the credential with its tls.key"

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class CertificateFiles(Protocol):
    """PEM files of a certificate, followed by its chain, and of its key; None where they come from memory."""

    @property
    def cert(self) -> Path | None:
        """Certificate and chain."""

    @property
    def key(self) -> Path | None:
        """Private key, not encrypted."""


class ServerSettings(CertificateFiles, Protocol):
    """What a server shows, and which clients' certificates it believes."""

    @property
    def client_ca(self) -> Path | None:
        """Authorities of client certificates: with it clients are asked for one, and what they show must be valid."""

    @property
    def min_version(self) -> str:
        """`1.2` or `1.3`."""

    @property
    def sni(self) -> Mapping[str, CertificateFiles]:
        """Further certificates by server name, exact or `*.example.com`."""


class ClientSettings(Protocol):
    """What a client checks and shows."""

    @property
    def mode(self) -> str:
        """`require`: no check at all; `verify-ca`: the chain; `verify-full`: the chain and the name."""

    @property
    def ca(self) -> Path | None:
        """Authorities to trust; without it those of the PEM handed in, else the system's."""

    @property
    def cert(self) -> Path | None:
        """Client certificate and chain."""

    @property
    def key(self) -> Path | None:
        """Its private key."""

    @property
    def server_name(self) -> str | None:
        """Name to check and to send instead of the address's host."""

    @property
    def min_version(self) -> str:
        """`1.2` or `1.3`."""


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate with its chain, its key, and authorities to trust, each PEM, none of them on disk."""

    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    ca: bytes | None = None


def examine(pem: Pem) -> float:
    """When a certificate ends (seconds since 1970 UTC) that is one, and that its key belongs to.

    Raises:
        ConfigError: not so, or one of the two is missing.
    """
    context = _plain_context(ssl.PROTOCOL_TLS_SERVER, "1.2", ())
    _show(context, pem.cert or b"", pem.key or b"", FROM_CREDENTIAL)
    return _expiry(context)


class Contexts(ABC):
    """A context that can be replaced. Read `current` at the moment of use; it never waits.

    Args:
        pem: certificate, key and authorities from memory; see `renew`.

    `version` counts the contexts, from 1. `not_after` is when the first of our own certificates expires (seconds
    since 1970 UTC), None without any. `files` are the files to watch.
    """

    current: Context
    version: int
    not_after: float | None
    files: tuple[Path, ...]

    def __init__(self, pem: Pem | None) -> None:
        self.version = 0
        self._pem = pem or Pem()
        self._digest = b""
        self.rebuild()

    def renew(self, pem: Pem) -> bool:
        """Use `pem` from now on; False when nothing has changed.

        Raises:
            ConfigError: it cannot be used; the one before stays.
        """
        before, self._pem = self._pem, pem
        try:
            return self.rebuild()
        except ConfigError:
            self._pem = before
            raise

    def rebuild(self) -> bool:
        """Read everything again; False when nothing has changed.

        Raises:
            ConfigError: it cannot be used; `current` is what it was before.
        """
        sources = self._sources()
        digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in sources.values())).digest()
        if digest == self._digest:
            return False
        try:
            self.current, self.not_after = self._build(sources)
        except OSError as error:  # no descriptor or memory for it; what is wrong with the files was said already
            raise ConfigError(f"cannot use certificates now: {error.strerror or error}") from error
        self._digest = digest
        self.version += 1
        return True

    def _sources(self) -> dict[str, bytes]:
        """Everything the context is made of, by the name used in errors."""
        found = {str(path): _read(path) for path in self.files}
        memory = {"ca.crt": self._pem.ca, "tls.crt": self._pem.cert, "tls.key": self._pem.key}
        return found | {name: data or b"" for name, data in memory.items()}

    @abstractmethod
    def _build(self, sources: Mapping[str, bytes]) -> tuple[Context, float | None]:
        """Make the context, and say when the first of its own certificates expires."""


class ServerContexts(Contexts):
    """Contexts of a listener.

    Args:
        settings: which files to use. Where they name no certificate it comes from memory, and before there is one,
            handshakes fail.
        alpn: application protocols to agree to when a client offers them; one that offers none is let in all the same.

    Raises:
        ConfigError: a file cannot be read or used.
    """

    def __init__(self, settings: ServerSettings, pem: Pem | None = None, *, alpn: Sequence[str] = ()) -> None:
        self._settings = settings
        self._alpn = tuple(alpn)
        pairs = [settings, *settings.sni.values()]
        files = [path for pair in pairs for path in (pair.cert, pair.key)]
        self.files = tuple(dict.fromkeys(path for path in (*files, settings.client_ca) if path is not None))
        super().__init__(pem)

    def renew(self, pem: Pem) -> bool:
        if self._settings.cert is None and not (pem.cert and pem.key):
            raise ConfigError("the credential has no tls.crt with a tls.key")
        return super().renew(pem)

    def _build(self, sources: Mapping[str, bytes]) -> tuple[Context, float | None]:
        settings = self._settings
        main = self._context(settings, sources)
        named = {name.lower(): self._context(pair, sources) for name, pair in settings.sni.items()}
        main.sni_callback = _Names(named).choose
        return main, min((_expiry(one) for one in (main, *named.values()) if one.certificate is not None), default=None)

    def _context(self, pair: CertificateFiles, sources: Mapping[str, bytes]) -> Context:
        context = _plain_context(ssl.PROTOCOL_TLS_SERVER, self._settings.min_version, self._alpn)
        if pair.cert is not None and pair.key is not None:
            _show(context, sources[str(pair.cert)], sources[str(pair.key)], f"{pair.cert} with the key {pair.key}")
        elif self._pem.cert and self._pem.key:
            _show(context, self._pem.cert, self._pem.key, FROM_CREDENTIAL)
        if self._settings.client_ca is not None:
            _trust(context, sources[str(self._settings.client_ca)], str(self._settings.client_ca))
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


class ClientContexts(Contexts):
    """Contexts towards an upstream.

    Args:
        settings: what to check and which files to use; not with mode `disable`.
        alpn: application protocols to offer.

    Raises:
        ConfigError: something cannot be read or used.
    """

    def __init__(self, settings: ClientSettings, pem: Pem | None = None, *, alpn: Sequence[str] = ()) -> None:
        self._settings = settings
        self._alpn = tuple(alpn)
        self.files = tuple(path for path in (settings.ca, settings.cert, settings.key) if path is not None)
        super().__init__(pem)

    @property
    def server_name(self) -> str | None:
        """Name to check and to send instead of the address's host, where the settings give one."""
        return self._settings.server_name

    def _build(self, sources: Mapping[str, bytes]) -> tuple[Context, float | None]:
        settings, pem = self._settings, self._pem
        context = _plain_context(ssl.PROTOCOL_TLS_CLIENT, settings.min_version, self._alpn)
        context.check_hostname = settings.mode == "verify-full"
        context.verify_mode = ssl.CERT_NONE if settings.mode == "require" else ssl.CERT_REQUIRED
        if context.verify_mode is not ssl.CERT_NONE:
            if settings.ca is not None:
                _trust(context, sources[str(settings.ca)], str(settings.ca))
            elif pem.ca:
                _trust(context, pem.ca, "ca.crt of the credential")
            else:
                _trust_system(context)
        if settings.cert is not None and settings.key is not None:
            names = f"{settings.cert} with the key {settings.key}"
            _show(context, sources[str(settings.cert)], sources[str(settings.key)], names)
        elif pem.cert and pem.key:
            _show(context, pem.cert, pem.key, FROM_CREDENTIAL)
        return context, None if context.certificate is None else _expiry(context)


class _Names:
    """Chooses a certificate by the server name a client asks for."""

    def __init__(self, contexts: Mapping[str, Context]) -> None:
        self._contexts = contexts

    def choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is None:
            return
        if isinstance(connection, Connection):
            connection.sni = name
        lowered = name.lower().rstrip(".")
        chosen = self._contexts.get(lowered, self._contexts.get("*." + lowered.partition(".")[2]))
        if chosen is not None:
            connection.context = chosen


def _plain_context(side: int, min_version: str, alpn: Sequence[str]) -> Context:
    context = Context(side)
    context.sslobject_class = Connection
    context.minimum_version = _VERSIONS[min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _show(context: Context, cert: bytes, key: bytes, what: str) -> None:
    """Load a certificate and its key.

    Raises:
        ConfigError: they are no PEM, or do not belong together.
    """
    try:
        with _in_memory(cert) as cert_path, _in_memory(key) as key_path:
            context.load_cert_chain(cert_path, key_path, _no_password)
        context.certificate = _leaf(cert)
        certificate.not_after(context.certificate)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"cannot use the certificate {what}: {explain(error)}") from error


def _trust(context: ssl.SSLContext, pem: bytes, what: str) -> None:
    """Trust what `pem` holds, an intermediate authority or a server's own certificate as well as a root.

    Raises:
        ConfigError: there is no certificate in it.
    """
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        with _in_memory(pem) as path:
            context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"no certificate to trust in {what}: {explain(error)}") from error


def _trust_system(context: ssl.SSLContext) -> None:
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath):
        raise ConfigError("this machine has no list of certificate authorities: install ca-certificates, or name a ca")
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)


def _expiry(context: Context) -> float:
    if context.certificate is None:
        raise AssertionError("asked when a context without a certificate expires")
    return certificate.not_after(context.certificate)


def _leaf(pem: bytes) -> bytes:
    """The first certificate of a PEM text as DER: the one that OpenSSL takes for our own."""
    found = _CERTIFICATE.search(pem)
    if found is None:
        raise ValueError("there is no certificate in it")
    return ssl.PEM_cert_to_DER_cert(found.group().decode("ascii"))


def _no_password() -> str:
    # Without this OpenSSL would ask for it at the terminal, and wait.
    raise ValueError("the key is encrypted; it must not be")


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path that leads to `data`, for OpenSSL's functions that take only files; it exists in no file system."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", file=str(path)) from error
    if len(data) > _LONGEST_FILE:
        raise ConfigError(f"{path} is too long for a PEM file: over {_LONGEST_FILE} bytes", file=str(path))
    return data
