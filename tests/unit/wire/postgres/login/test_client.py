from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.wire import scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.client import (
    MAX_AUTHENTICATION,
    MAX_MESSAGE,
    MAX_SETTINGS,
    MAX_WAITING,
    ChannelBinding,
    ClientLogin,
    answer_to_ssl_request,
    md5_digest,
)
from ambassador.wire.postgres.login.events import ClientEvent, KeysNeeded, LoggedIn
from ambassador.wire.postgres.messages import (
    authentication,
    backend_key_data,
    error_response,
    message,
    parameter_status,
    ready_for_query,
)
from tests.support.splits import every_split

PASSWORD = b"secret"
END_POINT = b"hash of the certificate"
OK = authentication(messages.AUTH_OK)
SETTINGS = parameter_status("server_version", "17.10") + parameter_status("TimeZone", "UTC")
KEY = backend_key_data(4711, b"key!")
READY = ready_for_query()
PLAIN_OFFER = messages.sasl_mechanisms(["SCRAM-SHA-256"])
PLUS_OFFER = messages.sasl_mechanisms(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])


def new_login(
    *,
    password: bytes | None = PASSWORD,
    channel_binding: ChannelBinding = "prefer",
    end_point: Callable[[], bytes | None] | None = None,
    allow_cleartext: bool = False,
    max_iterations: int = scram.MAX_ITERATIONS,
    version: int = messages.PROTOCOL_3_0,
) -> ClientLogin:
    login = ClientLogin(
        "app",
        {"database": "orders"},
        password=password,
        client_nonce="client-nonce",
        channel_binding=channel_binding,
        end_point=end_point,
        allow_cleartext=allow_cleartext,
        max_iterations=max_iterations,
        version=version,
    )
    assert login.to_send() == messages.startup_message({"user": "app", "database": "orders"}, version)
    return login


def bound(channel_binding: ChannelBinding = "prefer") -> ClientLogin:
    """A login over TLS."""
    return new_login(channel_binding=channel_binding, end_point=lambda: END_POINT)


def after(login: ClientLogin, *data: bytes) -> ClientEvent | None:
    """What the last of the server's messages led to."""
    event = None
    for part in data:
        login.receive(part)
        event = login.next_event()
    return event


def failure(login: ClientLogin, *data: bytes) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        after(login, *data)
    assert "secret" not in str(caught.value)
    return caught.value


class Server:
    """A SCRAM server to log in to, whose messages a test may spoil."""

    def __init__(self, login: ClientLogin, *, plus: bool = False, nonce: str = "server-nonce") -> None:
        self.login = login
        keys = scram.derive(PASSWORD, b"salt", 1)
        end_point = END_POINT if plus else None
        self.scram = scram.ScramServer(
            scram.Verifier(b"salt", 1, (keys.stored,)), nonce, plus=plus, end_point=end_point
        )

    def challenge(self) -> bytes:
        """The server-first message, to what the login has sent."""
        _, first = messages.parse_sasl_initial_response(self.login.to_send()[5:])
        return authentication(messages.AUTH_SASL_CONTINUE, self.scram.first(first))

    def proof(self) -> bytes:
        """The server-final message, to what the login has sent."""
        self.scram.final(self.login.to_send()[5:])
        return authentication(messages.AUTH_SASL_FINAL, self.scram.signature)

    def converse(self, offer: bytes) -> None:
        """Everything up to the server's proof."""
        after(self.login, offer)
        needed = after(self.login, self.challenge())
        assert isinstance(needed, KeysNeeded)
        assert self.login.next_event() is None
        self.login.provide(scram.derive(needed.password, needed.salt, needed.iterations))
        assert after(self.login, self.proof()) is None


# The request for TLS


def test_the_answer_to_the_request_for_tls_is_one_byte() -> None:
    assert answer_to_ssl_request(b"S")
    assert not answer_to_ssl_request(b"N")


