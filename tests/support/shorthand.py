"""PostgreSQL sessions in shorthand: one word per message, so that a test reads as the conversation does.

From the client: the tag (`P B D E C H S Q F d c f X`). From the server: the tag, `ZI ZT ZE` for ReadyForQuery,
`E` or `E:42P01` for an error, `F:57P01` for one that ends the session.
"""

from __future__ import annotations

from ambassador.wire.postgres.messages import error_response, message, ready_for_query

# Payloads of some length, so that cuts fall inside them; what they say is of no matter to who only follows headers.
_PAYLOADS = {"Q": b"select 1\0", "d": b"a row of data\n", "D": b"\0\x01\0\0\0\x011", "S": b"TimeZone\0UTC\0"}


def from_client(words: str) -> bytes:
    """What the client sends."""
    return b"".join(message(word.encode(), b"" if word == "S" else _PAYLOADS.get(word, b"")) for word in words.split())


def from_server(words: str) -> bytes:
    """What the server sends."""
    return b"".join(_server_message(word) for word in words.split())


def _server_message(word: str) -> bytes:
    tag, _, code = word.partition(":")
    if tag in {"E", "F"}:
        return error_response("FATAL" if tag == "F" else "ERROR", code or "22P02", "an error of some kind")
    if tag.startswith("Z"):
        return ready_for_query(tag[1:].encode())
    return message(tag.encode(), _PAYLOADS.get(tag, b""))
