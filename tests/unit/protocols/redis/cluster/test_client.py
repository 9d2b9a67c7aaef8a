"""A client's requests on their way to many nodes."""

from __future__ import annotations

import pytest

from ambassador.errors import Reason
from ambassador.protocols.redis.cluster import client as client_module
from ambassador.wire.redis.messages import request
from tests.unit.protocols.redis.cluster.conftest import A, B, C, Member, Ring, until


async def test_each_request_goes_to_the_node_of_its_key(ring: Ring, member: Member) -> None:
    assert await member.ask(f"SET {A} 1", f"set {B} 2", f"SET {C} 3") == b"+OK\r\n" * 3
    assert [node.asked("SET") for node in ring.nodes] == [1, 1, 1]
    assert member.counts == {"WRITE": (3, 0)}


async def test_a_request_may_come_in_pieces_and_several_at_once(ring: Ring, member: Member) -> None:
    raw = request("SET", A, "a\r\nb") + request("GET", A) + b"PING\r\n" + b"*0\r\n" + request("GET", B)
    for byte in raw:
        member.send(bytes([byte]))
    replies = [await member.hear() for _ in range(4)]
    assert replies == [b"+OK\r\n", b"$4\r\na\r\nb\r\n", b"+PONG\r\n", b"$-1\r\n"]


async def test_many_in_one_piece_are_asked_without_waiting(ring: Ring, member: Member) -> None:
    keys = [A, B, C]
    await member.ask(*[f"GET {key}" for key in keys])
    for node in ring.nodes:
        node.on("INCR", act="wait")
    member.say(*[f"INCR {keys[number % 3]}" for number in range(60)])
    await until("each node to be asked", lambda: all(node.asked("INCR") for node in ring.nodes))
    assert member.talk.owed == 60
    for node in ring.nodes:
        node.release()
    assert [await member.hear() for _ in range(60)] == [f":{number // 3 + 1}\r\n".encode() for number in range(60)]


async def test_keys_of_several_slots_are_refused_in_their_place(ring: Ring, member: Member) -> None:
    reply = await member.ask(f"GET {A}", f"RENAME {A} {B}", f"GET {B}")
    assert reply == b"$-1\r\n-CROSSSLOT Keys in request don't hash to the same slot\r\n$-1\r\n"


async def test_a_request_that_is_too_large_is_refused(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_REQUEST", 1000)
    member = await ring.guest()
    assert await member.ask("PING") == b"+PONG\r\n"
    member.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5000\r\n")
    assert b"too big request" in await member.rest_until_end()
    assert (await member.end()).reason is Reason.BAD_MESSAGE


async def test_nobody_breaks_the_protocol(ring: Ring, member: Member) -> None:
    member.say(f"SET {A} 1")
    member.send(b"*1\r\n!")
    said = await member.rest_until_end()
    assert said.startswith(b"+OK\r\n-ERR Protocol error")


async def test_a_rule_of_the_listener_holds_for_every_node(ring: Ring) -> None:
    ring.allow(deny=["INCR"], keys=[A])
    member = await ring.guest()
    assert (await member.ask(f"INCR {A}")).startswith(b"-NOPERM")
    assert await member.ask(f"SET {A} 1") == b"+OK\r\n"
    assert (await member.ask(f"GET {B}")).startswith(b"-NOPERM")
    assert (await member.ask("MULTI", f"INCR {A}", "EXEC")).split(b"\r\n")[1:3] == [
        b"-NOPERM User default has no permissions to run the 'incr' command",
        b"-EXECABORT Transaction discarded because of previous errors.",
    ]


async def test_versions_of_the_protocol_have_connections_of_their_own(ring: Ring, member: Member) -> None:
    assert await member.ask(f"GET {A}") == b"$-1\r\n"
    assert (await member.ask("HELLO 3")).startswith(b"%7\r\n")
    assert await member.ask(f"GET {A}") == b"_\r\n"
    assert await member.ask("RESET", f"GET {A}") == b"+RESET\r\n$-1\r\n"


async def test_quit_is_answered_behind_everything(ring: Ring, member: Member) -> None:
    member.say(f"SET {A} 1", f"GET {A}", "QUIT")
    assert await member.rest_until_end() == b"+OK\r\n$1\r\n1\r\n+OK\r\n"


async def test_a_browser_that_was_misled_is_obeyed_in_nothing(ring: Ring, member: Member) -> None:
    member.send(f"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET {A} 1\r\n".encode())
    assert await member.rest_until_end() == b"-ERR Protocol error: no HTTP here\r\n"
    assert (await member.end()).reason is Reason.BAD_MESSAGE
    assert not any(node.asked("SET") for node in ring.nodes)


async def test_one_that_leaves_begins_no_transaction(ring: Ring, member: Member) -> None:
    ring.nodes[0].on("GET", A, act="wait")
    member.say(f"GET {A}")
    await until("the node to hear of it", lambda: ring.nodes[0].asked("GET") == 1)
    member.talk.leave(Reason.DRAINED)
    member.say("MULTI")
    await until("it to wait", lambda: member.talk.halted)
    ring.nodes[0].release()
    assert await member.hear() == b"$-1\r\n"
    assert (await member.end()).reason is Reason.DRAINED


async def test_rules_of_keys_hold_within_a_transaction_too(ring: Ring) -> None:
    ring.allow(keys=[A])
    member = await ring.guest()
    reply = await member.ask("MULTI", f"INCR {A}", f"BLPOP {B} 0", f"EVAL x 1 {A}", "EXEC")
    assert reply.count(b"-NOPERM") == 2
    assert b"-EXECABORT" in reply


async def test_what_must_be_looked_at_is_asked_without_waiting_all_the_same(ring: Ring) -> None:
    ring.allow(keys=[A])
    member = await ring.guest()
    await member.ask(f"GET {A}")
    ring.nodes[0].on("INCR", A, act="wait", times=1)
    member.say(f"INCR {A}", f"INCR {A}", f"GET {B}", f"INCR {A}")
    await until("the first", lambda: ring.nodes[0].asked("INCR", A) == 1)
    assert member.talk.owed == 4
    ring.nodes[0].release()
    assert [await member.hear() for _ in range(4)] == [
        b":1\r\n",
        b":2\r\n",
        b"-NOPERM No permissions to access a key\r\n",
        b":3\r\n",
    ]