@pytest.mark.parametrize("answer", [b"", b"X", b"SS", b"S\x16", b"N" + OK, b"\0"])
def test_any_other_answer_is_refused_and_so_is_cleartext_behind_it(answer: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        answer_to_ssl_request(answer)
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


def test_an_error_before_any_proof_of_identity_is_not_read() -> None:
    with pytest.raises(UpstreamError) as caught:
        answer_to_ssl_request(error_response("FATAL", "08P01", "believe me"))
    assert caught.value.reason is Reason.UPSTREAM_REJECTED
    assert "believe me" not in str(caught.value)


# Ways in


def test_a_server_that_asks_for_nothing_lets_us_in() -> None:
    event = after(new_login(), OK + SETTINGS + KEY + READY)
    expected = {"server_version": "17.10", "TimeZone": "UTC"}
    assert event == LoggedIn(expected, SETTINGS, 4711, b"key!", b"I", b"", "none")


def test_bytes_may_be_cut_anywhere() -> None:
    notice = message(b"N", b"SNOTICE\0\0")
    for split in every_split(OK + SETTINGS + notice + KEY + READY + notice):
        login = new_login()
        events = [after(login, piece) for piece in split]
        (logged_in,) = filter(None, events)
        assert isinstance(logged_in, LoggedIn)
        assert logged_in.parameters_raw == SETTINGS
        assert logged_in.rest + login.rest() == notice


def test_md5_is_spoken() -> None:
    login = new_login()
    assert after(login, authentication(messages.AUTH_MD5, b"salt")) is None
    inner = hashlib.md5(b"secretapp", usedforsecurity=False).hexdigest().encode()
    digest = hashlib.md5(inner + b"salt", usedforsecurity=False).hexdigest().encode()
    assert login.to_send() == messages.password_message(b"md5" + digest)
    assert md5_digest("app", PASSWORD, b"salt") == b"md5" + digest
    event = after(login, OK + READY)
    assert isinstance(event, LoggedIn)
    assert event.method == "md5"


@pytest.mark.parametrize("length", [1, 900, 30_000])
def test_a_cleartext_password_is_sent_where_it_is_allowed(length: int) -> None:
    login = new_login(allow_cleartext=True, password=b"x" * length)
    assert after(login, authentication(messages.AUTH_CLEARTEXT)) is None
    assert login.to_send() == messages.password_message(b"x" * length)
    event = after(login, OK + READY)
    assert isinstance(event, LoggedIn)
    assert event.method == "cleartext"


def test_a_cleartext_password_is_not_sent_otherwise() -> None:
    login = new_login()
    error = failure(login, authentication(messages.AUTH_CLEARTEXT))
    assert error.reason is Reason.UPSTREAM_UNSUPPORTED
    assert "not allowed on this connection" in str(error)
    assert login.to_send() == b""


def test_scram_without_tls_says_nothing_of_channel_binding() -> None:
    login = new_login()
    after(login, PLUS_OFFER)
    assert login.to_send() == messages.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=client-nonce")


def test_scram_over_tls_is_bound_where_it_is_offered() -> None:
    login = bound()
    Server(login, plus=True).converse(PLUS_OFFER)
    event = after(login, OK + READY)
    assert isinstance(event, LoggedIn)
    assert event.method == "SCRAM-SHA-256-PLUS"


def test_scram_over_tls_says_that_it_could_have_been_bound() -> None:
    login = bound()
    after(login, PLAIN_OFFER)
    assert login.to_send() == messages.sasl_initial_response("SCRAM-SHA-256", b"y,,n=,r=client-nonce")


def test_scram_is_not_bound_where_that_is_disabled() -> None:
    login = bound("disable")
    Server(login).converse(PLUS_OFFER)
    event = after(login, OK + READY)
    assert isinstance(event, LoggedIn)
    assert event.method == "SCRAM-SHA-256"


def test_a_certificate_whose_hash_is_not_defined_cannot_be_bound_to() -> None:
    login = new_login(end_point=lambda: None)
    after(login, PLUS_OFFER)
    assert login.to_send() == messages.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=client-nonce")


@pytest.mark.parametrize("length", [1, 24, 10_000])
def test_a_server_s_nonce_may_be_long(length: int) -> None:
    login = new_login()
    Server(login, nonce="n" * length).converse(PLAIN_OFFER)
    assert isinstance(after(login, OK + READY), LoggedIn)


@pytest.mark.parametrize("salt", [b"s" * length for length in range(1, 65)])
def test_a_server_s_salt_may_have_any_length(salt: bytes) -> None:
    login = new_login()
    keys = scram.derive(PASSWORD, salt, 2)
    server = Server(login)
    server.scram = scram.ScramServer(scram.Verifier(salt, 2, (keys.stored,)), "nonce", plus=False, end_point=None)
    after(login, PLAIN_OFFER)
    assert after(login, server.challenge()) == KeysNeeded(PASSWORD, salt, 2)
    login.provide(keys)
    after(login, server.proof())
    assert isinstance(after(login, OK + READY), LoggedIn)


def test_notices_on_the_way_are_nobody_s_business() -> None:
    notice = message(b"N", b"SWARNING\0VWARNING\0C01000\0Mpassword expires\0\0")
    event = after(new_login(), notice + OK + notice + SETTINGS + notice + READY)
    assert isinstance(event, LoggedIn)
    assert event.parameters_raw == SETTINGS
    assert (event.pid, event.key) == (0, b"")


# Versions


def test_a_long_cancel_key_is_kept() -> None:
    event = after(new_login(version=messages.PROTOCOL_3_2), OK + backend_key_data(1, b"k" * 256) + READY)
    assert isinstance(event, LoggedIn)
    assert event.key == b"k" * 256


def test_a_server_may_speak_an_older_version() -> None:
    login = new_login(version=messages.PROTOCOL_3_2)
    negotiation = messages.negotiate_protocol_version(messages.PROTOCOL_3_0, [])
    assert isinstance(after(login, negotiation + OK + READY), LoggedIn)


@pytest.mark.parametrize(
    "data",
    [
        messages.negotiate_protocol_version(messages.PROTOCOL_3_2, []),
        messages.negotiate_protocol_version(2 << 16, []),
        messages.negotiate_protocol_version(messages.PROTOCOL_3_0, ["_pq_.never_sent"]),
        OK + messages.negotiate_protocol_version(messages.PROTOCOL_3_0, []),
        message(b"v", b"\0"),
    ],
)
def test_an_impossible_negotiation_is_refused(data: bytes) -> None:
    assert failure(new_login(), data).reason is Reason.UPSTREAM_BAD_MESSAGE


# Refusals


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("28P01", Reason.UPSTREAM_LOGIN_REFUSED),
        ("28000", Reason.UPSTREAM_LOGIN_REFUSED),
        ("53300", Reason.UPSTREAM_REJECTED),
        ("57P03", Reason.UPSTREAM_REJECTED),
        ("3D000", Reason.UPSTREAM_REJECTED),
    ],
)
def test_an_error_tells_whether_the_credential_is_at_fault(code: str, reason: Reason) -> None:
    for before in (b"", OK, OK + SETTINGS):
        error = failure(new_login(), before + error_response("FATAL", code, "go away"))
        assert error.reason is reason
        assert error.code == code
        assert str(error) == f"FATAL {code}: go away"
        assert "go away" not in error.public


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"Mno code\0\0", b"SFATAL\0VFATAL\0Cx\0\0", b"\xff" * 1000, b"garbage"]
)
def test_an_error_without_sqlstate_is_an_error_all_the_same(payload: bytes) -> None:
    error = failure(new_login(), message(b"E", payload))
    assert error.reason is Reason.UPSTREAM_REJECTED
    assert error.code == "XX000"
    assert len(str(error)) < 600


