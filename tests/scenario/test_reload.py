"""Another configuration under running sessions: who is not concerned does not notice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import pytest

from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan, place
from tests.support.clock import ManualClock
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient

NAME = "fake.name"


async def who_serves(at: str) -> str:
    async with PgClient(at) as client:
        await client.log_in()
        return client.settings[NAME]


async def is_told_to_leave(client: PgClient, house: House) -> bool:
    """Whether the client's connection ends with the words of a shutdown, at a boundary and not by a cut."""
    error = await client.last_words()
    await until("the session to end", lambda: bool(house.ends()))
    ended = house.lines("session ended", reason="drained")
    return error is not None and (error.severity, error.code) == ("FATAL", "57P01") and bool(ended)


def sockets(house: House) -> dict[str, int]:
    """The listening sockets by address."""
    return {str(address): id(bound) for address, bound in house.daemon.running._sockets.items()}


# ---- what is not concerned stays


async def test_sessions_and_sockets_stay_while_settings_around_them_change(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            before = sockets(house)
            result = await house.reload(
                plan.text(server, listener={"limits": {"connections": 2, "idle_timeout": "1h"}})
            )
            assert (result.applied, result.faults) == (True, ())
            assert sockets(house) == before
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]
            async with PgClient(plan.at) as second, PgClient(plan.at) as third:
                await second.log_in()
                third.start()
                assert (await third.error()).code == "53300", "the new limit counts the old session too"


async def test_the_same_file_again_changes_nothing(plan: Plan) -> None:
    plan.secret("db")
    with FakePostgres() as server:
        text = plan.text(server)
        async with House(text) as house, PgClient(plan.at) as client:
            await client.log_in()
            world = house.daemon.world
            assert (await house.reload(text)).applied
            assert house.daemon.world.plans["front"] is world.plans["front"]
            assert house.daemon.world.keepers["db"] is world.keepers["db"]
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]


async def test_clients_come_and_go_through_reload_after_reload(plan: Plan) -> None:
    plan.secret("db")
    with FakePostgres().iterations(64) as server:
        texts = [plan.text(server, listener={"limits": {"connections": 100 + more}}) for more in range(2)]
        async with House(texts[0]) as house:
            done = asyncio.Event()

            async def come_and_go() -> int:
                turns = 0
                while not done.is_set():
                    async with PgClient(plan.at) as client:
                        await client.log_in()
                        assert (await client.query("select 'through'")).rows == ["through"]
                    turns += 1
                return turns

            async with asyncio.TaskGroup() as group:
                clients = [group.create_task(come_and_go()) for _ in range(3)]
                for turn in range(12):
                    assert (await house.reload(texts[turn % 2])).applied
                done.set()
            assert all(client.result() for client in clients)


# ---- what is concerned moves


async def test_new_sessions_go_to_the_new_endpoint_and_old_ones_leave_the_old(plan: Plan) -> None:
    with FakePostgres().setting(NAME, "old") as old, FakePostgres().setting(NAME, "new") as new:
        async with House(plan.text(old)) as house, PgClient(plan.at) as idle:
            await idle.log_in()
            assert (await house.reload(plan.text(new))).applied
            assert await is_told_to_leave(idle, house)
            assert await who_serves(plan.at) == "new"
            assert old.address not in house.metrics(), "the metrics of an endpoint that is gone"


async def test_at_an_endpoint_taken_out_a_transaction_is_finished_first(plan: Plan) -> None:
    with FakePostgres() as old, FakePostgres() as new:
        async with House(plan.text(old)) as house, PgClient(plan.at) as busy:
            await busy.log_in()
            await busy.query("begin")
            assert (await house.reload(plan.text(new))).applied
            assert (await busy.query("select 'still'")).rows == ["still"]
            assert (await busy.query("commit")).tags == ["COMMIT"]
            assert await is_told_to_leave(busy, house)


async def test_at_an_endpoint_taken_out_a_transaction_without_end_is_cut(plan: Plan) -> None:
    drain = {"drain": {"delay": "0s", "timeout": "300ms"}}
    with FakePostgres() as old, FakePostgres() as new:
        async with House(plan.text(old, **drain)) as house, PgClient(plan.at) as busy:
            await busy.log_in()
            await busy.query("begin")
            assert (await house.reload(plan.text(new, **drain))).applied
            error = await busy.last_words()
            assert error is not None
            assert error.code == "57P01"
            await until("the session to end", lambda: bool(house.lines("session ended", reason="cut")))


async def test_sessions_at_an_endpoint_that_stays_stay_when_another_is_taken_out(plan: Plan) -> None:
    with FakePostgres() as stays, FakePostgres() as leaves:
        async with House(plan.text(stays, leaves)) as house, PgClient(plan.at) as client:
            await client.log_in()
            assert (await house.reload(plan.text(stays))).applied
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]


async def test_a_listener_taken_out_tells_its_sessions_and_takes_no_more(plan: Plan) -> None:
    other = place()
    with FakePostgres() as server:
        both = {"front": plan.listener(), "side": plan.listener(other)}
        async with (
            House(plan.text(server, listeners=both)) as house,
            PgClient(other) as leaves,
            PgClient(plan.at) as stays,
        ):
            await leaves.log_in()
            await stays.log_in()
            assert (await house.reload(plan.text(server))).applied
            assert await is_told_to_leave(leaves, house)
            host, _, port = other.rpartition(":")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(host, int(port))
            assert (await stays.query("select 'undisturbed'")).rows == ["undisturbed"]
            await until("the listener to be gone", lambda: not house.daemon.running.retired)
            assert 'listener="side"' not in house.metrics()


