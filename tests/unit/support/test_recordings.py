from __future__ import annotations

from tests.support.recordings import of_side, recorded


def test_there_are_recordings_of_each_part() -> None:
    assert {"psql", "psycopg", "asyncpg", "pg8000", "pgbench"} <= set(recorded("login"))
    assert set(recorded("login")) == set(recorded("session"))
    assert {"redis_py_resp2", "redis_py_resp3", "redis_cli_resp3", "redis_ioredis"} <= set(recorded("redis"))
    assert {"login_scram", "login_md5", "login_cleartext", "login_refused"} == set(recorded("upstream"))


def test_a_recording_has_what_both_sides_said() -> None:
    psql = recorded("login")["psql"]
    assert of_side(psql, sent=True).startswith(b"\0\0\0\x08\x04\xd2\x16\x2f")
    assert of_side(psql, sent=False).startswith(b"N")