def test_a_server_too_poor_to_speak_our_version_is_understood() -> None:
    data = b"Ecould not fork new process for connection: Out of memory\n\0"
    for split in every_split(data):
        login = new_login()
        after(login, *split[:-1])
        error = failure(login, split[-1])
        assert error.reason is Reason.UPSTREAM_REJECTED
        assert str(error).endswith("'could not fork new process for connection: Out of memory'")


def test_an_error_of_no_end_is_cut() -> None:
    error = failure(new_login(), b"E" + b"x" * 100_000)
    assert error.reason is Reason.UPSTREAM_REJECTED
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("code", "name"), [(2, "Kerberos V5"), (6, "SCM credentials"), (7, "GSSAPI"), (9, "SSPI"), (99, "number 99")]
)
def test_methods_we_do_not_speak_are_named(code: int, name: str) -> None:
    error = failure(new_login(), authentication(code))
    assert error.reason is Reason.UPSTREAM_UNSUPPORTED
    assert f"authentication by {name}, which is not supported" in str(error)


@pytest.mark.parametrize(
    ("names", "said"), [(["OAUTHBEARER"], "'OAUTHBEARER'"), ([], "none"), (["SCRAM-SHA-256-PLUS"], "PLUS")]
)
def test_mechanisms_we_do_not_speak_are_named(names: list[str], said: str) -> None:
    error = failure(new_login(), messages.sasl_mechanisms(names))
    assert error.reason is Reason.UPSTREAM_UNSUPPORTED
    assert said in str(error)


