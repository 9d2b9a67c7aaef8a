"""Who is at fault, and the reason in one word.

The type of an error names the blamed party; its `Reason` is the word used alike in the log, in metric labels and
for choosing the answer in the client's own protocol. Errors are raised where a fact is known and caught at one
edge per task: a session's life, a keeper's loop, an admin handler, the command line.

    AmbassadorError
    ├── ConfigError       the operator's words are wrong
    ├── ClientError       the client broke the protocol or was refused
    ├── UpstreamError     dial, TLS, login, timeout, closed early
    ├── CredentialError   a source could not give a value
    └── Overloaded        a limit of ours was reached

The text of an error is for the operator's log. It may name an upstream's address; it never holds a secret.
`public` is what a client may read; it holds neither.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import ClassVar


@unique
class Reason(StrEnum):
    """Why something ended or was refused. A closed list: these words are metric labels and log fields."""

    # Ends that are nobody's fault.
    CLIENT_CLOSED = "client_closed"
    UPSTREAM_CLOSED = "upstream_closed"
    DRAINED = "drained"
    CUT = "cut"
    CANCEL_REQUEST = "cancel_request"

    # The operator.
    BAD_CONFIG = "bad_config"

    # The client.
    BAD_MESSAGE = "bad_message"
    CLEARTEXT_BEFORE_TLS = "cleartext_before_tls"
    TLS_REQUIRED = "tls_required"
    TLS_FAILED = "tls_failed"
    ACCESS_DENIED = "access_denied"
    AUTH_FAILED = "auth_failed"
    UNSUPPORTED = "unsupported"
    PROXY_HEADER = "proxy_header"

    # Time.
    LOGIN_TIMEOUT = "login_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    IDLE_IN_TRANSACTION_TIMEOUT = "idle_in_transaction_timeout"
    SESSION_TIMEOUT = "session_timeout"
    SLOW_CLIENT = "slow_client"

    # The service behind us.
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    UPSTREAM_TLS_FAILED = "upstream_tls_failed"
    UPSTREAM_TLS_REFUSED = "upstream_tls_refused"
    UPSTREAM_LOGIN_REFUSED = "upstream_login_refused"
    UPSTREAM_LOGIN_TIMEOUT = "upstream_login_timeout"
    UPSTREAM_REJECTED = "upstream_rejected"
    UPSTREAM_BAD_MESSAGE = "upstream_bad_message"
    UPSTREAM_UNSUPPORTED = "upstream_unsupported"
    WRONG_ROLE = "wrong_role"

    # Credentials.
    NO_CREDENTIAL = "no_credential"
    CREDENTIAL_EXPIRED = "credential_expired"
    CREDENTIAL_ENDED = "credential_ended"
    SOURCE_FAILED = "source_failed"

    # Our own limits.
    TOO_MANY_CONNECTIONS = "too_many_connections"
    SHUTTING_DOWN = "shutting_down"

    # A fault in this program.
    INTERNAL = "internal"


class AmbassadorError(Exception):
    """Base of all errors raised on purpose.

    Args:
        reason: one word of the closed list.
        message: the whole truth for the operator's log; never a secret.
        public: what a client may be told; by default `default_public` of the type.
    """

    default_public: ClassVar[str] = "internal error"

    def __init__(self, reason: Reason, message: str, *, public: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.public = self.default_public if public is None else public


class ConfigError(AmbassadorError):
    """The operator's words are wrong. `file` and `line` (1-based) say where, when they are known."""

    default_public = "the proxy is misconfigured"

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(Reason.BAD_CONFIG, message)
        self.file = file
        self.line = line


class ClientError(AmbassadorError):
    """The client broke the protocol, or was refused. Its message is fit for that client unless `public` is given."""

    default_public = "the request was refused"

    def __init__(self, reason: Reason, message: str, *, public: str | None = None) -> None:
        super().__init__(reason, message, public=message if public is None else public)


class UpstreamError(AmbassadorError):
    """The service behind us could not be reached, did not let us in, or broke the protocol.

    `code` is the service's own error code where it sent one (PostgreSQL: the SQLSTATE).
    """

    default_public = "the upstream service is not available"

    def __init__(self, reason: Reason, message: str, *, public: str | None = None, code: str | None = None) -> None:
        super().__init__(reason, message, public=public)
        self.code = code


class CredentialError(AmbassadorError):
    """A source could not give a value. Names the credential, never its value."""

    default_public = "the proxy has no valid credential for the upstream service"


class Overloaded(AmbassadorError):
    """A limit of ours was reached, or we are leaving."""

    default_public = "the proxy takes no more connections"
