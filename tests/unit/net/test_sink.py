"""What stands between a transport and a sink."""

from __future__ import annotations

from ambassador.net.sink import Poured


class Events:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.told.append(exc)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


def test_bytes_go_straight_to_the_sink_s_own_function() -> None:
    chunks: list[bytes] = []
    take = chunks.append
    assert Poured(Events(), take).data_received is take


def test_everything_else_goes_to_the_stream() -> None:
    events = Events()
    poured = Poured(events, lambda data: None)
    error = OSError("gone")
    poured.pause_writing()
    poured.resume_writing()
    assert poured.eof_received() is True
    poured.connection_lost(error)
    assert events.told == ["pause", "resume", "eof", error]
