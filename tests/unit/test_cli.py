"""Every command does what it says, tells people what is wrong, and ends with the settled exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ambassador import __version__, cli
from ambassador.admin import client
from ambassador.admin.client import Answer
from ambassador.demo import tour
from ambassador.errors import CredentialError, Reason
from ambassador.runtime import main as runtime

SOUND = """
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
listeners: {l: {listen: 127.0.0.1:7001, tcp: {upstream: u}}}
"""


def call(monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> int:
    """Run the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["ambassador", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of the admin client; it answers that all is well."""
    calls: list[tuple[Any, ...]] = []

    def note(name: str) -> None:
        def asking(*words: Any, **more: Any) -> Answer:
            calls.append((name, *words, *more.values()))
            return Answer(True, "done")

        monkeypatch.setattr(client, name, asking)

    for name in ("status", "post", "wait"):
        note(name)
    return calls


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, ["--version"]) == 0
    assert capsys.readouterr().out == f"ambassador {__version__}\n"


def test_a_command_that_does_not_exist_is_wrong_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, ["walk"]) == 2


@pytest.mark.parametrize("command", ["reload", "drain", "quit"])
def test_a_verb_goes_to_the_admin_address_with_the_token_file(
    monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Any, ...]], command: str
) -> None:
    assert call(monkeypatch, [command, "--admin", "unix:/a", "--token-file", "/t"]) == 0
    assert asked == [("post", "unix:/a", f"/{command}", Path("/t"))]


def test_the_admin_address_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Any, ...]]
) -> None:
    monkeypatch.setenv("AMBASSADOR_ADMIN", "unix:/from/the/environment")
    assert call(monkeypatch, ["status", "--json"]) == 0
    assert asked == [("status", "unix:/from/the/environment", True)]


def test_wait_takes_a_duration(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Any, ...]]) -> None:
    assert call(monkeypatch, ["wait", "--timeout", "250ms"]) == 0
    assert asked == [("wait", cli.DEFAULT_ADMIN, 0.25)]


def test_a_duration_that_is_none_is_wrong_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, ["wait", "--timeout", "soon"]) == 2
    assert "250ms" in capsys.readouterr().err


def test_what_was_not_done_fails_and_is_told_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "post", lambda *_: Answer(False, "refused"))
    assert call(monkeypatch, ["reload"]) == 1
    assert capsys.readouterr().err == "refused\n"


def test_run_gives_back_the_daemon_s_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "run_file", lambda file: 0 if file == Path("/c.yaml") else 1)
    assert call(monkeypatch, ["run", "-c", "/c.yaml"]) == 0
    assert call(monkeypatch, ["run", "-c", "/d.yaml"]) == 1


def test_signals_that_come_while_the_daemon_starts_are_held_back_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def held() -> set[int]:
        return signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGHUP}

    before = held()
    starting: list[set[int]] = []

    def run_file(_: Path) -> int:
        starting.append(held())
        return 0

    monkeypatch.setattr(runtime, "run_file", run_file)
    assert call(monkeypatch, ["run", "-c", "x.yaml"]) == 0
    assert starting == [{signal.SIGTERM, signal.SIGHUP}]
    assert held() == before


def test_proxy_runs_the_configuration_of_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def run_data(data: dict[str, Any]) -> int:
        seen.append(data)
        return 0

    monkeypatch.setattr(runtime, "run_data", run_data)
    words = ["proxy", "postgres://db.example.com/orders", "--listen", "127.0.0.1:7001", "--credential", "env:U,P"]
    assert call(monkeypatch, words) == 0
    (data,) = seen
    assert data["upstreams"]["upstream"]["endpoints"] == ["db.example.com:5432"]
    assert data["listeners"]["upstream"]["listen"] == "127.0.0.1:7001"


def test_a_url_with_a_password_is_wrong_words_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, ["proxy", "postgres://u:a-password-in-the-clear@db.example.com/orders"]) == 2
    assert "a-password-in-the-clear" not in "".join(capsys.readouterr())


def test_check_reports_every_fault_with_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("listener: {}\n" + SOUND + "workers: many\n")
    assert call(monkeypatch, ["check", "-c", str(file)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{file}:1: ")
    assert second.startswith(f"{file}:5: ")


def test_check_of_a_sound_file_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(SOUND)
    assert call(monkeypatch, ["check", "-c", str(file)]) == 0
    assert "no faults" in capsys.readouterr().out
    assert call(monkeypatch, ["check", "-c", str(file), "--connect"]) == 1
    assert "FAIL upstream u" in capsys.readouterr().out


def test_schema_prints_the_schema(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, ["schema"]) == 0
    assert "listeners" in json.loads(capsys.readouterr().out)["properties"]


def test_demo_is_told_whether_to_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tour, "tour", lambda *, once: 0 if once else 1)
    assert call(monkeypatch, ["demo", "--once"]) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [(CredentialError(Reason.NO_CREDENTIAL, "there is none"), 1), (KeyboardInterrupt(), 130)],
    ids=["ours", "interrupt"],
)
def test_an_error_ends_in_a_sentence_and_not_in_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def fail(_: Path) -> int:
        raise error

    monkeypatch.setattr(runtime, "run_file", fail)
    assert call(monkeypatch, ["run", "-c", "/c.yaml"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_start_up_imports_nothing_that_a_command_does_not_need() -> None:
    program = (
        "import sys, ambassador.cli; print([name for name in ('aiohttp', 'uvloop', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"
