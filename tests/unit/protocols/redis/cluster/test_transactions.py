"""MULTI and WATCH: the first key decides the node."""

from __future__ import annotations

from ambassador.protocols.redis.cluster.transactions import Transaction
from tests.unit.protocols.redis.cluster.conftest import A, B, C, Member, Ring, until

OK, QUEUED = b"+OK\r\n", b"+QUEUED\r\n"
ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


def test_a_transaction_begins_nowhere() -> None:
    begun = Transaction()
    assert (begun.slot, begun.held) == (None, [])
    assert (begun.bound, begun.spoilt, begun.ending) == (False, False, False)


async def test_what_was_queued_before_the_first_key_is_carried_out_first(ring: Ring, member: Member) -> None:
    reply = await member.ask("MULTI", "PING", f"INCR {A}", f"INCR {A}", "EXEC", f"GET {B}")
    assert reply == OK + QUEUED * 3 + b"*3\r\n+PONG\r\n:1\r\n:2\r\n" + b"$-1\r\n"
    assert [node.asked("MULTI") for node in ring.nodes] == [1, 0, 0]
    assert not ring.pinned


async def test_nothing_at_all_is_carried_out_here(ring: Ring, member: Member) -> None:
    assert await member.ask("MULTI", "EXEC", "MULTI", "DISCARD") == OK + b"*0\r\n" + OK + OK
    assert not any(node.asked("MULTI") for node in ring.nodes)


async def test_without_a_key_any_node_will_do(ring: Ring, member: Member) -> None:
    assert await member.ask("MULTI", "PING", "EXEC") == OK + QUEUED + b"*1\r\n+PONG\r\n"


async def test_another_slot_spoils_it(ring: Ring, member: Member) -> None:
    reply = await member.ask("MULTI", f"INCR {A}", f"INCR {B}", "EXEC", f"GET {A}")
    assert reply == OK + QUEUED + b"-CROSSSLOT Keys in request don't hash to the same slot\r\n" + ABORTED + b"$-1\r\n"


async def test_so_do_two_slots_at_once_before_it_has_a_node(ring: Ring, member: Member) -> None:
    reply = await member.ask("MULTI", f"RENAME {A} {B}", "PING", "EXEC")
    assert reply == OK + b"-CROSSSLOT Keys in request don't hash to the same slot\r\n" + QUEUED + ABORTED


async def test_what_no_server_knows_spoils_it(ring: Ring, member: Member) -> None:
    reply = await member.ask("MULTI", "NOSUCH", f"INCR {A}", "EXEC")
    assert reply.startswith(OK + b"-ERR unknown command")
    assert reply.endswith(ABORTED)


async def test_what_concerns_all_nodes_cannot_be_part_of_it(ring: Ring, member: Member) -> None:
    reply = await member.ask("MULTI", f"INCR {A}", "DBSIZE", "EXEC")
    assert reply.startswith(OK + QUEUED + b"-ERR inside a transaction 'DBSIZE' would reach one node only")
    assert reply.endswith(ABORTED)


async def test_what_would_change_the_connection_spoils_it(ring: Ring, member: Member) -> None:
    for said in ("SUBSCRIBE x", "HELLO 3", "CLIENT ID", "SELECT 0", "AUTH x"):
        reply = await member.ask("MULTI", f"INCR {A}", said, "EXEC")
        assert reply == OK + QUEUED + b"-ERR Command not allowed inside a transaction\r\n" + ABORTED


async def test_multi_and_watch_within_it_are_refused_and_spoil_nothing(ring: Ring, member: Member) -> None:
    reply = await member.ask("MULTI", f"INCR {A}", "MULTI", f"WATCH {A}", "EXEC")
    assert reply.endswith(b"*1\r\n:1\r\n")
    assert reply.count(b"-ERR") == 2


async def test_a_slot_that_has_moved_is_followed_by_the_first_key(ring: Ring, member: Member) -> None:
    ring.nodes[0].on("INCR", A, raw=ring.moved(A, ring.nodes[1]))
    ring.tell(ring.nodes[1], ring.nodes[1], ring.nodes[2])
    assert await member.ask("MULTI", f"INCR {A}", "EXEC") == OK + QUEUED + b"*1\r\n:1\r\n"
    assert ring.nodes[1].asked("EXEC") == 1


async def test_watched_keys_decide_the_node_and_are_watched(ring: Ring, member: Member) -> None:
    other = await ring.guest()
    assert await member.ask(f"WATCH {A}", f"GET {B}", "MULTI", f"INCR {A}") == OK + b"$-1\r\n" + OK + QUEUED
    await other.ask(f"SET {A} 5")
    assert await member.ask("EXEC") == b"*-1\r\n"
    assert await member.ask(f"WATCH {A}", "MULTI", f"INCR {A}", "EXEC") == OK + OK + QUEUED + b"*1\r\n:6\r\n"
    assert await member.ask(f"WATCH {A}", f"WATCH {C}", "UNWATCH") == OK + (
        b"-CROSSSLOT Keys in request don't hash to the same slot\r\n" + OK
    )
    await until("everything to be free", lambda: not ring.pinned)


async def test_a_watched_slot_that_has_moved_is_no_second_slot(ring: Ring, member: Member) -> None:
    assert await member.ask(f"WATCH {A}") == OK
    ring.nodes[0].on("INCR", A, raw=ring.moved(A, ring.nodes[1])).on("WATCH", A, raw=ring.moved(A, ring.nodes[1]))
    ring.tell(ring.nodes[1], ring.nodes[1], ring.nodes[2])
    other = await ring.guest()
    assert await other.ask(f"INCR {A}") == b":1\r\n"
    moving = b"-TRYAGAIN the slot of this transaction is moving to another node; begin it again\r\n"
    assert await member.ask(f"WATCH {A}", "MULTI", f"INCR {A}") == moving + OK + moving
    assert await member.ask("DISCARD", f"WATCH {A}", "MULTI", f"INCR {A}", "EXEC") == OK * 3 + QUEUED + (
        b"*1\r\n:2\r\n"
    )


async def test_one_that_is_lost_with_its_node_is_told_of_at_its_end(ring: Ring, member: Member) -> None:
    assert await member.ask("MULTI", f"INCR {A}") == OK + QUEUED
    ring.nodes[0].reset()
    await until("the loss", lambda: member.talk.state.lost == "multi")
    assert (await member.ask(f"INCR {A}")).startswith(b"-ERR the connection to the upstream server was lost")
    assert (await member.ask("EXEC")).startswith(b"-EXECABORT")
    assert await member.ask(f"INCR {A}") == b":1\r\n"


async def test_watches_that_are_lost_with_their_node_fail_the_transaction(ring: Ring, member: Member) -> None:
    assert await member.ask(f"WATCH {A}") == OK
    ring.nodes[0].reset()
    await until("the loss", lambda: member.talk.state.lost == "watch")
    assert await member.ask(f"GET {A}", "MULTI", f"INCR {A}", "EXEC") == b"$-1\r\n" + OK + QUEUED + b"*-1\r\n"
    assert await member.ask(f"GET {A}") == b"$-1\r\n"


async def test_the_next_one_in_the_same_piece_may_be_at_another_node(ring: Ring, member: Member) -> None:
    said = [[f"WATCH {key}", "MULTI", "EXEC", "MULTI", f"INCR {key}", "EXEC", "UNWATCH"] for key in (A, B, C)]
    reply = await member.ask(*[command for commands in said for command in commands])
    assert reply == (OK + OK + b"*0\r\n" + OK + QUEUED + b"*1\r\n:1\r\n" + OK) * 3
