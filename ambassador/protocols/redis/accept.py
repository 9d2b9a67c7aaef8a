"""The client's side: the proof of who it is, by its connection or by AUTH and HELLO."""

from __future__ import annotations

from enum import Enum, auto, unique

from ambassador.access.base import Check, Principal, Proven
from ambassador.errors import ClientError, Reason
from ambassador.protocols.base import Downstream, Hello, identify
from ambassador.wire.redis.login import parse_auth, parse_hello
from ambassador.wire.redis.messages import OK, error, parse_inline, parse_request
from ambassador.wire.redis.requests import INLINE, INSIDE, LARGE, Requests

DEFAULT = "default"
"""Who a client is that shows a password and no name."""

TRIES = 16
"""Requests after which a connection that has not shown a right password is closed."""

MOST = 16384
"""Most bytes of a request before the proof, as the server's own bound for a single argument."""

FORGED = frozenset({b"POST", b"HOST:"})
"""What a browser says that a foreign page has led here. Nothing behind it is obeyed, as at a server."""

WRONG = "WRONGPASS invalid username-password pair or user is disabled."
NO_PROOF = "NOAUTH Authentication required."
NO_PROOF_YET = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
    "<pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
)


async def needs_proof(downstream: Downstream) -> bool:
    """Whether clients of this listener must show a password.

    Raises:
        CredentialError: there is none to check against.
    """
    return isinstance(await downstream.access.identify(downstream.claim(DEFAULT)), Check)


async def prove(downstream: Downstream, user: bytes | None, password: bytes) -> Principal:
    """Check what AUTH or HELLO shows. Where the connection itself proves who it is, any password will do.

    Raises:
        ClientError: AUTH_FAILED, in the server's words.
        CredentialError: there is nothing to check against.
    """
    name = None if user is None else user.decode("utf-8", "surrogateescape")
    asks = await needs_proof(downstream)
    verdict = await downstream.access.identify(downstream.claim(name or DEFAULT if asks else name))
    match verdict:
        case Proven():
            return verdict.principal
        case Check() if verdict.password_matches(password):
            return verdict.principal
    raise ClientError(Reason.AUTH_FAILED, f"client authentication as {name or DEFAULT!r} failed", public=WRONG)


async def authenticate(downstream: Downstream) -> Principal:
    """Who the client is, hearing it out as far as needed; what it asks besides waits in the stream.

    Raises:
        ClientError: refused, or gone.
    """
    if not await needs_proof(downstream):
        return await identify(downstream, None)
    walk = Requests({}, MOST)
    data, tries, wrong = b"", 0, 0
    while True:
        chunk = await downstream.stream.read()
        if not chunk and wrong:
            raise ClientError(Reason.AUTH_FAILED, f"the client left after {wrong} wrong passwords", public=WRONG)
        if not chunk:
            raise ClientError(Reason.CLIENT_CLOSED, "the client closed the connection before it showed a password")
        held, at = data, 0
        while at < len(chunk):
            end = walk.advance(chunk, at)
            if walk.stop == LARGE or len(held) + end - at > MOST:
                raise ClientError(Reason.BAD_MESSAGE, "Protocol error: unauthenticated bulk length")
            request, held = held + chunk[at:end], b""
            if walk.stop == INSIDE:
                data = request
                break
            data = b""
            heard, principal = await _hear(downstream, request, line=walk.code == INLINE)
            at = end
            if principal is not None:
                # HELLO is answered where its server is known; there its password is looked at once more.
                downstream.stream.unread((request if heard is _Heard.HELLO else b"") + chunk[at:])
                return principal
            tries += 1
            wrong += heard is _Heard.WRONG
            if tries >= TRIES:
                raise ClientError(Reason.AUTH_FAILED, "the client showed no right password", public=WRONG)


@unique
class _Heard(Enum):
    """What a request of a client was that is not known yet: a proof by either command, a wrong one, or none."""

    AUTH = auto()
    HELLO = auto()
    WRONG = auto()
    NO_PROOF = auto()


async def _hear(downstream: Downstream, data: bytes, *, line: bool) -> tuple[_Heard, Principal | None]:
    """Take one request of a client that is not known yet: what it was, and who it has proven to be."""
    words = parse_inline(data) if line else parse_request(data) if not data.startswith((b"*0", b"*-")) else []
    name = words[0].upper() if words else b""
    if name in FORGED:
        raise misled()
    try:
        if name == b"AUTH":
            user, password = parse_auth(words)
            introduce(downstream, user)
            principal = await prove(downstream, user, password)
            downstream.stream.write(OK)
            return _Heard.AUTH, principal
        if name == b"HELLO":
            wish = parse_hello(words)
            if wish.password is not None:
                introduce(downstream, wish.user)
                return _Heard.HELLO, await prove(downstream, wish.user, wish.password)
            downstream.stream.write(error(NO_PROOF_YET))
        else:
            _put_off(downstream, name)
    except ClientError as failure:
        if failure.reason is Reason.CLIENT_CLOSED:
            raise
        downstream.stream.write(error(failure.public))
        if failure.reason is Reason.AUTH_FAILED:
            return _Heard.WRONG, None
    return _Heard.NO_PROOF, None


def _put_off(downstream: Downstream, name: bytes) -> None:
    """Answer what a client asks that is not known."""
    if name == b"QUIT":
        downstream.stream.write(OK)
        raise ClientError(Reason.CLIENT_CLOSED, "the client said QUIT before it showed a password")
    if name:
        downstream.stream.write(b"+RESET\r\n" if name == b"RESET" else error(NO_PROOF))


def misled() -> ClientError:
    """What to say to a client that speaks HTTP, before it is seen off."""
    words = "the client speaks HTTP: a browser, perhaps, that a foreign page has led here"
    return ClientError(Reason.BAD_MESSAGE, words, public="Protocol error: no HTTP here")


def introduce(downstream: Downstream, user: bytes | None) -> None:
    """Let the session know what the client calls itself."""
    downstream.introduce(Hello(DEFAULT if user is None else user.decode("utf-8", "replace")))
