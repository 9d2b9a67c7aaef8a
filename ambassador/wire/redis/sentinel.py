"""What Sentinels say: a conversation with one of them, and what to believe when several have been heard.

    MYID, MASTER, GET-MASTER-ADDR-BY-NAME, REPLICAS, SENTINELS, SUBSCRIBE  ─►  a View
    ... an event: something has changed ...
    UNSUBSCRIBE, and the same again

All of a round goes in one piece, so that a Sentinel answers it at one moment: nothing happens unnoticed between its
last answer and the subscription. One connection in RESP2 is enough for that, which every Sentinel speaks.

Sentinels number their decisions: whoever knows of a later failover has the higher configuration epoch. So one that was
cut off from the others and still praises the old master is told apart without asking for a majority.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ambassador.errors import Reason, UpstreamError
from ambassador.wire.redis.messages import Error, Value, bad_message, decode, error_word, request
from ambassador.wire.redis.place import Place
from ambassador.wire.redis.reader import Reader

MAX_WAITING: Final = 1 << 20  # bytes; a Sentinel has about a thousand to say of each replica
MAX_NAMED: Final = 256  # replicas, and other Sentinels, that are taken notice of

CHANNELS: Final = (
    b"+switch-master", b"+promoted-slave", b"+config-update-from", b"+sdown", b"-sdown", b"+slave", b"+reboot",
    b"+convert-to-slave", b"+role-change", b"+failover-end", b"+failover-end-for-timeout", b"+reset-master",
    b"+monitor", b"-monitor", b"+sentinel",
)  # fmt: skip

_HOST = re.compile(rb"[A-Za-z0-9._:%-]{1,253}")
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Replica:
    """One that follows the primary; `down` in the eyes of the Sentinel that told of it."""

    place: Place
    down: bool


@dataclass(frozen=True, slots=True)
class View:
    """What one Sentinel believes.

    Attributes:
        sentinel: what the Sentinel is called among its like; "" when it would not tell.
        epoch: number of the failover that its belief stems from.
        others: the other Sentinels it knows, by what they are called.
    """

    sentinel: str
    epoch: int
    primary: Place
    replicas: tuple[Replica, ...]
    others: tuple[tuple[str, Place], ...]


class Event(NamedTuple):
    """Something has changed; ask again."""

    channel: str


# --- One of them ----------------------------------------------------------------------------------------------------


class Watch:
    """The conversation with one Sentinel, once logged in.

    Args:
        master: what the service is called there.

    Attributes:
        deaf: why it will not tell of changes, so that one has to ask; "" when it does.
    """

    def __init__(self, master: str) -> None:
        self.deaf = ""
        self._master = master.encode()
        self._reader = Reader(MAX_WAITING)
        self._subscribed = 0
        self._expected: deque[str] = deque()
        self._answers: dict[str, Value] = {}
        self._early: Event | None = None  # came between the answers and the end of their round

    def ask(self) -> bytes:
        """What to send to hear of everything; a `View` follows. Not to be called before it came."""
        if self._expected:
            raise AssertionError("the answers to the last question have not come yet")
        self._answers.clear()
        self._early = None
        words: list[tuple[str, tuple[bytes, ...]]] = [
            ("MYID", (b"SENTINEL", b"MYID")),
            ("MASTER", (b"SENTINEL", b"MASTER", self._master)),
            ("ADDRESS", (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._master)),
            ("REPLICAS", (b"SENTINEL", b"REPLICAS", self._master)),
            ("SENTINELS", (b"SENTINEL", b"SENTINELS", self._master)),
        ]
        before = request(b"UNSUBSCRIBE") if self._subscribed else b""
        self._expected.extend(["UNSUBSCRIBE"] * self._subscribed)
        self._expected.extend(name for name, _ in words)
        self._expected.extend(["SUBSCRIBE"] * len(CHANNELS))
        return before + b"".join(request(*one) for _, one in words) + request(b"SUBSCRIBE", *CHANNELS)

    def receive(self, data: bytes) -> None:
        """Take bytes that arrived. Raises UpstreamError when more came than may wait."""
        self._reader.receive(data)

    def next_event(self) -> View | Event | None:
        """What follows from what arrived; None while nothing does.

        Raises:
            UpstreamError: UPSTREAM_REJECTED, the Sentinel will not or cannot answer; UPSTREAM_BAD_MESSAGE.
        """
        if self._early is not None and not self._expected:
            early, self._early = self._early, None
            return early
        while (raw := self._reader.next_raw()) is not None:
            event = self._heard(decode(raw)[0])
            if isinstance(event, Event) and self._expected:
                # What it tells of is in the answers, unless they have been given already.
                self._early = event if self._expected[0] == "SUBSCRIBE" else None
            elif event is not None:
                return event
        return None

    def _heard(self, answer: Value) -> View | Event | None:
        if isinstance(answer, list) and answer[:1] == [b"message"]:
            return self._event(answer)
        if not self._expected:
            raise bad_message("the Sentinel answers what it was not asked")
        name = self._expected.popleft()
        if name == "SUBSCRIBE":
            return self._confirmed(answer)
        if name == "UNSUBSCRIBE":
            self._subscribed -= 1
        elif isinstance(answer, Error) and name not in {"MYID", "SENTINELS"}:
            raise self._refused(name, answer)
        else:
            self._answers[name] = answer
        return None

    def _event(self, message: list[Value]) -> Event | None:
        match message:
            case [_, bytes(channel), bytes(payload)] if concerns(channel, payload, self._master):
                return Event(channel.decode("ascii", "replace"))
        return None

    def _confirmed(self, answer: Value) -> View | None:
        if isinstance(answer, Error):  # one for all channels
            self.deaf = error_word(answer.line)
            self._expected.clear()
        else:
            self._subscribed += 1
        return None if self._expected else self._view()

    def _view(self) -> View:
        answers = self._answers
        address = answers["ADDRESS"]
        if address is None:
            raise UpstreamError(
                Reason.UPSTREAM_REJECTED, f"the Sentinel knows no master called {self._master.decode()!r}"
            )
        primary = _place(*address) if isinstance(address, list) and len(address) == 2 else None
        facts = _facts(answers["MASTER"])
        epoch = facts.get(b"config-epoch", b"")
        if primary is None or not _NUMBER.fullmatch(epoch):
            raise bad_message("the Sentinel's answers make no sense")
        own = answers.get("MYID")
        return View(
            sentinel=own.decode("ascii", "replace") if isinstance(own, bytes) else "",
            epoch=int(epoch),
            primary=primary,
            replicas=tuple(_replicas(answers["REPLICAS"])),
            others=tuple(_others(answers.get("SENTINELS"))),
        )

    def _refused(self, name: str, answer: Error) -> UpstreamError:
        word = error_word(answer.line)
        said = answer.line[:200].decode("utf-8", "replace")
        return UpstreamError(
            Reason.UPSTREAM_REJECTED, f"the Sentinel answered SENTINEL {name} with an error: {said!r}", code=word
        )


def concerns(channel: bytes, payload: bytes, master: bytes) -> bool:
    """Whether an event is about `master`, or about one that belongs to it."""
    words = payload.split()
    if channel == b"+switch-master":
        return words[:1] == [master]
    return words[:2] == [b"master", master] or words[4:6] == [b"@", master]


def _facts(value: Value) -> dict[bytes, bytes]:
    """Names and values that come in turn."""
    words = [word for word in value if isinstance(word, bytes)] if isinstance(value, list) else []
    return dict(zip(words[::2], words[1::2], strict=False))


def _many(value: Value) -> list[dict[bytes, bytes]]:
    return [_facts(one) for one in value[:MAX_NAMED]] if isinstance(value, list) else []


def _place(host: Value, port: Value) -> Place | None:
    if not isinstance(host, bytes) or not isinstance(port, bytes):
        return None
    if not _HOST.fullmatch(host) or not _PORT.fullmatch(port) or int(port) > 65535:
        return None
    return Place(host.decode(), int(port))


def _replicas(value: Value) -> Iterable[Replica]:
    for facts in _many(value):
        place = _place(facts.get(b"ip"), facts.get(b"port"))
        if place is not None:
            yield Replica(place, b"s_down" in facts.get(b"flags", b"").split(b","))


def _others(value: Value) -> Iterable[tuple[str, Place]]:
    for facts in _many(value):
        place = _place(facts.get(b"ip"), facts.get(b"port"))
        name = facts.get(b"runid", b"")
        if place is not None and name:
            yield name.decode("ascii", "replace"), place


# --- All of them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Topology:
    """Who is who: what is believed now."""

    epoch: int
    primary: Place
    replicas: tuple[Place, ...]


def agree(views: Iterable[View], known: int, before: Topology | None = None) -> Topology | None:
    """What to believe of what connected Sentinels say; None when nothing is known.

    The highest epoch wins. One that is lower than what has been believed is that of Sentinels who were cut off, and is
    believed only if more than half of those we know say so: they have been set up anew.

    Args:
        known: how many Sentinels there are, connected or not.
        before: what has been believed so far.
    """
    heard = {view.sentinel or index: view for index, view in enumerate(views)}
    if not heard:
        return before
    epoch = max(view.epoch for view in heard.values())
    if before is not None and epoch < before.epoch and 2 * len(heard) <= known:
        return before
    latest = [view for view in heard.values() if view.epoch == epoch]
    votes = Counter(view.primary for view in latest)
    held = None if before is None else before.primary
    primary = max(votes, key=lambda place: (votes[place], place == held, place))
    told = [replica for view in latest if view.primary == primary for replica in view.replicas]
    return Topology(epoch, primary, tuple(sorted(_alive(told) - {primary})))


def _alive(told: Iterable[Replica]) -> set[Place]:
    """Those that more Sentinels call up than down."""
    balance: Counter[Place] = Counter()
    for replica in told:
        balance[replica.place] += -1 if replica.down else 1
    return {place for place, count in balance.items() if count > 0}
