"""A program that prints the credential."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from ambassador.config.types import FROM_FILE
from ambassador.credentials.sources.exec import Exec, ExecOptions, Misunderstood, understood
from ambassador.errors import CredentialError, Reason
from tests.support.secrets import canary

Form = Literal["auto", "json", "text"]


def source(code: str, **options: Any) -> Exec:
    return Exec("db", ExecOptions(command=(sys.executable, "-c", code), **options))


# What an output means


@pytest.mark.parametrize(
    ("output", "form", "fields"),
    [
        (b"token\n", "auto", {"password": b"token"}),
        (b"token", "text", {"password": b"token"}),
        (b"tok\xffen\n\n", "auto", {"password": b"tok\xffen\n"}),
        (b'{"password": "p"}', "auto", {"password": b"p"}),
        (b' \n{"password": "p"}\n', "auto", {"password": b"p"}),
        (b'{"password": "p"}\n', "text", {"password": b'{"password": "p"}'}),
        (b'{"username": "u", "password": "p"}', "json", {"username": b"u", "password": b"p"}),
        ('{"password": "\u00e4\\n"}'.encode(), "json", {"password": "\u00e4\n".encode()}),
        (b'{"username": null, "password": "p"}', "json", {"password": b"p"}),
        (
            b'{"tls.crt": "c", "tls.key": "k", "ca.crt": "a"}',
            "json",
            {"tls.crt": b"c", "tls.key": b"k", "ca.crt": b"a"},
        ),
        (b'{"password": "\\ud83d\\ude00"}', "json", {"password": "\U0001f600".encode()}),
        (b"", "auto", {"password": b""}),
    ],
)
def test_text_is_the_password_and_an_object_its_fields(output: bytes, form: Form, fields: dict[str, bytes]) -> None:
    found = understood(output, form)
    assert found.fields == fields
    assert found.not_after is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('"2026-01-31T12:00:00Z"', 1769860800.0),
        ('"2026-01-31T13:00:00.5+01:00"', 1769860800.5),
        ("1769860800", 1769860800.0),
        ("1769860800.25", 1769860800.25),
        ('"0001-01-01T00:00:00+14:00"', -62135647200.0),
        ("null", None),
    ],
)
def test_its_end_is_rfc_3339_or_seconds(text: str, seconds: float | None) -> None:
    assert understood(b'{"password": "p", "expires_at": %b}' % text.encode()).not_after == seconds


@pytest.mark.parametrize(
    "text",
    [
        '"tomorrow"',
        '"2026-01-31T12:00:00"',
        "true",
        "-1",
        "NaN",
        "Infinity",
        "1" + "0" * 400,
        "[]",
    ],
)
def test_an_end_that_is_neither_is_refused_rather_than_taken_for_never(text: str) -> None:
    with pytest.raises(Misunderstood, match="expires_at is neither"):
        understood(b'{"password": "p", "expires_at": %b}' % text.encode())


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b'{"password": "canary"', "not one JSON object"),
        (b'{"password": "canary"} {}', "not one JSON object"),
        (b'{"password": "canary", "password": "canary"}', "not one JSON object"),
        (b'{"password": "canary\xff"}', "not one JSON object"),
        (b'["canary"]', "not one JSON object"),
        (b'"canary"', "not one JSON object"),
        (b"[" * 100_000, "not one JSON object"),
        (b'{"password": "p", "canary": 1}', "has keys other than username, password"),
        (b'{"password": "p", "expires": "2026-01-31T12:00:00Z"}', "has keys other than"),
        (b'{"password": {"canary": 1}}', "a value that is not text"),
        (b'{"password": 5}', "a value that is not text"),
        (b'{"password": "\\ud800canary"}', "a value that is not text"),
    ],
)
def test_what_breaks_the_contract_is_refused_without_quoting_it(output: bytes, words: str) -> None:
    with pytest.raises(Misunderstood, match=words) as caught:
        understood(output, "json")
    assert caught.value.__context__ is None
    assert "canary" not in "".join(traceback.format_exception(caught.value))


# Running it


async def test_it_is_run_anew_for_each_fetch(tmp_path: Path) -> None:
    counting = f"import pathlib; p = pathlib.Path({str(tmp_path / 'n')!r}); n = len(p.read_text()) if p.exists() else 0"
    found = source(f"{counting}; p.write_text('x' * (n + 1)); print('token', n)")
    assert (await found.fetch()).fields == {"password": b"token 0"}
    assert (await found.fetch()).fields == {"password": b"token 1"}


async def test_the_user_name_of_the_options_serves_where_the_program_prints_none() -> None:
    assert (await source("print('p')", username="app").fetch()).fields == {"username": b"app", "password": b"p"}
    printed = """print('{"username": "printed", "password": "p", "expires_at": 5}')"""
    found = await source(printed, username="app").fetch()
    assert (found.fields["username"], found.not_after) == (b"printed", 5.0)


async def test_it_sees_the_variables_it_is_granted_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANTED", "yes")
    monkeypatch.setenv("WITHHELD", canary())
    code = "import os; print(sorted(set(os.environ) - {'PATH', 'HOME', 'LANG', 'LC_CTYPE'}))"
    assert (await source(code, env=("GRANTED",)).fetch()).fields == {"password": b"['GRANTED']"}


@pytest.mark.parametrize(
    ("code", "options", "words"),
    [
        ("import sys; print('{0}'); sys.exit('{0}')", {}, "ended with status 1"),
        ("import time; print('{0}', flush=True); time.sleep(60)", {"timeout": 0.5}, r"did not end within 0\.5 s"),
        ("print('{0}')", {"format": "json"}, "not one JSON object"),
    ],
)
async def test_its_failures_name_the_credential_and_nothing_it_printed(
    code: str, options: dict[str, Any], words: str
) -> None:
    secret = canary()
    with pytest.raises(CredentialError, match=words) as caught:
        await source(code.format(secret), **options).fetch()
    assert caught.value.reason is Reason.SOURCE_FAILED
    assert str(caught.value).startswith("credential 'db': ")
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_it_tells_the_program_and_not_its_arguments() -> None:
    assert source(canary()).describe() == f"exec {sys.executable}"


def test_of_its_options_the_arguments_are_not_shown() -> None:
    secret = canary()
    options = ExecOptions(command=("/bin/token", secret), env=("REGION",), username="app")
    shown = options.redacted(wary=True)
    assert shown["command"] == ["/bin/token", "***"]
    assert (shown["env"], shown["username"], shown["format"]) == (["REGION"], "app", "auto")
    assert secret not in repr(options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"command": "one string"},
        {"command": []},
        {"command": [""]},
        {"command": ["/bin/true"], "timeout": "0s"},
        {"command": ["/bin/true"], "env": ["NOT A NAME"]},
        {"command": ["/bin/true"], "shell": True},
        {"command": ["/bin/true"], "format": "yaml"},
        {"command": ["/bin/true"], "username": ""},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExecOptions.model_validate(options, context=FROM_FILE)
