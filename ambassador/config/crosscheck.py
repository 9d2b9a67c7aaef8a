"""What no section can know by itself: names that must exist elsewhere, addresses taken twice, files that are missing.

Each check yields the path and the message of what it finds. They run over whatever could be read, so that one
misspelt key does not hide another fault: `names` are those of the whole file, whether or not their entry is sound.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ambassador import registry
from ambassador.config import words
from ambassador.config.address import Address
from ambassador.config.fault import KeyPath
from ambassador.config.marks import MustExist, Reference
from ambassador.config.schema import Config, ListenerSettings, UpstreamSettings
from ambassador.config.walk import leaves, texts

Found = Iterator[tuple[KeyPath, str]]
Names = Mapping[str, Collection[str] | None]

_NEEDS = {
    "client_certificates": "clients are known by their certificates here: add tls with client_ca to this listener",
    "unix_sockets": "the kernel names a client only on unix sockets: every listen address must be unix:/path",
    "user_names": "clients of this protocol name no user for a process to be: say with users or groups who may come in",
    "passwords": "this protocol has no words to ask for a password: use trust, peer or mtls",
    "upstream_tls": "these settings need TLS: add tls to this upstream, with a mode that is not disable",
    "tls": "passwords would cross the network in the clear: add tls to this listener, with mode require",
}


def check(config: Config, names: Names, damaged: Collection[KeyPath] = ()) -> Found:
    """All faults between sections.

    Args:
        config: what could be read.
        names: for each section (`credentials`, `upstreams`) the names its entries have in the file; None if unknown.
        damaged: paths of entries of which faulty parts were left out of `config`: what is missing there proves
            nothing.
    """
    yield from references(config, names)
    yield from files(config)
    yield from addresses(config)
    yield from protocols(config, damaged)
    yield from kinds(config)
    for name, listener in config.listeners.items():
        if ("listeners", name) not in damaged:
            yield from access(name, listener)
    for name, upstream in config.upstreams.items():
        if ("upstreams", name) not in damaged:
            yield from encryption(name, upstream)


def references(config: Config, names: Names) -> Found:
    """Names of credentials and upstreams that nothing bears."""
    for leaf in leaves(config):
        if (mark := leaf.mark(Reference)) is None:
            continue
        known = names[mark.section]
        for below, name in texts(leaf.value):
            if known is not None and name not in known:
                noun = mark.section.removesuffix("s")
                yield (*leaf.path, *below), f"there is no such {noun}{words.suggestion(name, known)}"


def files(config: Config) -> Found:
    """Files that must be there and are not, or cannot be read."""
    for leaf in leaves(config):
        if leaf.mark(MustExist) is not None and isinstance(leaf.value, Path):
            try:
                readable = leaf.value.is_file() and os.access(leaf.value, os.R_OK)
                exists = readable or leaf.value.exists()
            except (OSError, ValueError):
                readable = exists = False
            if not readable:
                yield leaf.path, "this file cannot be read" if exists else "there is no such file"


def addresses(config: Config) -> Found:
    """Addresses that two listeners, or a listener and the admin server, would both bind."""
    taken: dict[Address, str] = {}
    listening: list[tuple[KeyPath, str, tuple[Address, ...]]] = [(("admin", "listen"), "admin", config.admin.listen)]
    listening += [
        (("listeners", name, "listen"), f"listener {name!r}", one.listen) for name, one in config.listeners.items()
    ]
    for path, owner, listen in listening:
        for index, address in enumerate(listen):
            if (other := _taken_by(address, taken)) is not None:
                yield (*path, index), f"{other} listens there already"
            if owner != "admin" or address.port != 0:
                taken.setdefault(address, owner)


def _taken_by(address: Address, taken: Mapping[Address, str]) -> str | None:
    # Port 0, for which the kernel picks one, included: a listener's socket is found by the address as written.
    if address in taken or address.is_unix or address.port == 0:
        return taken.get(address)
    for other, owner in taken.items():
        # 0.0.0.0 holds the port on every IPv4 address, :: on every IPv6 address.
        same_family = (":" in (address.host or "")) == (":" in (other.host or ""))
        if other.port == address.port and same_family and (other.is_wildcard or address.is_wildcard):
            return owner
    return None


def protocols(config: Config, damaged: Collection[KeyPath] = ()) -> Found:
    """Listeners that speak another protocol than the upstream they name was set up for."""
    users: dict[str, set[str]] = {}
    for name, listener in config.listeners.items():
        path: KeyPath = ("listeners", name, listener.protocol)
        for leaf in leaves(listener.options, path):
            mark = leaf.mark(Reference)
            if mark is None or mark.section != "upstreams":
                continue
            for below, upstream in texts(leaf.value):
                users.setdefault(upstream, set()).add(listener.protocol)
                yield from _mismatch((*leaf.path, *below), listener, config.upstreams.get(upstream))
    if any(path[0] == "listeners" for path in damaged):
        return  # one that was left out may be the one that logs in
    for name, spoken in users.items():
        yield from _unused(name, config.upstreams.get(name), spoken)


def _mismatch(path: KeyPath, listener: ListenerSettings, upstream: UpstreamSettings | None) -> Found:
    if upstream is not None and upstream.protocol not in {None, listener.protocol}:
        yield path, f"this listener speaks {listener.protocol}, but that upstream is set up for {upstream.protocol}"


def _unused(name: str, upstream: UpstreamSettings | None, spoken: Collection[str]) -> Found:
    if upstream is None or upstream.credential is None:
        return
    all_spoken = {*spoken, *filter(None, [upstream.protocol])}
    if not any(getattr(registry.resolve("protocols", protocol), "logs_in", True) for protocol in all_spoken):
        who = " and ".join(sorted(spoken))
        message = f"{who} logs in nowhere, so this is of no use here; a client certificate belongs to tls"
        yield ("upstreams", name, "credential"), message


def kinds(config: Config) -> Found:
    """Credentials that cannot be what they are used for: a certificate as a password, and the other way round."""
    for name, upstream in config.upstreams.items():
        if not _can(config, upstream.credential, "brings_password"):
            message = f"{upstream.credential!r} is a certificate and no password: name it as the credential of tls"
            yield ("upstreams", name, "credential"), message
        yield from _uncertified(config, ("upstreams", name), None if upstream.tls is None else upstream.tls.credential)
    for name, listener in config.listeners.items():
        yield from _uncertified(config, ("listeners", name), None if listener.tls is None else listener.tls.credential)


def _uncertified(config: Config, path: KeyPath, credential: str | None) -> Found:
    if not _can(config, credential, "brings_certificate"):
        yield (*path, "tls", "credential"), f"{credential!r} brings a user and a password, and no certificate"


def _can(config: Config, credential: str | None, what: str) -> bool:
    """Whether a credential may be used so; what is not known may."""
    settings = None if credential is None else config.credentials.get(credential)
    return settings is None or getattr(registry.resolve("sources", settings.source), what, True)


def access(name: str, listener: ListenerSettings) -> Found:
    """Ways in that are wider than they look, or that cannot work on this listener."""
    path: KeyPath = ("listeners", name, "access")
    settings = listener.access
    local = all(address.is_local for address in listener.listen)
    if settings.kind == "trust" and not local and not settings.allow_remote_trust:
        if "access" in listener.model_fields_set:
            yield (
                (*path, "trust"),
                (
                    "other machines reach this address: choose another way of access, "
                    "or write allow_remote_trust: true beside trust to let everyone in"
                ),
            )
        else:
            yield (
                ("listeners", name, "listen"),
                (
                    "other machines reach this address: say with access who may come in, "
                    "for example access: {password: {credential: ...}}"
                ),
            )
    for need in sorted(settings.options.needs - _offered(listener, local=local)):
        yield (*path, settings.kind), _NEEDS[need]
    protocol = registry.resolve("protocols", listener.protocol)
    told_apart = getattr(protocol, "negotiates_tls", True) or getattr(protocol, "client_speaks_first", True)
    if listener.tls is not None and listener.tls.mode == "allow" and not told_apart:
        message = f"{listener.protocol} does not show whether a client speaks TLS: write require, the default"
        yield ("listeners", name, "tls", "mode"), message


def encryption(name: str, upstream: UpstreamSettings) -> Found:
    """Options of a protocol that mean nothing without TLS."""
    plain = upstream.tls is None or upstream.tls.mode == "disable"
    if plain and upstream.options is not None and "upstream_tls" in upstream.options.needs:
        yield ("upstreams", name, upstream.protocol or ""), _NEEDS["upstream_tls"]


def _offered(listener: ListenerSettings, *, local: bool) -> frozenset[str]:
    offered = set()
    if listener.tls is not None and listener.tls.client_ca is not None:
        offered.add("client_certificates")
    if all(address.is_unix for address in listener.listen):
        offered.add("unix_sockets")
    if local or (listener.tls is not None and listener.tls.mode == "require"):
        offered.add("tls")
    protocol = registry.resolve("protocols", listener.protocol)
    if getattr(protocol, "asks_for_passwords", True):
        offered.add("passwords")
    if getattr(protocol, "names_users", True):
        offered.add("user_names")
    return frozenset(offered)
