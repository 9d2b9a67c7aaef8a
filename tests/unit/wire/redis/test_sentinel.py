"""A conversation with a Sentinel, at every split of its bytes, and what to believe of several."""

from __future__ import annotations

from typing import Any

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.wire.redis.messages import Encodable, decode, encode, error
from ambassador.wire.redis.place import Place
from ambassador.wire.redis.sentinel import (
    CHANNELS,
    MAX_NAMED,
    MAX_WAITING,
    Event,
    Replica,
    Topology,
    View,
    Watch,
    agree,
    concerns,
)
from tests.support.splits import every_split

OLD, NEW, THIRD = Place("10.0.0.1", 6379), Place("10.0.0.2", 6379), Place("db.example.com", 7000)
OWN, OTHER = b"a" * 40, b"b" * 40


def subscribed(verb: str = "subscribe") -> bytes:
    return b"".join(encode([verb, channel, number], 2) for number, channel in enumerate(CHANNELS, 1))


def answers(**instead: Encodable) -> list[bytes]:
    """One round's, in the order of the questions."""
    replicas = [
        ["name", "x", "ip", "10.0.0.2", "port", "6379", "flags", "slave"],
        ["name", "y", "ip", "db.example.com", "port", "7000", "flags", "s_down,slave,disconnected"],
    ]
    usual: dict[str, Encodable] = {
        "myid": OWN,
        "master": ["name", "cache", "ip", "10.0.0.1", "config-epoch", "7"],
        "address": ["10.0.0.1", "6379"],
        "replicas": replicas,
        "sentinels": [["name", "z", "ip", "10.0.0.9", "port", "26379", "runid", OTHER]],
    }
    return [encode(value, 2) for value in (usual | instead).values()]


VIEW = View(
    sentinel=OWN.decode(),
    epoch=7,
    primary=OLD,
    replicas=(Replica(NEW, down=False), Replica(THIRD, down=True)),
    others=((OTHER.decode(), Place("10.0.0.9", 26379)),),
)


def heard(watch: Watch, data: bytes) -> list[View | Event]:
    watch.receive(data)
    found = []
    while (event := watch.next_event()) is not None:
        found.append(event)
    return found


def started(**instead: Encodable) -> tuple[Watch, list[View | Event]]:
    watch = Watch("cache")
    watch.ask()
    return watch, heard(watch, b"".join(answers(**instead)) + subscribed())


def requests(data: bytes) -> list[list[bytes]]:
    found: list[Any] = []
    at = 0
    while at < len(data):
        value, at = decode(data, at)
        found.append(value)
    return found


# ---- a round


def test_a_round_asks_for_everything_and_subscribes_behind_it() -> None:
    asked = requests(Watch("cache").ask())
    assert asked == [
        [b"SENTINEL", b"MYID"],
        [b"SENTINEL", b"MASTER", b"cache"],
        [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"cache"],
        [b"SENTINEL", b"REPLICAS", b"cache"],
        [b"SENTINEL", b"SENTINELS", b"cache"],
        [b"SUBSCRIBE", *CHANNELS],
    ]


def test_the_answers_make_a_view() -> None:
    assert started()[1] == [VIEW]


def test_the_answers_make_the_same_view_wherever_they_are_cut() -> None:
    for pieces in every_split(b"".join(answers()) + subscribed()):
        watch = Watch("cache")
        watch.ask()
        assert [event for piece in pieces for event in heard(watch, piece)] == [VIEW]


def test_the_next_round_unsubscribes_first_because_a_subscriber_may_not_ask() -> None:
    watch, _ = started()
    assert requests(watch.ask())[0] == [b"UNSUBSCRIBE"]
    again = b"".join(answers(address=["10.0.0.2", "6379"]))
    (view,) = heard(watch, subscribed("unsubscribe") + again + subscribed())
    assert isinstance(view, View)
    assert view.primary == NEW


def test_an_event_that_comes_before_the_new_answers_is_in_them() -> None:
    watch, _ = started()
    watch.ask()
    event = encode(["message", "+sdown", "master cache 10.0.0.1 6379"], 2)
    found = heard(watch, event + subscribed("unsubscribe") + b"".join(answers()) + subscribed())
    assert found == [VIEW]


def test_an_event_that_comes_behind_the_answers_but_before_the_round_ends_is_told_behind_the_view() -> None:
    watch = Watch("cache")
    watch.ask()
    event = encode(["message", "+sdown", "master cache 10.0.0.1 6379"], 2)
    first = encode(["subscribe", CHANNELS[0], 1], 2)
    assert heard(watch, b"".join(answers()) + first + event + subscribed()[len(first) :]) == [VIEW, Event("+sdown")]
    watch.ask()


