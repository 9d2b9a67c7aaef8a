from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.wire.postgres import messages
from ambassador.wire.postgres.messages import Malformed

texts = st.text(alphabet=st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20)


# The manual's formats, byte by byte


def test_messages_are_written_as_the_manual_says() -> None:
    assert messages.message(b"Q", b"x\0") == b"Q\0\0\0\x06x\0"
    assert messages.ssl_request() == b"\0\0\0\x08\x04\xd2\x16\x2f"
    assert messages.cancel_request(1, b"key!") == b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01key!"
    assert messages.startup_message({"user": "a"}) == b"\0\0\0\x10\0\x03\0\0user\0a\0\0"
    assert messages.startup_message({"user": "a"}, messages.PROTOCOL_3_2)[4:8] == b"\0\x03\0\x02"
    assert messages.query("select 1") == b"Q\0\0\0\x0dselect 1\0"
    assert messages.password_message(b"secret") == b"p\0\0\0\x0bsecret\0"
    assert messages.sasl_initial_response("M", b"first") == b"p\0\0\0\x0fM\0\0\0\0\x05first"
    assert messages.sasl_response(b"next") == b"p\0\0\0\x08next"
    assert messages.authentication(messages.AUTH_OK) == b"R\0\0\0\x08\0\0\0\0"
    assert messages.authentication(messages.AUTH_MD5, b"salt") == b"R\0\0\0\x0c\0\0\0\x05salt"
    assert messages.sasl_mechanisms(["A", "B"]) == b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0"
    assert messages.parameter_status("a", "b") == b"S\0\0\0\x08a\0b\0"
    assert messages.backend_key_data(7, b"key!") == b"K\0\0\0\x0c\0\0\0\x07key!"
    assert messages.ready_for_query() == b"Z\0\0\0\x05I"
    assert messages.negotiate_protocol_version(messages.PROTOCOL_3_2, ["x"]) == b"v\0\0\0\x0e\0\x03\0\x02\0\0\0\x01x\0"
    assert messages.message(b"X") == messages.TERMINATE
    assert messages.message(b"S") == messages.SYNC


# There and back


@given(st.dictionaries(texts.filter(bool), texts, max_size=5))
def test_startup_parameters_come_back(parameters: dict[str, str]) -> None:
    assert messages.parse_startup(messages.startup_message(parameters)[8:]) == parameters


@given(st.binary(max_size=50).filter(lambda data: 0 not in data))
def test_bytes_of_any_encoding_survive(name: bytes) -> None:
    text = messages.decode_text(name)
    assert messages.encode_text(text) == name
    assert messages.parse_startup(b"user\0" + name + b"\0\0") == {"user": text}


@given(st.lists(texts.filter(bool), max_size=4))
def test_mechanisms_come_back(names: list[str]) -> None:
    assert messages.parse_sasl_mechanisms(messages.sasl_mechanisms(names)[9:]) == names


@given(texts, texts)
def test_parameter_status_comes_back(name: str, value: str) -> None:
    assert messages.parse_parameter_status(messages.parameter_status(name, value)[5:]) == (name, value)


@given(st.integers(0, 0xFFFFFFFF), st.binary(min_size=1, max_size=256))
def test_keys_come_back(pid: int, key: bytes) -> None:
    assert messages.parse_backend_key_data(messages.backend_key_data(pid, key)[5:]) == (pid, key)


@given(st.lists(texts, max_size=4))
def test_negotiation_comes_back(options: list[str]) -> None:
    written = messages.negotiate_protocol_version(messages.PROTOCOL_3_2, options)
    assert messages.parse_negotiate_protocol_version(written[5:]) == (messages.PROTOCOL_3_2, options)


@given(texts, st.binary(max_size=50))
def test_sasl_responses_come_back(mechanism: str, response: bytes) -> None:
    written = messages.sasl_initial_response(mechanism, response)
    assert messages.parse_sasl_initial_response(written[5:]) == (mechanism, response)


def test_authentication_comes_back() -> None:
    assert messages.parse_authentication(messages.authentication(5, b"salt")[5:]) == (5, b"salt")


@given(st.lists(st.none() | st.binary(max_size=20), max_size=5))
def test_rows_come_back(columns: list[bytes | None]) -> None:
    payload = struct.pack("!H", len(columns)) + b"".join(
        struct.pack("!i", -1) if column is None else struct.pack("!i", len(column)) + column for column in columns
    )
    assert messages.parse_data_row(payload) == columns


