"""A tracker beside a model of the server, under random orders of sending, reading, failing and carrying.

Never may a tracker say `clean` while the server owes something: parting the two then would hand one client's answer to
another. Where a client keeps to Sync, it must also say so again after the next answer.
"""

from __future__ import annotations

import os
import random
from collections import deque

import pytest

from ambassador.wire.postgres.tracker import Tracker
from tests.support.model import ModelServer
from tests.support.twins import TWINS, tracker_module

SESSIONS = int(os.environ.get("FUZZ", "100000")) // 40

ORDERLY = ["Q", "Qe", "x S", "xe S", "x H x S", "S", "H", "d", "c"]
# A Query behind extended messages without their Sync: legal, rare, and not always to be told from outside.
DISORDERLY = ["x", "x Q", "xe Q", "xe Q S", "xc d c Q", "xc S d c Q S", "xc S d c x S", "xc S c x", "Qc d c d c S"]


def copy(rng: random.Random) -> str:
    """A COPY, with Syncs where clients put them and where they do not."""
    extended = rng.random() < 0.5
    words = ["xc" if extended else "Qc", *rng.choice(([], ["S"], ["S", "S"], ["H"]))]
    words += rng.choices(["d", "d", "d", "S"], k=rng.randrange(4))
    words += [rng.choice("ccf")] + ["S"] * extended
    return " ".join(words)


def play(tracker: Tracker, rng: random.Random, steps: list[str]) -> bool:
    """One session; whether the tracker was clean at its end, when the server was."""
    model, to_send = ModelServer(rng), deque(" ".join(steps).split())
    while to_send or model.unread or model.said:
        way = rng.random()
        if way < 0.3 and to_send:
            tracker.from_client(model.send(to_send.popleft()))
        elif way < 0.6 and model.unread:
            model.read()
        elif model.said:
            size = rng.choice((1, 4, 6, 9, 100))
            piece = bytes(model.said[:size])
            del model.said[:size]
            tracker.from_server(piece)
        assert not tracker.clean or model.owes_nothing, "the server owes something"
    return tracker.clean or not model.owes_nothing


@pytest.mark.parametrize("twin", TWINS)
def test_orderly_sessions_are_never_clean_too_early_and_always_in_the_end(twin: str) -> None:
    for number in range(SESSIONS):
        rng = random.Random(number)
        steps = [rng.choice([rng.choice(ORDERLY), copy(rng)]) for _ in range(rng.randrange(1, 8))]
        try:
            assert play(tracker_of(twin), rng, [*steps, "x S", "Q"])
        except AssertionError as error:
            raise AssertionError(f"session {number}: {steps}") from error


@pytest.mark.parametrize("twin", TWINS)
def test_disorderly_sessions_are_never_clean_too_early(twin: str) -> None:
    late = 0
    for number in range(SESSIONS):
        rng = random.Random(number)
        steps = [
            rng.choice([rng.choice(ORDERLY), rng.choice(DISORDERLY), copy(rng)]) for _ in range(rng.randrange(1, 8))
        ]
        try:
            late += not play(tracker_of(twin), rng, [*steps, "S", "x S", "Q"])
        except AssertionError as error:
            raise AssertionError(f"session {number}: {steps}") from error
    assert late < SESSIONS * 3 // 4, "a tracker that is never clean would be right, too"


TRACKERS: dict[str, type[Tracker]] = {}


def tracker_of(twin: str) -> Tracker:
    if twin not in TRACKERS:
        TRACKERS[twin] = tracker_module(twin).Tracker
    return TRACKERS[twin]()
