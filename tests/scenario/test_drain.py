"""How the daemon leaves: what is owed is finished, whoever waits is told, and nobody is kept past the deadline."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from ambassador.runtime.daemon import State
from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient


def drain(delay: str = "0s", timeout: str = "10s") -> dict[str, Any]:
    return {"drain": {"delay": delay, "timeout": timeout}}


def phases(house: House) -> list[str]:
    return [line["phase"] for line in house.lines("daemon")]


async def is_told(client: PgClient) -> bool:
    """Whether the client's connection ends with the words of an administrator's shutdown."""
    error = await client.last_words()
    return error is not None and (error.severity, error.code) == ("FATAL", "57P01")


async def is_taken(plan: Plan) -> bool:
    """Whether somebody listens."""
    host, _, port = plan.at.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return False
    writer.transport.abort()
    return True


async def ask(house: House, path: str) -> tuple[int, str]:
    """Code and body of a page of the admin server."""
    reader, writer = await asyncio.open_unix_connection(str(house.directory / "admin.sock"))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    finally:
        writer.close()
    return int(head.split()[1]), body


# ---- the states


async def test_it_goes_from_ready_to_stopped_and_its_probes_and_metrics_answer_all_the_way(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain("30s"))) as house, PgClient(plan.at) as busy:
            await busy.log_in()
            await busy.query("begin")
            assert (await ask(house, "/readyz"))[0] == 200
            house.daemon.drain()
            await until("leaving", lambda: house.daemon.state is State.LEAVING)
            assert await ask(house, "/readyz") == (503, "leaving\n")
            assert await is_taken(plan)
            house.daemon.quit()  # no more of the delay
            await until("draining", lambda: house.daemon.state is State.DRAINING)
            assert await ask(house, "/readyz") == (503, "draining\n")
            assert (await ask(house, "/livez"))[0] == 200
            assert 'ambassador_downstream_connections{listener="front"} 1.0' in (await ask(house, "/metrics"))[1]
            assert not await is_taken(plan)
            await busy.query("commit")
            assert await is_told(busy)
            async with asyncio.timeout(5):
                await house.serving
            assert not (house.directory / "admin.sock").exists()
            assert phases(house) == ["ready", "leaving", "draining", "stopped"]


async def test_while_leaving_new_clients_are_served(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain("30s"))) as house:
            house.daemon.drain()
            await until("leaving", lambda: house.daemon.state is State.LEAVING)
            async with PgClient(plan.at) as client:
                await client.log_in()
                assert (await client.query("select 'late, and welcome'")).rows == ["late, and welcome"]


async def test_a_configuration_is_not_changed_while_leaving(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain("30s"))) as house:
            house.daemon.drain()
            await until("leaving", lambda: house.daemon.state is State.LEAVING)
            assert not (await house.daemon.reload()).applied


async def test_without_sessions_it_ends_as_soon_as_the_delay_is_over(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain("200ms"))) as house:
            began = time.monotonic()
            house.daemon.drain()
            async with asyncio.timeout(5):
                await house.serving
            assert time.monotonic() - began >= 0.2
            assert phases(house) == ["ready", "leaving", "draining", "stopped"]


async def test_the_file_of_a_unix_socket_goes_with_it(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"listen": "unix:DIR/front"})) as house:
            assert (house.directory / "front").is_socket()
            house.daemon.quit()
            await house.serving
            assert not (house.directory / "front").exists()


# ---- sessions


async def test_an_idle_session_is_told_at_once(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain())) as house, PgClient(plan.at) as client:
            await client.log_in()
            house.daemon.drain()
            assert await is_told(client)
            await until("the server connection to be closed", lambda: server.connections == 0)
            assert house.ends()[0]["reason"] == "drained"
            assert house.ends()[0]["level"] == "info"


async def test_a_transaction_is_finished_before_its_session_is_told(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain())) as house, PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            house.daemon.drain()
            await until("draining", lambda: house.daemon.state is State.DRAINING)
            assert (await client.query("select 'still'")).rows == ["still"]
            assert (await client.query("commit")).tags == ["COMMIT"]
            assert await is_told(client)


async def test_a_statement_that_runs_is_answered_before_its_session_is_told(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain())) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("select pg_sleep(0.3)"))
            await client.stream.drained()
            await until("the query to be under way", lambda: house.status()["sessions"][0]["bytes_in"] > 0)
            house.daemon.drain()
            assert (await client.result()).tags == ["SELECT 1"]
            assert await is_told(client)


async def test_a_copy_is_finished_before_its_session_is_told(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain())) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("copy t from stdin"))
            await client.until(b"G")
            house.daemon.drain()
            await until("draining", lambda: house.daemon.state is State.DRAINING)
            # A Sync amid a COPY means nothing (protocol chapter), and is no boundary either.
            client.send(messages.message(b"d", b"1\n") + messages.SYNC + messages.message(b"d", b"2\n"))
            client.send(messages.message(b"c"))
            assert (await client.result()).tags == ["COPY 2"]
            assert await is_told(client)


async def test_a_pipeline_without_its_sync_is_not_at_a_boundary(plan: Plan) -> None:
    parse, bind = b"\0select 'piped'\0\0\0", b"\0\0\0\0\0\0\0\0"
    with FakePostgres() as server:
        async with House(plan.text(server, **drain())) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.message(b"P", parse) + messages.message(b"B", bind))
            await client.until(b"2")
            house.daemon.drain()
            await until("draining", lambda: house.daemon.state is State.DRAINING)
            client.send(messages.message(b"E", b"\0\0\0\0\0") + messages.SYNC)
            assert (await client.result()).rows == ["piped"]
            assert await is_told(client)


async def test_a_client_that_has_not_logged_in_yet_is_told_when_it_tries(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain())) as house, PgClient(plan.at) as client:
            await until("the connection to be taken", lambda: bool(house.daemon.running.listeners["front"].sessions))
            house.daemon.drain()
            await until("draining", lambda: house.daemon.state is State.DRAINING)
            client.start()
            assert await is_told(client)
        assert server.accepted == 0


# ---- the deadline


async def test_at_the_deadline_who_is_busy_is_cut_and_counted(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain(timeout="300ms"))) as house, PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            house.daemon.drain()
            assert await is_told(client)
            async with asyncio.timeout(5):
                await house.serving
            assert [line["reason"] for line in house.ends()] == ["cut"]
            assert house.lines("sessions cut", sessions=1)
            assert 'connections_total{listener="front",result="cut"} 1.0' in house.metrics()


async def test_at_the_deadline_a_client_in_the_middle_of_a_row_sees_only_the_end(plan: Plan) -> None:
    """Between two halves of a message there is no place for words of ours."""
    half = messages.message(b"D", b"\0\1\0\0\0\x64" + b"x" * 100)[:50]
    with FakePostgres().on("select half", half, "hang") as server:
        async with House(plan.text(server, **drain(timeout="300ms"))) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("select half"))
            await until("the half to be there", lambda: client.stream.buffered == len(half))
            house.daemon.drain()
            assert await client.rest() == half


@pytest.mark.parametrize("delay", ["30s", "0s"], ids=["leaving", "draining"])
async def test_a_second_sigterm_goes_to_the_deadline_at_once(plan: Plan, delay: str) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain(delay, "30s"))) as house, PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            os.kill(os.getpid(), signal.SIGTERM)
            await until("it to begin", lambda: house.daemon.state in {State.LEAVING, State.DRAINING})
            os.kill(os.getpid(), signal.SIGTERM)
            assert await is_told(client)
            async with asyncio.timeout(5):
                await house.serving


async def test_a_sigterm_behind_a_request_is_no_second_wish(plan: Plan) -> None:
    """A preStop hook asks first, and then the kubelet sends the signal."""
    with FakePostgres() as server:
        async with House(plan.text(server, **drain())) as house, PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            house.daemon.drain()
            await until("draining", lambda: house.daemon.state is State.DRAINING)
            os.kill(os.getpid(), signal.SIGTERM)
            assert (await client.query("commit")).tags == ["COMMIT"]
            assert await is_told(client)


async def test_quit_leaves_without_the_delay_and_still_finishes_what_is_owed(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain("30s"))) as house, PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            house.daemon.quit()
            await until("draining", lambda: house.daemon.state is State.DRAINING)
            assert (await client.query("commit")).tags == ["COMMIT"]
            assert await is_told(client)
            async with asyncio.timeout(5):
                await house.serving
            assert phases(house) == ["ready", "draining", "stopped"]


async def test_a_client_that_never_reads_does_not_hold_the_daemon(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, **drain(timeout="300ms"))) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.stream.pause_reading()
            client.send(messages.query("select repeat('x', 30000000)"))
            await until("the answer to stand", lambda: house.status()["sessions"][0]["bytes_out"] > 100_000)
            house.daemon.drain()
            async with asyncio.timeout(8):
                await house.serving
