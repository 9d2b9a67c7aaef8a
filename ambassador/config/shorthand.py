"""A whole configuration from one URL and a few words: what `ambassador proxy` is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from ambassador.config.address import Address
from ambassador.errors import ConfigError

NAME = "upstream"
"""What the one upstream, its listener and its credential are called in logs and metrics."""

_PROTOCOLS: Mapping[str, tuple[str, int | None]] = MappingProxyType(
    {
        "postgres": ("postgres", 5432),
        "postgresql": ("postgres", 5432),
        "redis": ("redis", 6379),
        "rediss": ("redis", 6379),
        "tcp": ("tcp", None),
    }
)
_ENCRYPTED = frozenset({"rediss"})
_LATER = frozenset({"http", "https"})


def configuration(
    url: str, *, listen: str | None, credential: str | None, tls: str | None, ca: Path | None, admin: str
) -> dict[str, Any]:
    """The configuration, as data to be checked like a file's.

    TLS is on, and verified in full, unless the upstream is on this machine; `tls` names another mode. With `rediss://`
    it is on anywhere. Without `listen` it is the port that the protocol has, on this machine.

    Raises:
        ConfigError: the URL or the credential cannot be understood; the text never repeats a URL's password.
    """
    protocol, address, database = _parse(url)
    usual_port = _PROTOCOLS[urlsplit(url).scheme][1]
    if listen is None and usual_port is None:
        raise ConfigError("say where to listen, as in --listen 127.0.0.1:9000: this protocol has no port of its own")
    upstream: dict[str, Any] = {"endpoints": [str(address)]}
    encrypted = urlsplit(url).scheme in _ENCRYPTED
    if tls is not None or ca is not None or encrypted or not address.is_local:
        upstream["tls"] = {"mode": tls or "verify-full"} | ({} if ca is None else {"ca": str(ca)})
    if database is not None:
        upstream[protocol] = {"database": int(database) if protocol == "redis" else database}
    data: dict[str, Any] = {
        "admin": {"listen": admin},
        "upstreams": {NAME: upstream},
        "listeners": {NAME: {"listen": listen or f"127.0.0.1:{usual_port}", protocol: {"upstream": NAME}}},
    }
    if credential is not None:
        data["credentials"] = {NAME: _source(credential)}
        upstream["credential"] = NAME
    return data


def _parse(url: str) -> tuple[str, Address, str | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("the URL cannot be understood; it looks like postgres://db.example.com:5432/orders") from None
    if parts.scheme in _LATER:
        raise ConfigError(f"{parts.scheme}:// is not available in this version")
    if parts.scheme not in _PROTOCOLS:
        raise ConfigError(f"the URL must begin with one of: {', '.join(f'{name}://' for name in _PROTOCOLS)}")
    if parts.username or parts.password:
        raise ConfigError(
            "leave user and password out of the URL, which every process list shows; name a source with --credential"
        )
    if parts.query or parts.fragment:
        raise ConfigError("the URL takes no parameters; put settings into a configuration file")
    protocol, usual_port = _PROTOCOLS[parts.scheme]
    port = port or usual_port
    if host is None or port is None:
        raise ConfigError("the URL must name a host and a port, as in tcp://db.example.com:9000")
    database = unquote(parts.path.removeprefix("/")) or None
    if database is not None and protocol == "tcp":
        raise ConfigError(f"a {parts.scheme}:// URL has no path")
    if database is not None and protocol == "redis" and not (database.isascii() and database.isdigit()):
        raise ConfigError("the path of a redis:// URL is the number of a database, as in redis://cache.example.com/3")
    return protocol, Address(host=host, port=port), database


def _source(words: str) -> dict[str, Any]:
    kind, colon, rest = words.partition(":")
    if colon and rest:
        if kind == "file":
            return {"file": {"path": str(Path(rest).absolute())}}
        if kind == "env":
            user, comma, password = rest.partition(",")
            return {"env": {"username": user, "password": password} if comma else {"password": user}}
        if kind == "exec":
            return {"exec": {"command": rest.split()}}
    raise ConfigError(
        "--credential looks like file:./secret, env:USER_VARIABLE,PASSWORD_VARIABLE or exec:/usr/local/bin/token"
    )
