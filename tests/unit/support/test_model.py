from __future__ import annotations

import random

import pytest

from tests.support.model import ModelServer
from tests.support.shorthand import from_server


class Steady(random.Random):
    """Chance that never strikes."""

    def random(self) -> float:
        return 0.99


# What PostgreSQL 17 answered to the same.
ANSWERS = {
    "Q": "T D C ZI",
    "Qe": "E ZI",
    "x S": "1 2 C ZI",
    "xe x S x S": "E ZI 1 2 C ZI",
    "xc S d c S": "G C ZI",
    "xc S f S": "G E ZI",
    "Qc S S d c S": "G C ZI ZI",
    "Qc d c Q": "G C ZI T D C ZI",
    "Qc f d c": "G E ZI",
    "x Q": "1 2 C T D C ZI",
    "xe Q S": "E ZI",
    "xc H d c xc d c S": "G C G C ZI",
    "d c f H S": "ZI",
}


@pytest.mark.parametrize(("sent", "answered"), ANSWERS.items())
def test_the_model_answers_as_the_server_does(sent: str, answered: str) -> None:
    model = ModelServer(Steady())
    for word in sent.split():
        model.send(word)
    while model.unread:
        model.read()
    assert model.said == from_server(answered)
    model.said.clear()
    assert model.owes_nothing


@pytest.mark.parametrize("sent", ["Q", "x", "xe", "Qc", "xc d c", "S"])
def test_the_model_knows_what_it_owes(sent: str) -> None:
    model = ModelServer(Steady())
    for word in sent.split():
        model.send(word)
    assert not model.owes_nothing
    while model.unread:
        model.read()
    assert not model.owes_nothing


def test_a_copy_may_fail_at_any_moment() -> None:
    said = set()
    for number in range(300):
        model = ModelServer(random.Random(number))
        for word in ["xc", "S", "d", "c", "S"]:
            model.send(word)
        while model.unread:
            model.read()
        said.add(bytes(model.said))
    assert from_server("G C ZI") in said
    assert from_server("G E ZI") in said
    assert from_server("G E ZI ZI") in said
