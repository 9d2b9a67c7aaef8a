"""The login with us as the server, towards our client.

    ask for TLS? ─► startup ─► require_… ─► (proof) ─► welcome

The machine stops at each step that only its owner can decide: whether to speak TLS, how the client must prove itself,
and, once the upstream has let us in, what to welcome it with. Nothing of the proof's outcome is told to the client
before `welcome`; a refusal is raised, and the owner words the answer (`messages.error_response`).

Trap: no byte may wait behind an SSLRequest. What a client, or somebody in between, sends in the clear ahead of the
handshake must never be read as if it had come through TLS (CVE-2021-23214).
"""

from __future__ import annotations

from enum import Enum, auto
from functools import partial

from ambassador.errors import ClientError, Reason
from ambassador.wire import scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.events import (
    CancelRequested,
    Md5Received,
    PasswordReceived,
    Proven,
    ServerEvent,
    StartupReceived,
    TlsRequested,
)
from ambassador.wire.postgres.login.machine import Machine

MAX_PASSWORD = 65_535  # bytes, as the server's PG_MAX_AUTH_TOKEN_LENGTH: cloud tokens are long
MAX_SASL = 4_096  # bytes; the server allows 1 024, and a SCRAM message has about 100
MAX_WAITING = 128 * 1024  # bytes a client may send ahead of our answers

_bad_message = partial(ClientError, Reason.BAD_MESSAGE)


class Step(Enum):
    """Where the conversation stands."""

    STARTUP = auto()  # SSLRequest, GSSENCRequest, CancelRequest or the startup message is awaited
    TLS_ASKED = auto()  # the owner must answer_tls
    STARTED = auto()  # the owner must require_…
    PASSWORD = auto()
    MD5 = auto()
    SASL_CHOICE = auto()
    SASL_PROOF = auto()
    JUDGED = auto()  # the owner must welcome, or refuse
    WELCOMED = auto()
    ENDED = auto()  # a cancel request: nothing follows


