"""The login with us as the client, towards the upstream.

    startup ─► (proof) ─► AuthenticationOk ─► settings, cancel key ─► ReadyForQuery

The server is not trusted: lengths are bounded, it must prove that it knows the password where SCRAM is spoken, and
with channel binding required nothing less will do. TLS comes before this machine: write `messages.ssl_request()`,
judge the one byte of the answer with `answer_to_ssl_request`, shake hands, then begin here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Literal

from ambassador.errors import Reason, UpstreamError
from ambassador.wire import scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.events import ClientEvent, KeysNeeded, LoggedIn
from ambassador.wire.postgres.login.machine import Machine

ChannelBinding = Literal["disable", "prefer", "require"]

MAX_AUTHENTICATION = 16 * 1024  # bytes of one authentication request; about 150 are usual
MAX_MESSAGE = 64 * 1024  # bytes of any other message before the first query
MAX_SETTINGS = 256 * 1024  # bytes of all ParameterStatus messages together
MAX_OLD_ERROR = 512  # bytes of an error in the words of protocol 2
MAX_WAITING = 512 * 1024

_SASL_CODES = frozenset({messages.AUTH_SASL, messages.AUTH_SASL_CONTINUE, messages.AUTH_SASL_FINAL})


def _bad_message(text: str) -> UpstreamError:
    return UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, f"the server broke the protocol during login: {text}")


def _unsupported(text: str) -> UpstreamError:
    return UpstreamError(Reason.UPSTREAM_UNSUPPORTED, text)


def answer_to_ssl_request(answer: bytes) -> bool:
    """Whether the server will speak TLS.

    Args:
        answer: all that has been read of the answer, at least one byte.

    Raises:
        UpstreamError: it is neither `S` nor `N`, or bytes follow it in the clear, where only TLS may follow.
    """
    if answer[:1] == b"E":
        raise UpstreamError(Reason.UPSTREAM_REJECTED, "the server answered the request for TLS with an error")
    if answer not in {b"S", b"N"}:
        raise UpstreamError(
            Reason.UPSTREAM_BAD_MESSAGE, "the server's answer to the request for TLS is not one byte, S or N"
        )
    return answer == b"S"


class _Step(Enum):
    AUTHENTICATION = auto()  # any authentication request
    SASL_CHALLENGE = auto()
    KEYS = auto()  # the owner must provide
    SASL_FINAL = auto()
    OK = auto()  # the proof is sent, or verified: nothing but AuthenticationOk may follow
    SETTINGS = auto()  # until ReadyForQuery
    DONE = auto()


class ClientLogin(Machine):
    """One login, played as the client. The startup message can be sent at once.

    Args:
        user: the name to log in with.
        parameters: what else the startup message asks for: `database`, `options`, `replication`, settings.
        password: what to prove ourselves with, of any length; None when there is none.
        client_nonce: for SCRAM: printable ASCII without commas, unguessable, such as `secrets.token_urlsafe(18)`.
        channel_binding: whether to bind SCRAM to the TLS connection: never, when offered, or insist.
        end_point: gives the hash of the server's certificate (RFC 5929 §4), or None where that is undefined for its
            signature; called only when SCRAM begins. None when there is no TLS.
        allow_cleartext: the password itself may be sent, because nobody else can read it.
        max_iterations: the bound on SCRAM's iteration count.
        version: the protocol version to ask for; a server may answer with an older one.
    """

    def __init__(
        self,
        user: str,
        parameters: Mapping[str, str],
        *,
        password: bytes | None,
        client_nonce: str,
        channel_binding: ChannelBinding = "prefer",
        end_point: Callable[[], bytes | None] | None = None,
        allow_cleartext: bool = False,
        max_iterations: int = scram.MAX_ITERATIONS,
        version: int = messages.PROTOCOL_3_0,
    ) -> None:
        super().__init__(MAX_WAITING, _bad_message)
        self._user = user
        self._password = password
        self._client_nonce = client_nonce
        self._channel_binding = channel_binding
        self._end_point = end_point
        self._allow_cleartext = allow_cleartext
        self._max_iterations = max_iterations
        self._version = version
        self._step = _Step.AUTHENTICATION
        self._method = "none"
        self._scram: scram.ScramClient | None = None
        self._settings: dict[str, str] = {}
        self._settings_raw = bytearray()
        self._pid = 0
        self._key = b""
        try:
            self._send(messages.startup_message({"user": user, **parameters}, version))
        except messages.Malformed as fault:
            raise _unsupported(f"the startup message cannot be written: {fault}") from None

    def next_event(self) -> ClientEvent | None:
        """What happened next, or None: either more bytes are needed, or `provide` is.

        Raises:
            UpstreamError: UPSTREAM_LOGIN_REFUSED (the credential is wrong), UPSTREAM_REJECTED (any other error; both
                with the SQLSTATE in `code`), UPSTREAM_BAD_MESSAGE, UPSTREAM_UNSUPPORTED (a method we do not speak or
                are not allowed to), NO_CREDENTIAL (a password is wanted and there is none).
        """
        try:
            return self._advance()
        except messages.Malformed as fault:
            raise _bad_message(str(fault)) from None
        except scram.ScramError as fault:
            reason = Reason.UPSTREAM_LOGIN_REFUSED if fault.refused else Reason.UPSTREAM_BAD_MESSAGE
            raise UpstreamError(reason, f"SCRAM with the server failed: {fault}") from None

    def _advance(self) -> ClientEvent | None:
        while self._step not in {_Step.KEYS, _Step.DONE}:
            taken = None if self._speaks_protocol_2() else self._take_tagged(MAX_MESSAGE)
            if taken is None:
                return None
            event = self._take(*taken)
            if event is not None:
                return event
        return None

    def _speaks_protocol_2(self) -> bool:
        """Whether an error comes as `E`, a text, NUL, of which not all is here: so answers a server that cannot fork.

        Read as protocol 3, the text's first bytes are a length beyond reason. Raises UpstreamError with the text.
        """
        head = self._inbox.peek(0, 5)
        if len(head) < 5 or head[:1] != b"E" or int.from_bytes(head[1:]) <= MAX_MESSAGE:
            return False
        text, end, _ = self._inbox.peek(1, MAX_OLD_ERROR).partition(b"\0")
        if not end and len(self._inbox) < MAX_OLD_ERROR:
            return True
        said = text.decode("utf-8", "replace").strip()
        raise UpstreamError(Reason.UPSTREAM_REJECTED, f"the server refused the connection: {said!r}")

    def _take(self, tag: bytes, payload: bytes) -> ClientEvent | None:
        if tag == b"E":
            raise self._refused(messages.parse_error(payload))
        if tag == b"N":
            return None  # a notice: an upstream's private words to whoever logs in
        if tag == b"v":
            self._negotiated(payload)
            return None
        if self._step is _Step.SETTINGS:
            return self._setting(tag, payload)
        if tag != b"R":
            raise _bad_message(f"message {tag!r} came before the login was complete")
        if len(payload) > MAX_AUTHENTICATION:
            raise _bad_message("an authentication request is too long")
        return self._asked(*messages.parse_authentication(payload))

    def _refused(self, error: messages.ErrorFields) -> UpstreamError:
        wrong_credential = error.code.startswith("28")  # class 28: invalid authorization specification
        reason = Reason.UPSTREAM_LOGIN_REFUSED if wrong_credential else Reason.UPSTREAM_REJECTED
        return UpstreamError(reason, f"{error.severity} {error.code}: {error.message[:500]}", code=error.code)

    def _negotiated(self, payload: bytes) -> None:
        """The server speaks an older version. Options of ours it cannot refuse: we send none (`_pq_.`)."""
        version, unknown = messages.parse_negotiate_protocol_version(payload)
        if not messages.PROTOCOL_3_0 <= version <= self._version or unknown or self._step is _Step.SETTINGS:
            raise _bad_message("an impossible protocol negotiation")

    # --- The proof ----------------------------------------------------------------------------------------------

    def _asked(self, code: int, payload: bytes) -> ClientEvent | None:
        if code == messages.AUTH_OK:
            self._accepted()
        elif self._step is _Step.SASL_CHALLENGE and code == messages.AUTH_SASL_CONTINUE:
            return self._challenged(payload)
        elif self._step is _Step.SASL_FINAL and code == messages.AUTH_SASL_FINAL:
            assert self._scram is not None, "SASL_FINAL follows SASL_CHALLENGE"
            self._scram.verify(payload)
            self._step = _Step.OK
        elif self._step is not _Step.AUTHENTICATION:
            raise _bad_message(f"authentication request {code} came out of turn")
        elif code == messages.AUTH_CLEARTEXT:
            self._send_cleartext()
        elif code == messages.AUTH_MD5:
            self._send_md5(payload)
        elif code == messages.AUTH_SASL:
            self._begin_scram(messages.parse_sasl_mechanisms(payload))
        elif code in _SASL_CODES:
            raise _bad_message(f"authentication request {code} came out of turn")
        else:
            name = messages.AUTH_NAMES.get(code, f"number {code}")
            raise _unsupported(f"the server asks for authentication by {name}, which is not supported")
        return None

    def _accepted(self) -> None:
        if self._step not in {_Step.AUTHENTICATION, _Step.OK}:
            raise _bad_message("the server lets us in without having proven that it knows the password")
        if self._channel_binding == "require" and self._method != scram.MECHANISM_PLUS:
            raise _unsupported("channel binding is required, but the server lets us in without it")
        self._step = _Step.SETTINGS
        self._password = None

    def _needed_password(self) -> bytes:
        if not self._password:
            raise UpstreamError(
                Reason.NO_CREDENTIAL, f'the server asks for a password of "{self._user}"; there is none'
            )
        return self._password

    def _refuse_weaker_than_binding(self, method: str) -> None:
        if self._channel_binding == "require":
            raise _unsupported(f"channel binding is required, but the server asks for {method}")

    def _send_cleartext(self) -> None:
        self._refuse_weaker_than_binding("a cleartext password")
        password = self._needed_password()
        if not self._allow_cleartext:
            raise _unsupported("the server asks for the password in cleartext, which is not allowed on this connection")
        self._send(messages.password_message(password))
        self._method = "cleartext"
        self._step = _Step.OK

    def _send_md5(self, salt: bytes) -> None:
        self._refuse_weaker_than_binding("an md5 password")
        password = self._needed_password()
        if len(salt) != 4:
            raise _bad_message("an md5 salt has four bytes")
        self._send(messages.password_message(md5_digest(self._user, password, salt)))
        self._method = "md5"
        self._step = _Step.OK

    def _begin_scram(self, offered: list[str]) -> None:
        end_point = self._end_point() if self._end_point and self._channel_binding != "disable" else None
        flag, binding, mechanism = "n", b"", scram.MECHANISM
        if end_point is not None and scram.MECHANISM_PLUS in offered:
            flag, binding, mechanism = "p=tls-server-end-point", end_point, scram.MECHANISM_PLUS
        elif self._channel_binding == "require":
            raise _unsupported("channel binding is required, but " + _why_unbound(end_point))
        elif scram.MECHANISM not in offered:
            names = ", ".join(repr(name) for name in offered[:8])
            raise _unsupported(f"the server offers no SASL mechanism that is supported, only {names or 'none'}")
        elif end_point is not None:
            flag = "y"  # we could have; if the server could too, somebody took its offer away, and it will refuse us
        self._needed_password()
        self._method = mechanism
        self._scram = scram.ScramClient(
            self._client_nonce, flag=flag, binding=binding, max_iterations=self._max_iterations
        )
        self._send(messages.sasl_initial_response(mechanism, self._scram.first()))
        self._step = _Step.SASL_CHALLENGE

    def _challenged(self, payload: bytes) -> KeysNeeded:
        assert self._scram is not None, "SASL_CHALLENGE follows the choice of a mechanism"
        challenge = self._scram.challenged(payload)
        self._step = _Step.KEYS
        return KeysNeeded(self._needed_password(), challenge.salt, challenge.iterations)

    def provide(self, keys: scram.Keys) -> None:
        """The answer to KeysNeeded: `scram.derive` of exactly what it holds."""
        assert self._step is _Step.KEYS, self._step
        assert self._scram is not None, "KEYS follows SASL_CHALLENGE"
        self._send(messages.sasl_response(self._scram.prove(keys)))
        self._step = _Step.SASL_FINAL

    # --- The end ------------------------------------------------------------------------------------------------

    def _setting(self, tag: bytes, payload: bytes) -> LoggedIn | None:
        if tag == b"S":
            name, value = messages.parse_parameter_status(payload)
            self._settings[name] = value
            self._settings_raw += messages.message(tag, payload)
            if len(self._settings_raw) > MAX_SETTINGS:
                raise _bad_message("the server reports too many settings")
        elif tag == b"K":
            self._pid, self._key = messages.parse_backend_key_data(payload)
        elif tag == b"Z":
            if payload not in {b"I", b"T", b"E"}:
                raise _bad_message("ReadyForQuery has no known status")
            self._step = _Step.DONE
            return LoggedIn(
                self._settings, bytes(self._settings_raw), self._pid, self._key, payload, self.rest(), self._method
            )
        else:
            raise _bad_message(f"message {tag!r} came before ReadyForQuery")
        return None


def _why_unbound(end_point: bytes | None) -> str:
    if end_point is None:
        return "there is no TLS to bind to, or its certificate's signature has no defined hash"
    return "the server does not offer SCRAM-SHA-256-PLUS"


def md5_digest(user: str, password: bytes, salt: bytes) -> bytes:
    """PostgreSQL's md5 proof: `md5` and the hexadecimal digest of (digest of password and user) and salt."""
    # Broken as a hash and replayable without the salt: spoken because old servers still ask for it.
    inner = hashlib.md5(password + messages.encode_text(user), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()
