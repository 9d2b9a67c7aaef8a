"""Note: what a line tells of how a run ends."""

from __future__ import annotations

from ambassador.net.taker import NOWHERE
from ambassador.protocols.redis.line import Answer
from ambassador.protocols.redis.note import Note
from ambassador.protocols.redis.owing import Line, Run
from ambassador.wire.redis.replies import Replies


def test_an_answer_of_ours_is_a_note_and_told_as_one() -> None:
    told: list[bytes | None] = []
    answer = Answer(told.append)
    note: Note = answer
    line = Line(NOWHERE, Replies())
    run = Run(None, answer, 1)
    run.note = note
    line.append(run)
    line.take(b"+OK\r\n")
    assert told == [b"+OK\r\n"]
    note.lost()
    assert told == [b"+OK\r\n", None]
