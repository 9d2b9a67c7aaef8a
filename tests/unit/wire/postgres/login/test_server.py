from __future__ import annotations

import pytest

from ambassador.errors import ClientError, Reason
from ambassador.wire import scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.client import ClientLogin, md5_digest
from ambassador.wire.postgres.login.events import (
    CancelRequested,
    KeysNeeded,
    LoggedIn,
    Md5Received,
    PasswordReceived,
    Proven,
    ServerEvent,
    StartupReceived,
    TlsRequested,
)
from ambassador.wire.postgres.login.server import MAX_SASL, MAX_WAITING, ServerLogin, Step
from ambassador.wire.postgres.messages import message, startup_message
from tests.support.pair import Pair
from tests.support.splits import every_split

PARAMETERS = {"user": "app", "database": "orders", "options": "-c search_path=x", "application_name": "test"}
STARTUP = startup_message(PARAMETERS)
GSSENC_REQUEST = b"\0\0\0\x08" + messages.GSSENC_REQUEST.to_bytes(4)
RAW = messages.parameter_status("server_version", "17.10")

PASSWORD = b"secret"
KEYS = scram.derive(PASSWORD, b"salt", 1)
VERIFIER = scram.Verifier(b"salt", 1, (scram.derive(b"old secret", b"salt", 1).stored, KEYS.stored))


def new_login() -> ServerLogin:
    return ServerLogin(nonce="server-nonce")


def fed(data: bytes) -> ServerLogin:
    login = new_login()
    login.receive(data)
    return login


def started() -> ServerLogin:
    login = fed(STARTUP)
    assert isinstance(login.next_event(), StartupReceived)
    return login


def refusal(login: ServerLogin) -> ClientError:
    with pytest.raises(ClientError) as caught:
        login.next_event()
    return caught.value


# The startup message


def test_a_startup_message_says_who_comes_and_what_for() -> None:
    for split in every_split(STARTUP):
        login = new_login()
        events: list[ServerEvent | None] = []
        for piece in split:
            login.receive(piece)
            events.append(login.next_event())
        assert events[-1] == StartupReceived(
            "app",
            "orders",
            {"options": "-c search_path=x", "application_name": "test"},
            messages.PROTOCOL_3_0,
            None,
            (),
        )
        assert not any(events[:-1])
        assert login.step is Step.STARTED
        assert login.next_event() is None


@pytest.mark.parametrize("database", [{}, {"database": ""}])
def test_the_database_is_the_user_s_where_none_is_named(database: dict[str, str]) -> None:
    event = fed(startup_message({"user": "app", **database})).next_event()
    assert isinstance(event, StartupReceived)
    assert event.database == "app"


def test_replication_is_seen_and_passed_on() -> None:
    event = fed(startup_message({"user": "app", "replication": "database"})).next_event()
    assert isinstance(event, StartupReceived)
    assert event.replication == "database"
    assert event.parameters == {"replication": "database"}


def test_names_that_are_no_utf8_come_through() -> None:
    event = fed(startup_message({"user": "caf\udce9"})).next_event()
    assert isinstance(event, StartupReceived)
    assert messages.encode_text(event.user) == b"caf\xe9"


@pytest.mark.parametrize("user", [{}, {"user": ""}])
def test_without_a_user_nobody_comes_in(user: dict[str, str]) -> None:
    error = refusal(fed(startup_message({**user, "database": "orders"})))
    assert error.reason is Reason.ACCESS_DENIED
    assert "no PostgreSQL user name" in error.public


BAD_STARTUPS = {
    "no version": (b"\0\0\0\x07abc", "no version"),
    "a length too small": (b"\0\0\0\x03", "invalid length 3 of startup message"),
    "a length too great": ((messages.MAX_STARTUP + 5).to_bytes(4), "invalid length 10005 of startup message"),
    "HTTP": (b"GET / HTTP/1.1\r\n", "invalid length 1195725856 of startup message"),
    "no terminator": (b"\0\0\0\x0c\0\x03\0\0user", "malformed message"),
    "a short cancel request": (b"\0\0\0\x0c" + messages.CANCEL_REQUEST.to_bytes(4) + b"\0\0\0\1", "cancel request"),
    "a cancel request without a key": (b"\0\0\0\x0c" + messages.CANCEL_REQUEST.to_bytes(4) + b"1234", "cancel request"),
    "a cancel request with too long a key": (messages.cancel_request(1, b"k" * 257), "cancel request"),
}


@pytest.mark.parametrize(("data", "fault"), BAD_STARTUPS.values(), ids=BAD_STARTUPS)
def test_a_malformed_beginning_is_refused(data: bytes, fault: str) -> None:
    error = refusal(fed(data))
    assert error.reason is Reason.BAD_MESSAGE
    assert fault in str(error)


