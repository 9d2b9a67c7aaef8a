# cython: language_level=3, annotation_typing=False, embedsignature=False
"""Engine: one TLS connection as a machine over memory, without a socket.

Ciphertext goes into `incoming` and comes out of `outgoing`; the stream that owns the engine carries both. So bytes
that were read before the handshake can still be fed to it, and either direction can end without the other, which
the event loops' own TLS does not allow.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

from ambassador.net.taker import NOWHERE, Taker

RECORD = 16384
"""Most plaintext bytes in one TLS record (RFC 8446, section 5.1): what one read can give at the most."""

_PIECE = 4 * RECORD
"""How much is encrypted at a time: a memory BIO never gives back the room it once grew to."""


class TlsFailed(ConnectionError):
    """A handshake or a record failed. The text says why in words fit for a log; it holds no address and no secret."""


class Engine(Taker):
    """TLS on one connection.

    `incoming` takes ciphertext from the peer, `object` gives plaintext; `ready` is True after the handshake. As a taker
    it encrypts and sends.

    Args:
        context: what to show and what to trust.
        server_side: whether we are the server of this TLS connection.
        server_hostname: client side only: name or IP address that the certificate is checked for, and sent as SNI.
        to: takes ciphertext for the peer.
        fail: told when `take` finds that the connection has failed.

    Raises:
        TlsFailed: `server_hostname` cannot be a host name.
    """

    __slots__ = ("_closed", "_encrypt", "_fail", "_to", "decrypt", "incoming", "object", "outgoing", "ready")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None,
        to: Taker,
        fail: Callable[[TlsFailed], None],
    ) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ready = False
        self._closed = False
        self._to = to
        self._fail = fail
        # A name's final dot makes it absolute for DNS; certificates and SNI have names without it (RFC 6066, 3).
        name = server_hostname.rstrip(".") if server_hostname else None
        if context.check_hostname and not name:
            # Python's SSLObject would check no name at all then (its SSLSocket refuses).
            raise TlsFailed("there is no server name to check the certificate for")
        try:
            self.object = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=name)
        except (ssl.SSLError, ValueError) as error:
            raise TlsFailed(explain(error)) from error
        # The functions that SSLObject's own `read` and `write` do nothing but call.
        inner = self.object._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way to them
        self.decrypt: Callable[[int], bytes] = inner.read
        self._encrypt: Callable[[bytes | memoryview], int] = inner.write

    @property
    def pending(self) -> bool:
        """Whether received bytes wait in here, encrypted or not."""
        return bool(self.incoming.pending or self.object.pending())

    def shake(self) -> bool:
        """Take the handshake as far as the bytes at hand allow; True when it is done.

        Raises:
            TlsFailed: it failed; the alert that tells the peer has been sent.
        """
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ValueError) as error:
            raise TlsFailed(explain(error)) from error
        finally:
            self.flush()
        self.ready = True
        return True

    def read(self, size: int) -> bytes | None:
        """The next at most `size` plaintext bytes; None until more ciphertext comes; b"" after close_notify.

        Answers to the peer's post-handshake messages stay in `outgoing` until `flush`.

        Raises:
            TlsFailed: a bad record, or an alert from the peer.
        """
        try:
            return self.decrypt(size)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            # What read returns as b"" while we have not sent our own close_notify, it raises afterwards.
            return b""
        except ssl.SSLError as error:
            raise TlsFailed(explain(error)) from error

    def take(self, chunk: bytes) -> None:
        """Encrypt and send. Raises nothing: it stands in for a transport's."""
        try:
            if len(chunk) <= _PIECE:
                if chunk:
                    self._encrypt(chunk)
            else:
                self._write_long(memoryview(chunk))
        except ssl.SSLError as error:
            self._fail(TlsFailed(explain(error)))
        else:
            self._to.take(self.outgoing.read())

    def close(self) -> None:
        """Send close_notify, once: we write no more, and may go on reading.

        What has been received must have been read before. OpenSSL's second SSL_shutdown, which `unwrap` always
        adds, takes data it finds waiting for an error.
        """
        if self._closed or not self.ready:
            return
        self._closed = True
        # It complains that no close_notify has come back yet, or of a failure that reading will report.
        with contextlib.suppress(ssl.SSLError):
            self.object.unwrap()
        self.flush()

    def flush(self) -> None:
        """Send what the engine wants to say of itself: handshake and alerts."""
        if self.outgoing.pending:
            self._to.take(self.outgoing.read())

    def let_go(self) -> None:
        """The connection is gone: hold on to nobody, so that nothing needs the garbage collector to be freed."""
        self._to, self._fail = NOWHERE, _ignore

    def _write_long(self, view: memoryview) -> None:
        while len(view) > _PIECE:
            self._encrypt(view[:_PIECE])
            self._to.take(self.outgoing.read())
            view = view[_PIECE:]
        self._encrypt(view)


def _ignore(_: object) -> None:
    """What is told of a connection that is gone."""


def explain(error: Exception) -> str:
    """Why TLS failed, without OpenSSL's file names and line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the peer closed the connection"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
