"""ambassador: the proxy between applications in Kubernetes and the databases outside it.

A client's bytes walk down this house and never back up: listener → session → protocol → upstream → endpoint.
Rooms, top to bottom; imports only point down (the contracts are in pyproject.toml):

    cli, __main__     words typed by people
    demo              a guided tour over real embedded servers
    runtime           configuration → running objects; swap; drain. The only place that knows how all fits
    admin             the operator's door: metrics, probes, status, reload, drain, quit
    proxy             listeners, sessions, routes: the data path, blind to protocols
    discovery         where endpoints come from
    protocols         tcp, postgres: the only files that both know a protocol and await
    upstreams         a named service: endpoints, health, balance, connections, leases
    access            who may come in
    credentials       what we show upstream: sources, rotation, the store
    net               the only place that binds, dials, upgrades to TLS or copies
    config            words on disk → frozen values
    telemetry         names of metrics and log fields
    wire              bytes → decisions and back; no I/O of any kind
    kit               small asyncio helpers
    registry          every protocol, source, authenticator and discovery: one line each
    errors            who is at fault, and the reason in one word

What is hard to get right (framing, logins, "is this connection free?") is pure and lies in `wire`. What is slow to
get (credentials, certificates, configuration) is kept current by background keepers and read as a plain attribute.
"""

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

__version__ = "0.1.0"


def _only_sources(path: str) -> FileFinder:
    """Finds the modules of this package, and of them the sources only."""
    if not f"{path}{os.sep}".startswith(f"{__path__[0]}{os.sep}"):
        raise ImportError(path)
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


# What is hot is compiled, where there was a compiler, and Python prefers that to its source.
if os.environ.get("AMBASSADOR_PURE"):
    sys.path_hooks.insert(0, _only_sources)
