"""What a login machine tells its owner: facts, in the past tense, or the one thing it needs to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TlsRequested:
    """The client asks for TLS. Answer with `ServerLogin.answer_tls`."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """This connection only asks to cancel another session's query. There is no answer; close it."""

    pid: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartupReceived:
    """The client says who it is and what it wants. Answer with one of `ServerLogin.require_...`.

    Attributes:
        user: never empty.
        database: what was asked for; the user's name where nothing was.
        parameters: everything else to pass on (`options`, `replication`, settings), without user and database.
            Texts keep bytes that are not UTF-8 as surrogates; `messages.encode_text` gives the bytes back.
        version: the protocol version that will be spoken: at most `messages.PROTOCOL_3_2`.
        replication: value of the parameter of this name, None when absent.
        unknown_options: protocol options (`_pq_.…`) that were refused by negotiation.
    """

    user: str
    database: str
    parameters: Mapping[str, str]
    version: int
    replication: str | None
    unknown_options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PasswordReceived:
    """The client sent its password in cleartext. The owner judges it."""

    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Md5Received:
    """The client sent `md5` and 32 hexadecimal digits, made with the salt. The owner judges it."""

    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """SCRAM succeeded: the client knows the password of the verifier's candidate with this index."""

    candidate: int


ServerEvent = TlsRequested | CancelRequested | StartupReceived | PasswordReceived | Md5Received | Proven


@dataclass(frozen=True, slots=True)
class KeysNeeded:
    """SCRAM keys must be derived, which is slow. Answer with `ClientLogin.provide(scram.derive(...))`."""

    password: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    iterations: int


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server let us in and is ready for a query.

    Attributes:
        parameters: settings the server reported.
        parameters_raw: the same as whole ParameterStatus messages, to be passed on to a client unchanged.
        pid: the server's number for this session; with `key` it cancels. 0 and empty when the server sent none.
        status: `I`; a server may begin in another state, but none does.
        rest: bytes that came behind ReadyForQuery; almost always empty.
        method: how we proved ourselves: none, cleartext, md5, SCRAM-SHA-256 or SCRAM-SHA-256-PLUS.
    """

    parameters: Mapping[str, str]
    parameters_raw: bytes = field(repr=False)
    pid: int
    key: bytes = field(repr=False)
    status: bytes
    rest: bytes = field(repr=False)
    method: str


ClientEvent = KeysNeeded | LoggedIn