def test_the_longest_startup_message_is_taken() -> None:
    filler = "x" * (messages.MAX_STARTUP - len(startup_message({"user": "app", "options": ""})) + 4)
    data = startup_message({"user": "app", "options": filler})
    assert len(data) == messages.MAX_STARTUP + 4
    assert isinstance(fed(data).next_event(), StartupReceived)


@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 1234 << 16 | 9999, 0])
def test_other_protocols_are_refused(version: int) -> None:
    error = refusal(fed(startup_message(PARAMETERS, version)))
    assert error.reason is Reason.UNSUPPORTED
    assert f"unsupported frontend protocol {version >> 16}.{version & 0xFFFF}" in error.public


# Versions and options


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_versions_we_know_are_taken_without_a_word(minor: int) -> None:
    login = fed(startup_message(PARAMETERS, 3 << 16 | minor))
    event = login.next_event()
    assert isinstance(event, StartupReceived)
    assert event.version == 3 << 16 | minor
    login.require_nothing()
    assert login.to_send() == b""


def test_newer_versions_and_options_are_negotiated() -> None:
    login = fed(startup_message({**PARAMETERS, "_pq_.one": "1", "_pq_.two": ""}, 3 << 16 | 9999))
    event = login.next_event()
    assert isinstance(event, StartupReceived)
    assert event.version == messages.PROTOCOL_3_2
    assert event.unknown_options == ("_pq_.one", "_pq_.two")
    assert not any(name.startswith("_pq_") for name in event.parameters)
    login.require_cleartext()
    negotiation = messages.negotiate_protocol_version(messages.PROTOCOL_3_2, ["_pq_.one", "_pq_.two"])
    assert login.to_send() == negotiation + messages.authentication(messages.AUTH_CLEARTEXT)


def test_options_alone_are_negotiated_too() -> None:
    login = fed(startup_message({**PARAMETERS, "_pq_.one": "1"}))
    login.next_event()
    login.require_nothing()
    assert login.to_send() == messages.negotiate_protocol_version(messages.PROTOCOL_3_0, ["_pq_.one"])


# Encryption


@pytest.mark.parametrize("accepted", [True, False])
def test_tls_is_asked_for_and_answered(accepted: bool) -> None:
    login = fed(messages.ssl_request())
    assert login.next_event() == TlsRequested()
    assert login.next_event() is None
    assert login.to_send() == b""
    login.answer_tls(accepted)
    assert login.to_send() == (b"S" if accepted else b"N")
    login.receive(STARTUP)
    assert isinstance(login.next_event(), StartupReceived)


def test_gss_encryption_is_declined_and_tls_may_follow() -> None:
    login = fed(GSSENC_REQUEST)
    assert login.next_event() is None
    assert login.to_send() == b"N"
    login.receive(messages.ssl_request())
    assert login.next_event() == TlsRequested()


def test_gss_encryption_may_be_asked_for_where_tls_was_declined() -> None:
    login = fed(messages.ssl_request())
    login.next_event()
    login.answer_tls(False)
    login.to_send()
    login.receive(GSSENC_REQUEST)
    assert login.next_event() is None
    assert login.to_send() == b"N"


@pytest.mark.parametrize("request_", [messages.ssl_request(), GSSENC_REQUEST])
def test_encryption_is_asked_for_once(request_: bytes) -> None:
    login = fed(request_)
    if isinstance(login.next_event(), TlsRequested):
        login.answer_tls(False)
    login.receive(request_)
    assert refusal(login).reason is Reason.UNSUPPORTED


def test_gss_encryption_cannot_be_asked_for_inside_tls() -> None:
    login = fed(messages.ssl_request())
    login.next_event()
    login.answer_tls(True)
    login.receive(GSSENC_REQUEST)
    assert refusal(login).reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("request_", [messages.ssl_request(), GSSENC_REQUEST])
def test_cleartext_behind_a_request_for_encryption_is_refused(request_: bytes) -> None:
    assert refusal(fed(request_ + STARTUP)).reason is Reason.CLEARTEXT_BEFORE_TLS
    assert refusal(fed(request_ + b"\0")).reason is Reason.CLEARTEXT_BEFORE_TLS


@pytest.mark.parametrize("accepted", [True, False])
def test_cleartext_that_arrives_before_our_answer_is_refused(accepted: bool) -> None:
    login = fed(messages.ssl_request())
    login.next_event()
    login.receive(STARTUP[:1])
    with pytest.raises(ClientError) as caught:
        login.answer_tls(accepted)
    assert caught.value.reason is Reason.CLEARTEXT_BEFORE_TLS
    assert login.to_send() == b""


# Cancel


