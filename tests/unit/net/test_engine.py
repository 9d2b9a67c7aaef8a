"""TLS as a machine over memory: two engines with nothing between them."""

from __future__ import annotations

import os
import ssl

import pytest

from ambassador.net.engine import RECORD, Engine, TlsFailed, explain
from ambassador.net.taker import Giving
from tests.support.certs import Certs

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)


class Both:
    """A client's and a server's engine, each feeding the other."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost") -> None:
        self.sent: list[int] = []
        self.failures: list[TlsFailed] = []
        self.client = Engine(
            client, server_side=False, server_hostname=name, to=Giving(self._to_server), fail=self.failures.append
        )
        self.server = Engine(
            server, server_side=True, server_hostname=None, to=Giving(self._to_client), fail=self.failures.append
        )

    def shake(self) -> None:
        while not (self.client.ready and self.server.ready):
            for engine in (self.client, self.server):
                if not engine.ready:
                    engine.shake()

    def _to_server(self, data: bytes) -> None:
        self.sent.append(len(data))
        self.server.incoming.write(data)

    def _to_client(self, data: bytes) -> None:
        self.client.incoming.write(data)


@pytest.fixture
def both(trusting: ssl.SSLContext, server_context: ssl.SSLContext) -> Both:
    return Both(trusting, server_context)


@every_version
def test_two_engines_shake_hands_and_talk(
    trusting: ssl.SSLContext, server_context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.minimum_version = ssl.TLSVersion.TLSv1_2
    trusting.maximum_version = version
    both = Both(trusting, server_context)
    both.shake()
    assert both.client.object.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    both.client.take(b"ping")
    assert both.server.read(100) == b"ping"
    assert both.server.read(100) is None
    both.server.take(b"pong")
    assert both.client.read(2) == b"po"
    assert both.client.pending
    assert both.client.read(100) == b"ng"
    assert not both.client.pending


def test_a_long_write_goes_out_in_pieces_so_that_no_buffer_grows(both: Both) -> None:
    both.shake()
    both.sent.clear()
    data = os.urandom(1 << 20)
    both.client.take(data)
    assert max(both.sent) < 5 * RECORD
    received = b""
    while (part := both.server.read(RECORD)) is not None:
        received += part
    assert received == data


def test_session_tickets_come_with_the_first_read_and_do_not_look_like_data(both: Both) -> None:
    both.shake()
    assert both.client.incoming.pending, "the server sent tickets"
    assert both.client.read(100) is None
    assert not both.client.incoming.pending


@every_version
def test_each_side_ends_by_itself(
    trusting: ssl.SSLContext, server_context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.minimum_version = ssl.TLSVersion.TLSv1_2
    trusting.maximum_version = version
    both = Both(trusting, server_context)
    both.shake()
    both.client.take(b"all I have")
    both.client.close()
    both.client.close()
    assert both.server.read(100) == b"all I have"
    assert both.server.read(100) == b""
    assert both.server.read(100) == b""
    both.server.take(b"an answer")
    assert both.client.read(100) == b"an answer"
    assert both.client.read(100) is None
    both.server.close()
    assert both.client.read(100) == b""


def test_closing_before_the_handshake_says_nothing(both: Both) -> None:
    both.client.close()
    assert both.sent == []


def test_a_certificate_of_another_authority_is_refused_and_the_peer_is_told(
    both: Both, server_context: ssl.SSLContext
) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.load_verify_locations(cadata=Certs().ca.decode())
    both = Both(stranger, server_context)
    with pytest.raises(TlsFailed, match="certificate verify failed: unable to get local issuer certificate"):
        both.shake()
    with pytest.raises(TlsFailed, match="alert unknown ca"):
        both.server.shake()


def test_a_certificate_for_another_name_is_refused(trusting: ssl.SSLContext, server_context: ssl.SSLContext) -> None:
    both = Both(trusting, server_context, "db.example.com")
    with pytest.raises(TlsFailed, match=r"Hostname mismatch, certificate is not valid for 'db\.example\.com'"):
        both.shake()


@pytest.mark.parametrize("name", ["localhost", "localhost.", "127.0.0.1", "::1"])
def test_names_and_addresses_the_certificate_has_are_accepted(
    trusting: ssl.SSLContext, server_context: ssl.SSLContext, name: str
) -> None:
    both = Both(trusting, server_context, name)
    both.shake()
    assert both.server.ready


@pytest.mark.parametrize(
    ("name", "words"), [(None, "no server name"), ("...", "no server name"), ("x" * 64, "label"), (".a", "empty")]
)
def test_a_name_that_cannot_be_one_is_a_failure_of_tls(
    trusting: ssl.SSLContext, server_context: ssl.SSLContext, name: str | None, words: str
) -> None:
    with pytest.raises(TlsFailed, match=words):
        Both(trusting, server_context, name)


def test_garbage_instead_of_a_handshake_is_refused(both: Both) -> None:
    both.server.incoming.write(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(TlsFailed, match="http request"):
        both.server.shake()


def test_a_tampered_record_is_refused_by_reader_and_told_to_the_writer(both: Both) -> None:
    both.shake()
    both.client.read(100)
    both.server.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(TlsFailed, match="bad record mac"):
        both.server.read(100)
    both.server.flush()
    with pytest.raises(TlsFailed, match="alert bad record mac"):
        both.client.read(100)


def test_writing_after_the_end_fails(both: Both) -> None:
    both.shake()
    both.client.close()
    both.client.take(b"x")
    (failure,) = both.failures
    assert str(failure) == "protocol is shutdown"


def test_explanations_have_no_file_names_of_openssl() -> None:
    assert (
        explain(ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:1006)"))
        == "the peer closed the connection"
    )
    assert explain(ValueError("plain words")) == "plain words"
    assert explain(ValueError()) == "ValueError"