def test_a_second_question_before_the_answers_is_a_fault_of_ours() -> None:
    watch = Watch("cache")
    watch.ask()
    with pytest.raises(AssertionError):
        watch.ask()


def test_one_that_does_not_let_us_subscribe_is_asked_all_the_same() -> None:
    watch = Watch("cache")
    watch.ask()
    refused = error("NOPERM this user has no permissions to access one of the channels")
    assert heard(watch, b"".join(answers()) + refused) == [VIEW]
    assert watch.deaf == "NOPERM"
    assert requests(watch.ask())[0] == [b"SENTINEL", b"MYID"]


def test_what_only_helps_may_be_refused() -> None:
    watch = Watch("cache")
    watch.ask()
    found = answers()
    found[0] = error("ERR Unknown sentinel subcommand 'MYID'")
    found[4] = error("NOPERM no")
    (view,) = heard(watch, b"".join(found) + subscribed())
    assert isinstance(view, View)
    assert (view.sentinel, view.others, view.primary) == ("", (), OLD)


def test_an_unknown_master_is_said_so() -> None:
    with pytest.raises(UpstreamError, match="knows no master called 'cache'") as caught:
        started(address=None)
    assert caught.value.reason is Reason.UPSTREAM_REJECTED


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_error_to_what_must_be_known_is_passed_on(number: int) -> None:
    watch = Watch("cache")
    watch.ask()
    found = answers()
    found[number] = error("NOPERM User app has no permissions")
    with pytest.raises(UpstreamError, match="NOPERM User app") as caught:
        heard(watch, b"".join(found) + subscribed())
    assert (caught.value.reason, caught.value.code) == (Reason.UPSTREAM_REJECTED, "NOPERM")


@pytest.mark.parametrize(
    "instead",
    [
        {"address": ["10.0.0.1", "65536"]},
        {"address": ["10.0.0.1", "0"]},
        {"address": ["", "6379"]},
        {"address": ["a b", "6379"]},
        {"address": ["10.0.0.1\n", "6379"]},
        {"address": ["10.0.0.1", 6379]},
        {"address": ["10.0.0.1"]},
        {"address": "10.0.0.1"},
        {"master": ["config-epoch", "-1"]},
        {"master": ["ip", "10.0.0.1"]},
        {"master": 7},
    ],
)
def test_nonsense_is_not_taken_for_an_address(instead: dict[str, Encodable]) -> None:
    with pytest.raises(UpstreamError) as caught:
        started(**instead)
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


def test_entries_that_make_no_sense_are_left_out() -> None:
    odd: list[Encodable] = [
        7, ["ip"], ["ip", "10.0.0.7", "port", "x", "runid", "r"], ["ip", "10.0.0.7", "port", "1"], ["ip", 1, "port", 2],
    ]  # fmt: skip
    (view,) = started(replicas=odd, sentinels=odd)[1]
    assert isinstance(view, View)
    assert view.replicas == (Replica(Place("10.0.0.7", 1), down=False),)
    assert view.others == ()


def test_only_so_many_are_taken_notice_of() -> None:
    many: list[Encodable] = [["ip", "10.0.0.7", "port", str(1 + number)] for number in range(MAX_NAMED + 5)]
    (view,) = started(replicas=many)[1]
    assert isinstance(view, View)
    assert len(view.replicas) == MAX_NAMED


# ---- events


def test_a_switch_of_our_master_is_an_event() -> None:
    watch, _ = started()
    payload = "cache 10.0.0.1 6379 10.0.0.2 6379"
    assert heard(watch, encode(["message", "+switch-master", payload], 2)) == [Event("+switch-master")]


@pytest.mark.parametrize(
    ("channel", "payload", "ours"),
    [
        ("+switch-master", "cache 10.0.0.1 6379 10.0.0.2 6379", True),
        ("+switch-master", "other 10.0.0.1 6379 10.0.0.2 6379", False),
        ("+sdown", "master cache 10.0.0.1 6379", True),
        ("+sdown", "master other 10.0.0.1 6379", False),
        ("+sdown", "slave 10.0.0.2:6379 10.0.0.2 6379 @ cache 10.0.0.1 6379", True),
        ("+sdown", "slave 10.0.0.2:6379 10.0.0.2 6379 @ other 10.0.0.1 6379", False),
        ("+sdown", "slave cache 10.0.0.2 6379 @ other 10.0.0.1 6379", False),
        ("+monitor", "master cache 10.0.0.1 6379 quorum 2", True),
        ("+sdown", "", False),
    ],
)
def test_events_of_other_masters_are_not_ours(channel: str, payload: str, ours: bool) -> None:
    assert concerns(channel.encode(), payload.encode(), b"cache") is ours
    watch, _ = started()
    assert bool(heard(watch, encode(["message", channel, payload], 2))) is ours