async def test_an_address_may_move_from_one_listener_to_another(plan: Plan) -> None:
    with FakePostgres().setting(NAME, "one") as one, FakePostgres().setting(NAME, "two") as two:
        moving, upstreams = place(), {"one": plan.upstream(one), "two": plan.upstream(two)}

        def text(first: list[str], second: list[str]) -> str:
            listeners = {"a": plan.listener(first, upstream="one"), "b": plan.listener(second, upstream="two")}  # type: ignore[arg-type]  # several
            return plan.text(one, upstreams=upstreams, listeners=listeners)

        start, later = text([plan.at, moving], [other := place()]), text([plan.at], [other, moving])
        async with House(start) as house, PgClient(moving) as client:
            await client.log_in()
            assert client.settings[NAME] == "one"
            before = sockets(house)
            assert (await house.reload(later)).applied
            assert sockets(house) == before, "bound all the time"
            assert await who_serves(moving) == "two"
            assert await who_serves(plan.at) == "one"
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]


async def test_a_listener_that_was_renamed_keeps_its_address_and_drains_its_sessions(plan: Plan) -> None:
    with FakePostgres().setting(NAME, "server") as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            assert (await house.reload(plan.text(server, listeners={"renamed": plan.listener()}))).applied
            assert await is_told_to_leave(client, house)
            assert await who_serves(plan.at) == "server"


async def test_a_credential_taken_out_is_shown_no_more_and_may_come_back(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        with_it, without = plan.text(server), plan.text(server, credentials={}, upstream={"credential": None})
        async with House(with_it) as house, PgClient(plan.at) as client:
            await client.log_in()
            assert (await house.reload(without)).applied
            assert house.status()["credentials"] == []
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]
            async with PgClient(plan.at) as other:
                other.start("app")
                assert (await other.error()).code == "08006"
            assert (await house.reload(with_it)).applied
            await until("its value to be back", lambda: not house.daemon.held())
            async with PgClient(plan.at) as other:
                await other.log_in()
            assert house.status()["credentials"][0]["version"] == 2, "versions never repeat"


# ---- what cannot be applied changes nothing


async def test_a_file_with_faults_is_refused_with_all_of_them_and_changes_nothing(plan: Plan) -> None:
    bad = "listeners:\n  front: {listen: 127.0.0.1:99999, postgres: {upstream: nowhere}}\nunknown: 1\n"
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            result = await house.reload(bad)
            assert not result.applied
            assert len(result.faults) >= 2
            assert all("ambassador.yaml:" in fault for fault in result.faults)
            assert "ambassador_config_last_reload_successful 0.0" in house.metrics()
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]
            async with PgClient(plan.at) as other:
                await other.log_in()
            assert house.daemon.held() == ()
            assert (await house.reload(plan.text(server))).applied
            assert "ambassador_config_last_reload_successful 1.0" in house.metrics()


async def test_an_address_that_is_taken_is_refused_and_what_could_be_bound_is_let_go(plan: Plan) -> None:
    free, taken = place(), place()
    host, _, port = taken.rpartition(":")
    with FakePostgres() as server, socket.create_server((host, int(port))):
        async with House(plan.text(server)) as house:
            before = sockets(house)
            listeners = {"front": plan.listener(), "a": plan.listener(free), "b": plan.listener(taken)}
            result = await house.reload(plan.text(server, listeners=listeners))
            assert not result.applied
            assert taken in result.faults[0]
            assert sockets(house) == before
            free_host, _, free_port = free.rpartition(":")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(free_host, int(free_port))
            async with PgClient(plan.at) as client:
                await client.log_in()


async def test_a_certificate_that_cannot_be_used_is_refused(plan: Plan) -> None:
    tls = plan.server_tls()
    mismatched = {**tls, "key": plan.server_tls()["key"]}
    with FakePostgres() as server:
        async with House(plan.text(server)) as house:
            assert not (await house.reload(plan.text(server, listener={"tls": mismatched}))).applied
            async with PgClient(plan.at) as client:
                await client.log_in()


async def test_what_needs_a_restart_is_named(plan: Plan) -> None:
    with FakePostgres() as server:
        at = {"listen": "unix:DIR/front", "unix": {"mode": "0600"}}
        async with House(plan.text(server, listener={"listen": "unix:DIR/front"})) as house:
            result = await house.reload(plan.text(server, listener=at))
            assert (result.applied, result.restart_needed) == (True, ("listeners.front.unix",))
            assert house.lines("restart needed", setting="listeners.front.unix")


# ---- who asks for it


async def test_an_edit_is_noticed_by_itself(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house:
            house.rewrite(plan.text(server, log={"level": "warning"}))
            await until("the reload", lambda: house.status()["daemon"]["log_level"] == "warning")


async def test_sighup_reloads(plan: Plan) -> None:
    with FakePostgres() as server:
        # Time stands still, so that the file itself is not looked at.
        async with House(plan.text(server), clock=ManualClock()) as house:
            house.rewrite(plan.text(server, log={"level": "warning"}))
            os.kill(os.getpid(), signal.SIGHUP)
            await until("the reload", lambda: house.status()["daemon"]["log_level"] == "warning")


async def test_changed_access_counts_for_the_next_client(plan: Plan) -> None:
    password = plan.secret("clients", "app")
    access: dict[str, Any] = {"access": {"password": {"credential": "clients"}}}
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            assert (await house.reload(plan.text(server, listener=access))).applied
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]
            async with PgClient(plan.at) as other:
                other.start()
                assert messages.parse_authentication((await other.message())[1])[0] == messages.AUTH_SASL
            async with PgClient(plan.at) as other:
                await other.log_in("app", password)