@pytest.mark.parametrize("password", [None, b""])
@pytest.mark.parametrize(
    "asked", [authentication(messages.AUTH_CLEARTEXT), authentication(messages.AUTH_MD5, b"salt"), PLAIN_OFFER]
)
def test_without_a_password_none_is_made_up(password: bytes | None, asked: bytes) -> None:
    login = new_login(password=password, allow_cleartext=True)
    error = failure(login, asked)
    assert error.reason is Reason.NO_CREDENTIAL
    assert login.to_send() == b""


@pytest.mark.parametrize("user", ["a\0b"])
def test_a_name_that_cannot_be_written_is_refused(user: str) -> None:
    with pytest.raises(UpstreamError, match="NUL"):
        ClientLogin(user, {}, password=None, client_nonce="c")


def test_a_password_that_cannot_be_written_is_refused() -> None:
    login = new_login(password=b"a\0b", allow_cleartext=True)
    assert failure(login, authentication(messages.AUTH_CLEARTEXT)).reason is Reason.UPSTREAM_BAD_MESSAGE


# Channel binding required: nothing less will do


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (OK, "lets us in without it"),
        (authentication(messages.AUTH_CLEARTEXT), "asks for a cleartext password"),
        (authentication(messages.AUTH_MD5, b"salt"), "asks for an md5 password"),
        (PLAIN_OFFER, "does not offer SCRAM-SHA-256-PLUS"),
    ],
)
def test_a_downgrade_is_refused_where_channel_binding_is_required(data: bytes, said: str) -> None:
    login = new_login(channel_binding="require", end_point=lambda: END_POINT, allow_cleartext=True)
    error = failure(login, data)
    assert error.reason is Reason.UPSTREAM_UNSUPPORTED
    assert said in str(error)
    assert login.to_send() == b""


@pytest.mark.parametrize("end_point", [None, lambda: None])
def test_there_must_be_something_to_bind_to(end_point: Callable[[], bytes | None] | None) -> None:
    error = failure(new_login(channel_binding="require", end_point=end_point), PLUS_OFFER)
    assert "there is no TLS to bind to" in str(error)


def test_channel_binding_that_is_required_lets_us_in() -> None:
    login = bound("require")
    Server(login, plus=True).converse(PLUS_OFFER)
    assert isinstance(after(login, OK + READY), LoggedIn)


# A server that does not keep to the exchange


def test_being_let_in_before_the_server_s_proof_is_refused() -> None:
    login = new_login()
    assert "without having proven" in str(failure(login, PLAIN_OFFER, OK))

    login = new_login()
    server = Server(login)
    after(login, PLAIN_OFFER)
    after(login, server.challenge())
    login.provide(scram.derive(PASSWORD, b"salt", 1))
    assert "without having proven" in str(failure(login, OK))


def test_a_server_that_does_not_know_the_password_is_refused() -> None:
    login = new_login()
    after(login, PLAIN_OFFER)
    after(login, Server(login).challenge())
    login.provide(scram.derive(b"not what the server has", b"salt", 1))
    error = failure(login, authentication(messages.AUTH_SASL_FINAL, b"v=" + b"A" * 43 + b"="))
    assert error.reason is Reason.UPSTREAM_BAD_MESSAGE
    assert "signature is wrong" in str(error)


def test_a_server_that_refuses_inside_scram_refuses_the_credential() -> None:
    login = new_login()
    after(login, PLAIN_OFFER)
    after(login, Server(login).challenge())
    login.provide(scram.derive(b"wrong", b"salt", 1))
    error = failure(login, authentication(messages.AUTH_SASL_FINAL, b"e=invalid-proof"))
    assert error.reason is Reason.UPSTREAM_LOGIN_REFUSED