def test_an_event_without_a_text_is_none() -> None:
    watch, _ = started()
    assert heard(watch, encode(["message", "+sdown", 7], 2)) == []


def test_what_nobody_asked_for_is_a_broken_protocol() -> None:
    watch, _ = started()
    with pytest.raises(UpstreamError, match="was not asked"):
        heard(watch, b"+OK\r\n")


def test_a_sentinel_that_talks_without_end_is_not_listened_to() -> None:
    watch = Watch("cache")
    watch.ask()
    with pytest.raises(UpstreamError):
        heard(watch, b"$%d\r\n" % MAX_WAITING + b"x" * MAX_WAITING)


@pytest.mark.parametrize(("place", "text"), [(OLD, "10.0.0.1:6379"), (Place("::1", 1), "[::1]:1")])
def test_a_place_reads_as_an_address(place: Place, text: str) -> None:
    assert str(place) == text


# ---- what to believe


def view(
    sentinel: str, epoch: int, primary: Place, *, up: tuple[Place, ...] = (), down: tuple[Place, ...] = ()
) -> View:
    told = (*(Replica(place, down=False) for place in up), *(Replica(place, down=True) for place in down))
    return View(sentinel, epoch, primary, told, ())


def test_nothing_heard_changes_nothing() -> None:
    before = Topology(3, OLD, (NEW,))
    assert agree([], 3) is None
    assert agree([], 3, before) is before


def test_the_latest_failover_wins_whoever_knows_of_it() -> None:
    views = [view("a", 1, OLD), view("b", 1, OLD), view("c", 2, NEW, up=(THIRD,))]
    assert agree(views, 3) == Topology(2, NEW, (THIRD,))


def test_of_equal_epochs_the_majority_wins() -> None:
    assert agree([view("a", 0, OLD), view("b", 0, NEW), view("c", 0, NEW)], 3) == Topology(0, NEW, ())


def test_without_a_majority_what_was_believed_stays() -> None:
    views = [view("a", 0, OLD), view("b", 0, NEW)]
    for held in (OLD, NEW):
        assert agree(views, 2, Topology(0, held, ())) == Topology(0, held, ())


def test_one_sentinel_reached_by_two_names_has_one_vote() -> None:
    views = [view("a", 0, OLD), view("a", 0, OLD), view("b", 0, NEW), view("c", 0, NEW), view("b", 0, NEW)]
    found = agree(views, 3)
    assert found is not None
    assert found.primary == NEW


def test_those_without_a_name_are_each_somebody() -> None:
    found = agree([view("", 0, OLD), view("", 0, NEW), view("", 0, NEW)], 3)
    assert found is not None
    assert found.primary == NEW


def test_those_who_were_cut_off_are_not_believed() -> None:
    before = Topology(5, NEW, ())
    assert agree([view("a", 4, OLD)], 3, before) is before
    assert agree([view("a", 4, OLD)], 2, before) is before


def test_sentinels_that_were_set_up_anew_are_believed_once_they_are_most() -> None:
    before = Topology(5, NEW, ())
    assert agree([view("a", 0, OLD), view("b", 0, OLD)], 3, before) == Topology(0, OLD, ())


def test_a_replica_that_most_call_down_is_left_out_and_so_is_the_primary() -> None:
    views = [
        view("a", 1, OLD, up=(NEW, THIRD, OLD)),
        view("b", 1, OLD, up=(NEW,), down=(THIRD,)),
        view("c", 1, OLD, down=(NEW, THIRD)),
    ]
    assert agree(views, 3) == Topology(1, OLD, (NEW,))


def test_replicas_have_an_order_whatever_that_of_the_answers() -> None:
    assert agree([view("a", 1, OLD, up=(THIRD, NEW))], 1) == agree([view("a", 1, OLD, up=(NEW, THIRD))], 1)


def test_who_is_behind_says_nothing_of_replicas() -> None:
    assert agree([view("a", 2, NEW, up=(THIRD,)), view("b", 1, OLD, up=(OLD,))], 2) == Topology(2, NEW, (THIRD,))
