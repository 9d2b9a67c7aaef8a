"""A PostgreSQL server that does as told, for what a real one will not do on demand.

    with FakePostgres().user("app", password).salt(9).close_at("proof") as server:
        ...

Each word of the script returns the server itself, and may also be said while it runs. What works, works as with a
real server: `tests/contract` runs the same suite over both. Faults in the middle of a session are told to a
statement (`on`) or to a session itself (`sessions`).
"""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Self

from ambassador.net.certificate import server_end_point
from ambassador.wire.postgres import messages
from tests.support.certificates import Pair
from tests.support.fake_conversation import Act, Conversation, Fault, Login, Method, Moment, Script, User
from tests.support.threaded import ThreadedServer

SETTINGS = {
    "server_version": "17.0 (fake)",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "default_transaction_read_only": "off",
    "in_hot_standby": "off",
}


class FakePostgres(ThreadedServer):
    """A context manager. Without a user everyone is let in unasked, to any database.

    Args:
        unix: listen at this path; TCP on a free port of this machine otherwise.

    Attributes:
        logins: everyone who was let in, in order.
        cancels: pid and key of every cancel request.
    """

    def __init__(self, *, unix: Path | None = None) -> None:
        self.logins: list[Login] = []
        self.cancels: list[tuple[int, bytes]] = []
        self._live: list[Conversation] = []
        self._guard = threading.Lock()
        self._script = Script(settings=dict(SETTINGS))
        super().__init__(self._talk, unix=unix)

    # ---- what is going on

    @property
    def sessions(self) -> list[Conversation]:
        """Who is logged in now, in order."""
        with self._guard:
            return list(self._live)

    # ---- the script: what works

    def user(self, name: str, password: str | bytes = b"", method: Method = "scram-sha-256") -> Self:
        """Let this user in, and nobody who is not named so. Said again: a new password."""
        secret = password.encode() if isinstance(password, str) else password
        self._script.users[name] = User(secret, method)
        return self

    def database(self, *names: str) -> Self:
        """Have only these databases."""
        self._script.databases = set(names)
        return self

    def setting(self, name: str, value: str | None) -> Self:
        """Report this setting at login; None: do not."""
        self._script.settings.pop(name, None)
        if value is not None:
            self._script.settings[name] = value
        return self

    def standby(self) -> Self:
        """Say that this is a hot standby."""
        return self.setting("in_hot_standby", "on")

    def read_only(self) -> Self:
        """Say that transactions are read-only."""
        return self.setting("default_transaction_read_only", "on")

    def tls(self, pair: Pair, *, client_ca: Path | None = None, alpn: bool = True) -> Self:
        """Speak TLS, asked for or direct, and offer channel binding."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        if alpn:
            context.set_alpn_protocols(["postgresql"])
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        self._script.tls = context
        leaf = pair.cert.read_text().partition("-----END CERTIFICATE-----")
        self._script.end_point = server_end_point(ssl.PEM_cert_to_DER_cert(leaf[0] + leaf[1]))
        return self

    def proxied(self) -> Self:
        """Expect a PROXY header first."""
        self._script.proxied = True
        return self

    # ---- the script: what is odd

    def salt(self, size: int) -> Self:
        """Use a salt of this many bytes for SCRAM."""
        self._script.salt = bytes(number % 256 for number in range(size))
        return self

    def iterations(self, count: int) -> Self:
        """Ask for this many rounds of PBKDF2."""
        self._script.iterations = count
        return self

    def nonce(self, text: str) -> Self:
        """Add this to the client's nonce."""
        self._script.nonce = text
        return self

    def challenge(self, tail: bytes) -> Self:
        """Let these bytes follow the nonce in SCRAM's challenge, in the place of salt and count."""
        self._script.challenge = tail
        return self

    def offers(self, *mechanisms: str) -> Self:
        """Offer these SASL mechanisms."""
        self._script.offers = mechanisms
        return self

    def trickle(self, pause: float) -> Self:
        """Send byte by byte, with this many seconds after each."""
        self._script.pause = pause
        return self

    # ---- the script: what is wrong

    def refuse(self, code: str, text: str = "go away", *, at: Moment = "proof", times: int | None = None) -> Self:
        """Refuse logins with this SQLSTATE, all or the next few."""
        return self.say_at(at, messages.error_response("FATAL", code, text), "close", times=times)

    def ask_for(self, code: int, payload: bytes = b"") -> Self:
        """Ask for authentication by this number, whatever it is."""
        return self.say_at("startup", messages.authentication(code, payload), "hang")

    def wrong_signature(self) -> Self:
        """Prove to the client that this server does not know the password."""
        self._script.wrong_signature = True
        return self

    def answer_ssl(self, raw: bytes) -> Self:
        """Answer SSLRequest with these bytes; TLS follows if they begin with S and there is a certificate."""
        self._script.ssl_answer = raw
        return self

    def close_at(self, moment: Moment, *, times: int | None = None) -> Self:
        """Close there."""
        return self.say_at(moment, b"", "close", times=times)

    def reset_at(self, moment: Moment, *, times: int | None = None) -> Self:
        """Reset there."""
        return self.say_at(moment, b"", "reset", times=times)

    def hang_at(self, moment: Moment, *, times: int | None = None) -> Self:
        """Fall silent there, and stay connected."""
        return self.say_at(moment, b"", "hang", times=times)

    def say_at(self, moment: Moment, raw: bytes, act: Act = "go on", *, times: int | None = None) -> Self:
        """Say anything there, and then do something."""
        self._script.faults[moment] = Fault(act, raw, times)
        return self

    def on(self, sql: str, raw: bytes, act: Act = "go on") -> Self:
        """Answer this statement with these bytes instead, ReadyForQuery not included, and then do something."""
        self._script.statements[sql] = Fault(act, raw)
        return self

    # ---- behind it

    def _talk(self, sock: socket.socket) -> None:
        talk = Conversation(sock, self._script)
        try:
            cancel = talk.log_in()
            if cancel is not None:
                self._cancel(*cancel)
                return
            assert talk.login is not None
            with self._guard:
                self.logins.append(talk.login)
                self._live.append(talk)
            talk.serve()
        finally:
            with self._guard:
                if talk in self._live:
                    self._live.remove(talk)
            talk.close()

    def _cancel(self, pid: int, key: bytes) -> None:
        with self._guard:
            self.cancels.append((pid, key))
            for talk in self._live:
                if (talk.pid, talk.key) == (pid, key):
                    talk.cancelled.set()