def test_a_final_message_with_a_long_nonce_is_refused() -> None:
    login = new_login()
    after(login, PLAIN_OFFER)
    after(login, Server(login).challenge())
    login.provide(scram.derive(PASSWORD, b"salt", 1))
    spoilt = authentication(messages.AUTH_SASL_FINAL, b"r=" + b"n" * 10_000 + b",v=AAAA")
    assert failure(login, spoilt).reason is Reason.UPSTREAM_BAD_MESSAGE


def test_iterations_are_bounded() -> None:
    login = new_login(max_iterations=10_000)
    after(login, PLAIN_OFFER)
    challenge = authentication(messages.AUTH_SASL_CONTINUE, b"r=client-nonces,s=c2FsdA==,i=10001")
    assert "at most 10000 are allowed" in str(failure(login, challenge))


MADE_UP = authentication(messages.AUTH_SASL_CONTINUE, b"r=client-nonces,s=c2FsdA==,i=1")
MD5 = authentication(messages.AUTH_MD5, b"salt")
OUT_OF_TURN = {
    "a challenge unasked": (MADE_UP,),
    "a proof unasked": (authentication(messages.AUTH_SASL_FINAL, b"v=AAAA"),),
    "a proof instead of a challenge": (PLAIN_OFFER, authentication(messages.AUTH_SASL_FINAL, b"v=AAAA")),
    "another offer": (PLAIN_OFFER, PLAIN_OFFER),
    "md5 after SCRAM": (PLAIN_OFFER, MD5),
    "md5 twice": (MD5, MD5),
    "a password asked for after md5": (MD5, authentication(messages.AUTH_CLEARTEXT)),
    "an md5 salt of another length": (authentication(messages.AUTH_MD5, b"long salt"),),
    "a request without a code": (message(b"R", b"\0"),),
    "mechanisms that do not end": (authentication(messages.AUTH_SASL, b"SCRAM-SHA-256"),),
    "a setting before the login": (SETTINGS,),
    "a key before the login": (KEY,),
    "ready before the login": (READY,),
    "a row before the login": (message(b"D", b"\0\0"),),
    "a row after the login": (OK, message(b"D", b"\0\0")),
    "an authentication request after the login": (OK, OK),
    "a setting that does not end": (OK, message(b"S", b"name")),
    "a key of no length": (OK, backend_key_data(1, b"")),
    "a key of too much": (OK, backend_key_data(1, b"k" * 257)),
    "no status": (OK, message(b"Z")),
    "an unknown status": (OK, ready_for_query(b"X")),
    "a request too long": (authentication(99, b"x" * MAX_AUTHENTICATION),),
    "a message too long": (b"S" + (MAX_MESSAGE + 5).to_bytes(4),),
    "a length too small": (b"R\0\0\0\x03",),
    "an answer in another language": (b"HTTP/1.1 400 Bad Request\r\n",),
    "an answer in TLS": (b"\x15\x03\x01\x00\x02\x02\x46",),
}


@pytest.mark.parametrize("data", OUT_OF_TURN.values(), ids=OUT_OF_TURN)
def test_whatever_comes_out_of_turn_is_the_server_s_fault(data: tuple[bytes, ...]) -> None:
    assert failure(new_login(), *data).reason is Reason.UPSTREAM_BAD_MESSAGE


def test_settings_are_bounded() -> None:
    login = new_login()
    after(login, OK)
    setting = parameter_status("name", "x" * 60_000)
    for _ in range(MAX_SETTINGS // len(setting)):
        assert after(login, setting) is None
    assert "too many settings" in str(failure(login, setting))


def test_a_server_cannot_send_without_end() -> None:
    login = new_login()
    login.receive(b"R" * MAX_WAITING)
    with pytest.raises(UpstreamError) as caught:
        login.receive(b"R")
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


def test_the_owner_must_keep_the_order() -> None:
    with pytest.raises(AssertionError):
        new_login().provide(scram.derive(PASSWORD, b"salt", 1))