class ServerLogin(Machine):
    """One login, played as the server.

    Args:
        nonce: for SCRAM: printable ASCII without commas, unguessable, such as `secrets.token_urlsafe(18)`.
    """

    def __init__(self, *, nonce: str) -> None:
        super().__init__(MAX_WAITING, _bad_message)
        self._nonce = nonce
        self._ssl_allowed = True
        self._gss_allowed = True
        self._step = Step.STARTUP
        self._user = ""
        self._version = messages.PROTOCOL_3_0
        self._negotiation = b""
        self._verifier = scram.Verifier(b"", 1, ())
        self._end_point: bytes | None = None
        self._scram: scram.ScramServer | None = None

    @property
    def step(self) -> Step:
        """Where the conversation stands."""
        return self._step

    def next_event(self) -> ServerEvent | None:
        """What happened next, or None: either more bytes are needed, or the owner must answer the last event.

        Raises:
            ClientError: the client broke the protocol (BAD_MESSAGE, CLEARTEXT_BEFORE_TLS, UNSUPPORTED) or failed to
                prove itself (AUTH_FAILED).
        """
        try:
            return self._advance()
        except messages.Malformed as fault:
            raise _bad_message(f"malformed message: {fault}") from None
        except scram.ScramError as fault:
            if fault.refused:
                raise self._refusal() from None
            raise ClientError(Reason.BAD_MESSAGE, str(fault)) from None

    def _advance(self) -> ServerEvent | None:
        while self._step is Step.STARTUP:
            payload = self._take_untagged(messages.MAX_STARTUP)
            if payload is None:
                return None
            event = self._began(payload)
            if event is not None:
                return event
        if self._step in _PROOFS:
            return self._proof()
        return None

    # --- The beginning ------------------------------------------------------------------------------------------

    def _began(self, payload: bytes) -> ServerEvent | None:
        if len(payload) < 4:
            raise _bad_message("the startup message has no version")
        code = int.from_bytes(payload[:4])
        if code == messages.SSL_REQUEST and self._ssl_allowed:
            self._ssl_allowed = False
            self._refuse_early_bytes()
            return self._asked_for_tls()
        if code == messages.GSSENC_REQUEST and self._gss_allowed:
            self._gss_allowed = False
            self._refuse_early_bytes()
            self._send(b"N")
            return None
        if code == messages.CANCEL_REQUEST:
            return self._cancelled(payload[4:])
        return self._started(code, payload[4:])

    def _asked_for_tls(self) -> TlsRequested:
        self._step = Step.TLS_ASKED
        return TlsRequested()

    def _refuse_early_bytes(self) -> None:
        if len(self._inbox):
            raise ClientError(Reason.CLEARTEXT_BEFORE_TLS, "unencrypted data was sent behind a request for encryption")

    def answer_tls(self, accepted: bool) -> None:
        """Say whether TLS follows. After True and the handshake, hand in what comes through TLS.

        Raises:
            ClientError: CLEARTEXT_BEFORE_TLS: the client did not wait for this answer.
        """
        assert self._step is Step.TLS_ASKED, self._step
        self._refuse_early_bytes()
        self._send(b"S" if accepted else b"N")
        self._gss_allowed = self._gss_allowed and not accepted
        self._step = Step.STARTUP

    def _cancelled(self, rest: bytes) -> CancelRequested:
        self._step = Step.ENDED
        if not 4 < len(rest) <= 4 + messages.MAX_CANCEL_KEY:
            raise _bad_message("invalid length of a cancel request")
        return CancelRequested(int.from_bytes(rest[:4]), rest[4:])

    def _started(self, version: int, payload: bytes) -> StartupReceived:
        if version >> 16 != 3:
            raise ClientError(
                Reason.UNSUPPORTED,
                f"unsupported frontend protocol {version >> 16}.{version & 0xFFFF}: this server supports 3.0 to 3.2",
            )
        parameters = messages.parse_startup(payload)
        unknown = tuple(name for name in parameters if name.startswith("_pq_."))
        for name in unknown:
            del parameters[name]
        self._version = min(version, messages.PROTOCOL_3_2)
        if version > messages.PROTOCOL_3_2 or unknown:
            self._negotiation = messages.negotiate_protocol_version(self._version, unknown)
        self._user = parameters.pop("user", "")
        if not self._user:
            raise ClientError(Reason.ACCESS_DENIED, "no PostgreSQL user name specified in startup packet")
        database = parameters.pop("database", "") or self._user
        self._step = Step.STARTED
        replication = parameters.get("replication")
        return StartupReceived(self._user, database, parameters, self._version, replication, unknown)

    # --- The proof ----------------------------------------------------------------------------------------------

    def require_nothing(self) -> None:
        """Let the client in unasked; `welcome` may follow."""
        self._require(Step.JUDGED)

    def require_cleartext(self) -> None:
        """Ask for the password itself; it comes as PasswordReceived."""
        self._require(Step.PASSWORD, messages.authentication(messages.AUTH_CLEARTEXT))

    def require_md5(self, salt: bytes) -> None:
        """Ask for an md5 digest made with `salt`, four unguessable bytes; it comes as Md5Received."""
        assert len(salt) == 4, "an md5 salt has four bytes"
        self._require(Step.MD5, messages.authentication(messages.AUTH_MD5, salt))

    def require_scram(self, verifier: scram.Verifier, *, end_point: bytes | None) -> None:
        """Ask for SCRAM; success comes as Proven.

        Args:
            verifier: the user's, or `scram.mock_verifier` for one who is unknown.
            end_point: the hash of our certificate (RFC 5929 §4) under TLS, to offer channel binding; else None.
        """
        self._verifier = verifier
        self._end_point = end_point
        offered = [scram.MECHANISM] if end_point is None else [scram.MECHANISM_PLUS, scram.MECHANISM]
        self._require(Step.SASL_CHOICE, messages.sasl_mechanisms(offered))

    def _require(self, step: Step, request: bytes = b"") -> None:
        assert self._step is Step.STARTED, self._step
        self._send(self._negotiation + request)
        self._step = step

    def _proof(self) -> ServerEvent | None:
        limit = MAX_PASSWORD if self._step in {Step.PASSWORD, Step.MD5} else MAX_SASL
        taken = self._take_tagged(limit)
        if taken is None:
            return None
        tag, payload = taken
        if tag != b"p":
            raise _bad_message(f"expected a password response, got message {tag!r}")
        if self._step is Step.SASL_CHOICE:
            return self._chose(payload)
        if self._step is Step.SASL_PROOF:
            return self._proved(payload)
        return self._password(payload)

    def _password(self, payload: bytes) -> ServerEvent:
        if not payload or payload.find(b"\0") != len(payload) - 1:
            raise _bad_message("invalid password packet size")
        step, self._step = self._step, Step.JUDGED
        if len(payload) == 1:
            raise self._refusal()
        return Md5Received(payload[:-1]) if step is Step.MD5 else PasswordReceived(payload[:-1])

    def _chose(self, payload: bytes) -> ServerEvent | None:
        mechanism, first = messages.parse_sasl_initial_response(payload)
        plus = mechanism == scram.MECHANISM_PLUS
        if mechanism != scram.MECHANISM and not (plus and self._end_point is not None):
            raise _bad_message("the client chose a SASL mechanism that was not offered")
        self._scram = scram.ScramServer(self._verifier, self._nonce, plus=plus, end_point=self._end_point)
        challenge = self._scram.first(first)
        self._send(messages.authentication(messages.AUTH_SASL_CONTINUE, challenge))
        self._step = Step.SASL_PROOF
        return self._proof()

    def _proved(self, payload: bytes) -> Proven:
        assert self._scram is not None, "SASL_PROOF follows SASL_CHOICE"
        self._step = Step.JUDGED
        return Proven(self._scram.final(payload))

    def _refusal(self) -> ClientError:
        return ClientError(Reason.AUTH_FAILED, f'password authentication failed for user "{self._user}"')

    # --- The end ------------------------------------------------------------------------------------------------

    def welcome(self, parameters_raw: bytes, pid: int, key: bytes, status: bytes = b"I") -> None:
        """Let the client in: say that it proved itself, the settings, its cancel key, and that we are ready.

        Args:
            parameters_raw: whole ParameterStatus messages, such as `LoggedIn.parameters_raw`.
            pid: a number, and
            key: an unguessable key with which it may cancel: 4 bytes below protocol 3.2, else 4 to 256.
            status: the server's transaction status.
        """
        assert self._step is Step.JUDGED, self._step
        long_keys = self._version >= messages.PROTOCOL_3_2
        assert 4 <= len(key) <= messages.MAX_CANCEL_KEY if long_keys else len(key) == messages.CANCEL_KEY_3_0
        if self._scram is not None:
            self._send(messages.authentication(messages.AUTH_SASL_FINAL, self._scram.signature))
        self._send(messages.authentication(messages.AUTH_OK))
        self._send(parameters_raw)
        self._send(messages.backend_key_data(pid, key))
        self._send(messages.ready_for_query(status))
        self._step = Step.WELCOMED


_PROOFS = frozenset({Step.PASSWORD, Step.MD5, Step.SASL_CHOICE, Step.SASL_PROOF})