@pytest.mark.parametrize("key", [b"k", b"four", b"k" * 32, b"k" * 256])
def test_a_cancel_request_names_a_session_and_shows_its_key(key: bytes) -> None:
    login = fed(messages.cancel_request(0xFFFF_FFFE, key) + b"more")
    assert login.next_event() == CancelRequested(0xFFFF_FFFE, key)
    assert login.next_event() is None
    assert login.step is Step.ENDED
    assert login.to_send() == b""


# Proof


def test_cleartext_passwords_are_handed_to_the_owner() -> None:
    login = started()
    login.require_cleartext()
    assert login.to_send() == messages.authentication(messages.AUTH_CLEARTEXT)
    assert login.next_event() is None
    login.receive(messages.password_message(b"x" * 900))
    assert login.next_event() == PasswordReceived(b"x" * 900)
    assert login.step is Step.JUDGED


def test_md5_digests_are_handed_to_the_owner() -> None:
    login = started()
    login.require_md5(b"\0\1\2\3")
    assert login.to_send() == messages.authentication(messages.AUTH_MD5, b"\0\1\2\3")
    digest = md5_digest("app", PASSWORD, b"\0\1\2\3")
    login.receive(messages.password_message(digest))
    assert login.next_event() == Md5Received(digest)


@pytest.mark.parametrize("payload", [b"", b"unterminated", b"a\0b\0", b"a\0b"])
def test_a_password_is_one_string(payload: bytes) -> None:
    login = started()
    login.require_cleartext()
    login.receive(message(b"p", payload))
    error = refusal(login)
    assert error.reason is Reason.BAD_MESSAGE
    assert "password packet" in str(error)


def test_an_empty_password_is_a_wrong_one() -> None:
    login = started()
    login.require_cleartext()
    login.receive(messages.password_message(b""))
    assert refusal(login).reason is Reason.AUTH_FAILED


@pytest.mark.parametrize("data", [messages.query("drop table users"), messages.TERMINATE, message(b"\x16", b"x" * 9)])
def test_nothing_but_a_password_may_come_before_the_proof(data: bytes) -> None:
    login = started()
    login.require_cleartext()
    login.receive(data)
    error = refusal(login)
    assert error.reason is Reason.BAD_MESSAGE
    assert "expected a password response" in str(error)


def new_client(*, binding: bytes | None = None, password: bytes = PASSWORD) -> ClientLogin:
    end_point = None if binding is None else lambda: binding
    return ClientLogin("app", {}, password=password, client_nonce="client-nonce", end_point=end_point)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("end_point", [None, b"hash of the certificate"])
def test_scram_proves_both_sides_and_tells_which_password_it_was(piece: int, end_point: bytes | None) -> None:
    pair = Pair(new_login(), new_client(binding=end_point), piece=piece)
    pair.pump()
    pair.server.require_scram(VERIFIER, end_point=end_point)
    assert pair.pump() == [KeysNeeded(PASSWORD, b"salt", 1)]
    pair.client.provide(KEYS)
    assert pair.pump() == [Proven(1)]
    pair.server.welcome(RAW, 7, b"key!")
    method = scram.MECHANISM if end_point is None else scram.MECHANISM_PLUS
    assert pair.pump() == [LoggedIn({"server_version": "17.10"}, RAW, 7, b"key!", b"I", b"", method)]


@pytest.mark.parametrize("verifier", [VERIFIER, scram.mock_verifier(b"constant", "app", 1)])
def test_a_wrong_password_and_an_unknown_user_are_refused_alike(verifier: scram.Verifier) -> None:
    pair = Pair(new_login(), new_client(password=b"wrong"))
    pair.pump()
    pair.server.require_scram(verifier, end_point=None)
    (needed,) = pair.pump()
    assert isinstance(needed, KeysNeeded)
    pair.client.provide(scram.derive(needed.password, needed.salt, needed.iterations))
    with pytest.raises(ClientError) as caught:
        pair.pump()
    assert caught.value.reason is Reason.AUTH_FAILED
    assert caught.value.public == 'password authentication failed for user "app"'
    assert pair.server.to_send() == b""


def asked_for_scram(end_point: bytes | None = None) -> ServerLogin:
    login = started()
    login.require_scram(VERIFIER, end_point=end_point)
    return login


def test_channel_binding_is_offered_first_where_it_can_be() -> None:
    assert asked_for_scram().to_send() == messages.sasl_mechanisms(["SCRAM-SHA-256"])
    assert asked_for_scram(b"hash").to_send() == messages.sasl_mechanisms(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])


