"""A Sentinel in the test's own loop that says what it is told to say, and can fall silent, refuse, or go away."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from ambassador.config.address import Address
from ambassador.wire.redis.messages import Encodable, encode, error, parse_request
from ambassador.wire.redis.requests import SPECIAL, Requests

MASTER = "cache"


class FakeSentinel:
    """An async context manager that listens on 127.0.0.1.

    Args:
        name: what it is called among its like.
        primary: whom it believes to be the master.

    Attributes:
        epoch: of its belief.
        replicas: by address, whether it is down.
        others: Sentinels it tells of, by name.
        password: that it demands; None: nobody needs one.
        refused: sub-commands of SENTINEL, or commands, that it answers with NOPERM.
        silent: it takes everything and answers nothing.
        asked: rounds of questions so far.
        logins: passwords it was shown.
    """

    def __init__(self, name: str, primary: str, *, password: str | None = None, port: int = 0) -> None:
        self.name = name
        self.primary = Address.parse(primary)
        self.epoch = 1
        self.replicas: dict[str, bool] = {}
        self.others: dict[str, FakeSentinel] = {}
        self.password = password
        self.refused: set[str] = set()
        self.silent = False
        self.asked = 0
        self.logins: list[str] = []
        self.port = port
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, bool] = {}
        self._channels: list[str] = []
        self._alone = asyncio.Event()
        self._alone.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many are connected."""
        return len(self._writers)

    @property
    def listeners(self) -> int:
        """How many of them hear its events."""
        return sum(self._writers.values())

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be gone, and every connection with it."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.hang_up()
        await self._alone.wait()

    def hang_up(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.close()

    def publish(self, channel: str, payload: str) -> None:
        """Say an event to those who subscribed."""
        for writer, listens in self._writers.items():
            if listens:
                writer.write(encode(["message", channel, payload], 2))

    def switch(self, primary: str) -> None:
        """Believe in another master from a failover, and say so."""
        before, self.primary = self.primary, Address.parse(primary)
        self.epoch += 1
        self.publish("+switch-master", f"{MASTER} {before.host} {before.port} {self.primary.host} {self.primary.port}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = False
        self._alone.clear()
        walk, held = Requests({}, 1 << 20), b""
        allowed = self.password is None
        try:
            while chunk := await reader.read(65536):
                at = 0
                while at < len(chunk):
                    end = walk.advance(chunk, at)
                    held, at = held + chunk[at:end], end
                    if walk.stop == SPECIAL:
                        words = [word.decode() for word in parse_request(held)]
                        held = b""
                        allowed = self._allows(words, allowed)
                        if not self.silent:
                            writer.write(self._answer(words, writer) if allowed else self._no(words))
        except ConnectionError:
            pass
        finally:
            del self._writers[writer]
            writer.close()
            if not self._writers:
                self._alone.set()

    def _allows(self, words: list[str], allowed: bool) -> bool:
        if words[0] != "AUTH":
            return allowed
        self.logins.append(words[-1])
        return self.password is None or words[-1] == self.password

    def _no(self, words: list[str]) -> bytes:
        return error("WRONGPASS no" if words[0] == "AUTH" else "NOAUTH Authentication required.")

    def _answer(self, words: list[str], writer: asyncio.StreamWriter) -> bytes:
        name = words[1] if words[0] == "SENTINEL" else words[0]
        if name in self.refused:
            return error("NOPERM User app has no permissions")
        if name in {"SUBSCRIBE", "UNSUBSCRIBE"}:
            return self._subscribe(words, writer)
        return encode(self._told(name, words), 2) if name not in {"AUTH", "CLIENT"} else b"+OK\r\n"

    def _told(self, name: str, words: list[str]) -> Encodable:
        if name == "HELLO":
            return ["server", "redis", "proto", 2, "mode", "sentinel", "role", "sentinel"]
        if name == "MYID":
            self.asked += 1
            return self.name
        facts: dict[str, Encodable] = {
            "MASTER": ["name", MASTER, "config-epoch", str(self.epoch)],
            "GET-MASTER-ADDR-BY-NAME": [str(self.primary.host), str(self.primary.port)],
            "REPLICAS": [_replica(Address.parse(place), down) for place, down in self.replicas.items()],
            "SENTINELS": [
                ["ip", "127.0.0.1", "port", str(one.port), "runid", runid] for runid, one in self.others.items()
            ],
        }
        return facts[name] if words[2] == MASTER else None

    def _subscribe(self, words: list[str], writer: asyncio.StreamWriter) -> bytes:
        on = self._writers[writer] = words[0] == "SUBSCRIBE"
        if on:
            self._channels = words[1:]
        names = self._channels
        return b"".join(encode([words[0].lower(), name, number], 2) for number, name in enumerate(names))


def _replica(place: Address, down: bool) -> Encodable:
    flags = "s_down,slave,disconnected" if down else "slave"
    return ["ip", str(place.host), "port", str(place.port), "flags", flags]
