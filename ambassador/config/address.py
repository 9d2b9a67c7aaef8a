"""Address: where to listen or to connect, as one writes it: `host:port`, `[::1]:port`, `unix:/path`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?\Z", re.ASCII)
_PORT = re.compile(r"\d{1,5}\Z", re.ASCII)
_DOTTED = re.compile(r"[\d.]+\Z", re.ASCII)
# sockaddr_un.sun_path of Linux has 108 bytes, the last of them NUL (unix(7)).
_LONGEST_PATH = 107
_FORMS = "addresses look like 127.0.0.1:5432, db.example.com:5432, [::1]:5432 or unix:/run/app/socket"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A TCP address (`host`, `port`) or a unix socket (`path`); the other fields are None.

    `host` has no brackets. Names are kept as written; nothing is resolved here.
    """

    host: str | None = None
    port: int | None = None
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address as a person writes it.

        Raises:
            ValueError: it is none; the text says which forms there are, and does not repeat the input.
        """
        if text.startswith("unix:"):
            return cls(path=_socket_path(text.removeprefix("unix:")))
        host, colon, port = text.rpartition(":")
        if not colon or not _PORT.match(port) or int(port) > 0xFFFF:
            raise ValueError(_FORMS)
        return cls(host=_host(host), port=int(port))

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return self.path is not None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can be at the other end: 127.0.0.0/8, ::1 or `localhost`; not unix sockets."""
        if self.host is None:
            return False
        if self.host.rstrip(".").lower() == "localhost":
            return True
        try:
            ip = ip_address(self.host)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            return ip.ipv4_mapped.is_loopback
        return ip.is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of its family: 0.0.0.0 or ::."""
        return self.host in {"0.0.0.0", "::"}

    @property
    def is_local(self) -> bool:
        """Whether nothing beyond this machine can reach it: a unix socket or loopback."""
        return self.is_unix or self.is_loopback

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in (self.host or "") else self.host
        return f"{host}:{self.port}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )

    @classmethod
    def _validate(cls, value: Any) -> Address:
        if isinstance(value, Address):
            return value
        if not isinstance(value, str):
            raise ValueError(_FORMS)  # noqa: TRY004 - pydantic reports ValueErrors, and lets TypeErrors out
        return cls.parse(value)


def _socket_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("the path of a unix socket is absolute: unix:/run/app/socket")
    if len(path.encode()) > _LONGEST_PATH or "\0" in path:
        raise ValueError(f"the path of a unix socket has at most {_LONGEST_PATH} bytes, none of them NUL")
    return path


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return str(_ip6(text[1:-1]))
    if ":" in text:
        raise ValueError("put an IPv6 address in brackets: [::1]:5432")
    if text == "*":
        raise ValueError("to listen on every address, write 0.0.0.0 (IPv4) or [::] (IPv6)")
    if _DOTTED.match(text):
        return _ip4(text)
    if not _HOST.match(text):
        raise ValueError(_FORMS)
    return text


def _ip4(text: str) -> str:
    # Four decimal numbers or nothing: getaddrinfo would take 127.1 and 010.0.0.1 too, and read them in its own way.
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("an IPv4 address has four numbers from 0 to 255: 127.0.0.1:5432") from None


def _ip6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise ValueError("the brackets must hold an IPv6 address: [::1]:5432") from None