PLUS = "SCRAM-SHA-256-PLUS"
MALFORMED_SASL = {
    "no mechanism": message(b"p"),
    "a mechanism not offered": messages.sasl_initial_response("SCRAM-SHA-1", b"n,,n=,r=c"),
    "channel binding not offered": messages.sasl_initial_response(
        "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=c"
    ),
    "no first message": message(b"p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
    "another length than it says": message(b"p", b"SCRAM-SHA-256\0\0\0\x10\0n,,n=,r=c"),
    "an empty first message": messages.sasl_initial_response("SCRAM-SHA-256", b""),
    "a length of no end": b"p\x7f\xff\xff\xff",
    "more than a SCRAM message can need": message(b"p", b"x" * (MAX_SASL + 1)),
    "a password": messages.password_message(PASSWORD),
    "no flag": messages.sasl_initial_response("SCRAM-SHA-256", b",,,,,,,"),
    "the final message first": messages.sasl_initial_response("SCRAM-SHA-256", b"c=biws,r=x,p=x"),
}


@pytest.mark.parametrize("data", MALFORMED_SASL.values(), ids=MALFORMED_SASL)
def test_a_malformed_choice_of_sasl_is_refused(data: bytes) -> None:
    login = asked_for_scram()
    login.receive(data)
    assert refusal(login).reason is Reason.BAD_MESSAGE


@pytest.mark.parametrize("final", [b"", b"p=", b"c=biws,r=client-nonceserver-nonce", b"\0" * 100, b"," * 1000])
def test_a_malformed_proof_is_refused(final: bytes) -> None:
    login = asked_for_scram()
    login.receive(messages.sasl_initial_response("SCRAM-SHA-256", b"n,,n=*,r=client-nonce"))
    assert login.next_event() is None
    assert b"r=client-nonceserver-nonce,s=c2FsdA==,i=1" in login.to_send()
    login.receive(messages.sasl_response(final))
    assert refusal(login).reason is Reason.BAD_MESSAGE


def test_bytes_may_be_cut_anywhere_in_a_scram_exchange() -> None:
    client = scram.ScramClient("client-nonce")
    server = scram.ScramServer(VERIFIER, "server-nonce", plus=False, end_point=None)
    client.challenged(server.first(client.first()))
    sent = STARTUP + messages.sasl_initial_response("SCRAM-SHA-256", client.first())
    sent += messages.sasl_response(client.prove(KEYS)) + messages.query("select 1")
    for split in every_split(sent):
        login = new_login()
        events: list[ServerEvent] = []
        for piece in split:
            login.receive(piece)
            while (event := login.next_event()) is not None:
                events.append(event)
                if isinstance(event, StartupReceived):
                    login.require_scram(VERIFIER, end_point=None)
        assert events[1:] == [Proven(1)]
        assert login.rest() == messages.query("select 1")


# The end


def test_the_welcome_is_what_a_server_says() -> None:
    login = started()
    login.require_nothing()
    assert login.next_event() is None
    login.welcome(RAW, 4711, b"key!", b"I")
    assert login.to_send() == b"".join(
        (
            messages.authentication(messages.AUTH_OK),
            RAW,
            messages.backend_key_data(4711, b"key!"),
            messages.ready_for_query(b"I"),
        )
    )
    assert login.step is Step.WELCOMED
    assert login.next_event() is None


def test_what_a_client_sends_ahead_of_the_welcome_is_kept_for_later() -> None:
    login = fed(STARTUP + messages.query("select 1"))
    login.next_event()
    login.require_nothing()
    assert login.next_event() is None
    login.welcome(b"", 1, b"key!")
    assert login.rest() == messages.query("select 1")


def test_a_client_cannot_send_without_end_ahead_of_the_welcome() -> None:
    login = started()
    login.receive(b"x" * MAX_WAITING)
    with pytest.raises(ClientError) as caught:
        login.receive(b"x")
    assert caught.value.reason is Reason.BAD_MESSAGE


def test_keys_are_as_long_as_the_version_allows() -> None:
    for version, key in ((0, b"12345"), (1, b"12345678"), (2, b"123"), (2, b"k" * 257)):
        login = fed(startup_message(PARAMETERS, 3 << 16 | version))
        login.next_event()
        login.require_nothing()
        with pytest.raises(AssertionError):
            login.welcome(b"", 1, key)
    login = fed(startup_message(PARAMETERS, messages.PROTOCOL_3_2))
    login.next_event()
    login.require_nothing()
    login.welcome(b"", 1, b"k" * 256)
    assert login.step is Step.WELCOMED


def test_the_owner_must_keep_the_order() -> None:
    login = new_login()
    with pytest.raises(AssertionError):
        login.require_nothing()
    with pytest.raises(AssertionError):
        login.answer_tls(True)
    with pytest.raises(AssertionError):
        login.welcome(b"", 1, b"key!")
    asked = asked_for_scram()
    with pytest.raises(AssertionError):
        asked.welcome(b"", 1, b"key!")
    with pytest.raises(AssertionError):
        started().require_md5(b"too long")
