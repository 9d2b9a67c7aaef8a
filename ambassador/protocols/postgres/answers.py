"""Our errors in PostgreSQL's words: SQLSTATE and message (Appendix A of the PostgreSQL manual)."""

from __future__ import annotations

from collections.abc import Mapping

from ambassador.errors import AmbassadorError, Reason, UpstreamError
from ambassador.wire.postgres.messages import error_response

SQLSTATE: Mapping[Reason, str] = {
    Reason.BAD_CONFIG: "F0000",  # config_file_error
    Reason.BAD_MESSAGE: "08P01",  # protocol_violation
    Reason.CLEARTEXT_BEFORE_TLS: "08P01",
    Reason.PROXY_HEADER: "08P01",
    Reason.UNSUPPORTED: "0A000",  # feature_not_supported
    Reason.TLS_REQUIRED: "28000",  # invalid_authorization_specification
    Reason.TLS_FAILED: "08006",
    Reason.ACCESS_DENIED: "28000",
    Reason.AUTH_FAILED: "28P01",  # invalid_password
    Reason.LOGIN_TIMEOUT: "57014",  # query_canceled
    Reason.IDLE_TIMEOUT: "57P05",  # idle_session_timeout
    Reason.IDLE_IN_TRANSACTION_TIMEOUT: "25P03",  # idle_in_transaction_session_timeout
    Reason.SESSION_TIMEOUT: "57P01",  # admin_shutdown
    Reason.SLOW_CLIENT: "57P01",
    Reason.CONNECT_FAILED: "08001",  # sqlclient_unable_to_establish_sqlconnection
    Reason.CONNECT_TIMEOUT: "08001",
    Reason.UPSTREAM_TLS_FAILED: "08001",
    Reason.UPSTREAM_TLS_REFUSED: "08001",
    Reason.UPSTREAM_LOGIN_REFUSED: "08006",  # connection_failure: our credential, not the client's
    Reason.UPSTREAM_LOGIN_TIMEOUT: "08001",
    Reason.UPSTREAM_REJECTED: "08004",  # sqlserver_rejected_establishment_of_sqlconnection
    Reason.UPSTREAM_BAD_MESSAGE: "08P01",
    Reason.UPSTREAM_UNSUPPORTED: "0A000",
    Reason.UPSTREAM_CLOSED: "08006",
    Reason.WRONG_ROLE: "08001",
    Reason.NO_CREDENTIAL: "08006",
    Reason.CREDENTIAL_EXPIRED: "08006",
    Reason.CREDENTIAL_ENDED: "57P01",
    Reason.SOURCE_FAILED: "08006",
    Reason.TOO_MANY_CONNECTIONS: "53300",  # too_many_connections
    Reason.SHUTTING_DOWN: "57P01",
    Reason.DRAINED: "57P01",
    Reason.CUT: "57P01",
    Reason.CLIENT_CLOSED: "08006",
    Reason.CANCEL_REQUEST: "57014",
    Reason.INTERNAL: "XX000",  # internal_error
}

_ENDINGS: Mapping[Reason, str] = {
    Reason.DRAINED: "terminating connection: the proxy is shutting down or moving this connection",
    Reason.CUT: "terminating connection: the proxy is shutting down and its deadline has passed",
    Reason.IDLE_TIMEOUT: "terminating connection due to the proxy's idle timeout",
    Reason.IDLE_IN_TRANSACTION_TIMEOUT: "terminating connection due to the proxy's idle-in-transaction timeout",
    Reason.SESSION_TIMEOUT: "terminating connection: it has reached the proxy's session timeout",
    Reason.CREDENTIAL_ENDED: "terminating connection: the credential that the proxy has for it ends; connect again",
    Reason.UPSTREAM_CLOSED: "the upstream server closed the connection unexpectedly",
    Reason.UPSTREAM_BAD_MESSAGE: "the upstream server broke the protocol",
    Reason.BAD_MESSAGE: "invalid message",
}

_PASSED_ON: Mapping[str, str] = {
    "3D000": "the database does not exist",
    "42501": "permission denied for the database",
    "42704": "a startup parameter is not known to the upstream server",
    "22023": "a startup parameter has a value the upstream server does not accept",
    "53300": "the upstream server takes no more connections",
    "55000": "the upstream server cannot serve this connection now",
    "57P03": "the upstream server is starting up, shutting down or recovering",
}
"""Server codes that tell the client something it can act on, with words that name no address and no user."""


def refusal(error: AmbassadorError, *, reveal: bool = False) -> bytes:
    """An ErrorResponse, severity FATAL, for an error that ends a login or a session.

    `reveal` puts the operator's text in place of the public one; configured for each upstream.
    """
    code, words = SQLSTATE[error.reason], error.public
    if error.reason is Reason.UPSTREAM_LOGIN_REFUSED:
        words = "the upstream server did not accept the login that the proxy is configured with"
    if isinstance(error, UpstreamError) and error.reason is Reason.UPSTREAM_REJECTED and error.code is not None:
        words = _PASSED_ON.get(error.code, words)
        code = error.code if error.code in _PASSED_ON else code
    return error_response("FATAL", code, str(error) if reveal else words)


def ending(reason: Reason) -> bytes:
    """An ErrorResponse, severity FATAL, for a session that we end without anyone's error; empty when none is due."""
    message = _ENDINGS.get(reason)
    return b"" if message is None else error_response("FATAL", SQLSTATE[reason], message)