# What is malformed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"user",
        b"user\0",
        b"user\0a",
        b"user\0a\0",
        b"user\0a\0x\0",
        b"user\0a\0\0\0",
        b"user\0a\0\0more\0",
        b"\0\0",
    ],
)
def test_a_startup_message_must_end_with_its_terminator_and_there(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_startup(payload)


def test_of_a_parameter_sent_twice_the_later_value_counts() -> None:
    assert messages.parse_startup(b"user\0a\0user\0b\0\0") == {"user": "b"}


@pytest.mark.parametrize("payload", [b"", b"\0\0\0"])
def test_an_authentication_request_must_have_a_code(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_authentication(payload)


@pytest.mark.parametrize("payload", [b"", b"SCRAM-SHA-256", b"SCRAM-SHA-256\0"])
def test_mechanisms_must_be_terminated(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_sasl_mechanisms(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"M", b"M\0", b"M\0\0\0\0", b"M\0\0\0\0\x02x", b"M\0\xff\xff\xff\xff", b"M\0\0\0\0\0x"]
)
def test_a_sasl_choice_must_be_whole(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_sasl_initial_response(payload)


@pytest.mark.parametrize("payload", [b"", b"name", b"name\0", b"name\0value"])
def test_a_parameter_status_must_be_whole(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_parameter_status(payload)


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\x01", b"\0\0\0\x01" + b"k" * 257])
def test_a_cancel_key_has_1_to_256_bytes(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_backend_key_data(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\0\x03\0\x02\0\0\0", b"\0\x03\0\x02\0\0\0\x01", b"\0\x03\0\x02\xff\xff\xff\xffx\0"]
)
def test_a_negotiation_must_be_whole(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_negotiate_protocol_version(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"\0\x01", b"\0\x01\0\0\0\x05abc", b"\0\x01\0\0\0\x01ab", b"\0\x02\0\0\0\x01a", b"\0\0x"]
)
def test_a_row_must_be_as_long_as_its_columns(payload: bytes) -> None:
    with pytest.raises(Malformed):
        messages.parse_data_row(payload)


@pytest.mark.parametrize(
    "write",
    [
        lambda: messages.startup_message({"user": "a\0database\0b"}),
        lambda: messages.query("select 1\0"),
        lambda: messages.password_message(b"a\0b"),
        lambda: messages.parameter_status("a", "\0"),
    ],
)
def test_a_string_with_a_nul_cannot_be_written(write: object) -> None:
    assert callable(write)
    with pytest.raises(Malformed, match="NUL"):
        write()


# Errors


def test_an_error_comes_back() -> None:
    written = messages.error_response("FATAL", "57P01", "leaving", "in a minute", "come again")
    fields = messages.parse_error(written[5:])
    assert (fields.severity, fields.code, fields.message) == ("FATAL", "57P01", "leaving")
    assert fields.others == {"D": "in a minute", "H": "come again"}
    assert fields.fatal


def test_the_optional_parts_of_an_error_may_be_left_out() -> None:
    assert messages.error_response("ERROR", "22P02", "no") == b"E\0\0\0\x1eSERROR\0VERROR\0C22P02\0Mno\0\0"


def test_an_error_can_be_told_whatever_its_text_holds() -> None:
    assert messages.parse_error(messages.error_response("ERROR", "22P02", "a\0b")[5:]).message == "a\ufffdb"


GARBAGE = {
    "nothing": (b"", ("ERROR", "XX000", "", False)),
    "only the end": (b"\0", ("ERROR", "XX000", "", False)),
    "no code": (b"SFATAL\0VFATAL\0Mgone\0\0", ("FATAL", "XX000", "gone", True)),
    "an empty code": (b"VERROR\0C\0Mx\0\0", ("ERROR", "XX000", "x", False)),
    "a long code": (b"C123456\0\0", ("ERROR", "XX000", "", False)),
    "a code with a line feed": (b"C1234\n\0\0", ("ERROR", "XX000", "", False)),
    "a code that is not ASCII": ("C1234٤\0\0".encode(), ("ERROR", "XX000", "", False)),
    "an old server, without the untranslated severity": (
        b"SPANIC\0C53100\0Mfull\0\0",
        ("PANIC", "53100", "full", True),
    ),
    "a translated severity": (b"SFATAL\0VERROR\0C22012\0\0", ("ERROR", "22012", "", False)),
    "cut short": (b"VFATAL\0C57P01\0Mterminating conn", ("FATAL", "57P01", "terminating conn", True)),
    "a field twice": (b"C22012\0C57P01\0Ma\0Mb\0\0", ("ERROR", "22012", "a", False)),
    "no UTF-8": (b"M\xff\0\0", ("ERROR", "XX000", "\ufffd", False)),
    "bytes behind the end": (b"Ma\0\0VFATAL\0", ("ERROR", "XX000", "a", False)),
}


@pytest.mark.parametrize(("payload", "read"), GARBAGE.values(), ids=GARBAGE)
def test_an_error_is_read_as_far_as_it_can_be(payload: bytes, read: tuple[str, str, str, bool]) -> None:
    fields = messages.parse_error(payload)
    assert (fields.severity, fields.code, fields.message, fields.fatal) == read


@given(st.binary(max_size=200))
def test_no_error_makes_an_error(payload: bytes) -> None:
    assert len(messages.parse_error(payload).code) == 5
