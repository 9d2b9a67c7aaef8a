"""Channels at the node where everybody meets, sharded ones at that of their slot."""

from __future__ import annotations

from ambassador.wire.redis.messages import encode
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.cluster.conftest import A, B, Member, Ring, until


def home(ring: Ring) -> FakeRedis:
    """Where all meet."""
    return min(ring.nodes, key=lambda node: ("127.0.0.1", node.port))


async def test_who_publishes_and_who_is_subscribed_meet_at_one_node(ring: Ring, member: Member) -> None:
    other = await ring.guest()
    assert await member.ask("SUBSCRIBE news") == encode([b"subscribe", b"news", 1], 2)
    assert await other.ask("PUBLISH news hello") == b":1\r\n"
    assert await member.hear() == encode([b"message", b"news", b"hello"], 2)
    assert home(ring).asked("SUBSCRIBE") == home(ring).asked("PUBLISH") == 1
    assert await member.ask("PING") == encode([b"pong", b""], 2)
    assert (await member.ask(f"GET {A}")).startswith(b"-ERR Can't execute 'get'")
    assert await member.ask("UNSUBSCRIBE news") == encode([b"unsubscribe", b"news", 0], 2)
    assert await member.ask(f"GET {A}") == b"$-1\r\n"
    assert not ring.pinned


async def test_subscriptions_are_renewed_when_their_node_goes(ring: Ring, member: Member) -> None:
    assert await member.ask("SUBSCRIBE news") == encode([b"subscribe", b"news", 1], 2)
    home(ring).reset()
    await until("it to be subscribed again", lambda: home(ring).asked("SUBSCRIBE") == 2)
    await until("it to be heard", lambda: home(ring).publish(b"news", b"x") == 1)
    assert await member.hear() == encode([b"message", b"news", b"x"], 2)


async def test_a_sharded_channel_lies_at_the_node_of_its_slot(ring: Ring, member: Member) -> None:
    confirmed = encode([b"ssubscribe", A.encode(), 1], 2)
    ring.nodes[0].on("SSUBSCRIBE", raw=confirmed)
    assert await member.ask(f"SSUBSCRIBE {A}") == confirmed
    assert (await member.ask(f"SSUBSCRIBE {B}")).startswith(b"-ERR a connection has subscriptions at one node")
    assert (await member.ask(f"SSUBSCRIBE {A} {B}")).startswith(b"-CROSSSLOT")


async def test_a_channel_whose_slot_moves_is_followed(ring: Ring, member: Member) -> None:
    confirmed = encode([b"ssubscribe", A.encode(), 1], 2)
    for node in ring.nodes[:2]:
        node.on("SSUBSCRIBE", raw=confirmed)
    assert await member.ask(f"SSUBSCRIBE {A}") == confirmed
    ring.tell(ring.nodes[1], ring.nodes[1], ring.nodes[2])
    ring.nodes[0].on("SSUBSCRIBE", raw=ring.moved(A, ring.nodes[1]))
    for session in ring.nodes[0].sessions:
        session.say(encode([b"sunsubscribe", A.encode(), 0], 2))
    await until("it to be subscribed there", lambda: ring.nodes[1].asked("SSUBSCRIBE", A) == 1)
    message = encode([b"smessage", A.encode(), b"x"], 2)
    for session in ring.nodes[1].sessions:
        session.say(message)
    assert await member.hear() == message
