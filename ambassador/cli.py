"""Words typed by people.

Start-up of the daemon must not pay for what it does not use, so each command imports what it needs when it runs.
Exit codes: 0 done · 1 failed · 2 words wrong (usage, configuration).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ambassador import __version__
from ambassador.errors import AmbassadorError, ConfigError

if TYPE_CHECKING:
    from ambassador.admin.client import Answer

FAILED = 1
WRONG_WORDS = 2

app = typer.Typer(
    name="ambassador",
    help="The proxy that logs in to databases outside the cluster, so that applications need no password.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration file.")]
AdminAddress = Annotated[
    str,
    typer.Option(
        "--admin",
        envvar="AMBASSADOR_ADMIN",
        metavar="ADDRESS",
        help="Admin address of the running daemon: host:port or unix:/path.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="AMBASSADOR_ADMIN_TOKEN_FILE",
        help="File with the admin token; not needed on a unix socket.",
    ),
]
DEFAULT_ADMIN = "127.0.0.1:9901"


@app.command()
def run(config: ConfigFile) -> None:
    """Run the daemon in the foreground."""
    with _signals_held_back():
        from ambassador.runtime.main import run_file

        raise typer.Exit(run_file(config))


@app.command()
def proxy(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="postgres://host[:port]/database, redis[s]://host[:port]/number or tcp://host:port"
        ),
    ],
    *,
    listen: Annotated[
        str | None,
        typer.Option(
            help="Where to listen: host:port or unix:/path. By default 127.0.0.1 and the protocol's port; tcp has none."
        ),
    ] = None,
    credential: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="file:PATH (a mounted Secret or a folder like one), env:USER_VARIABLE,PASSWORD_VARIABLE, exec:COMMAND",
        ),
    ] = None,
    tls: Annotated[
        str | None,
        typer.Option(
            help="disable, require, verify-ca or verify-full; verify-full unless the upstream is on this machine."
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="PEM file of the authorities to trust; the system's by default.")
    ] = None,
    admin: Annotated[str, typer.Option(help="Admin address.")] = DEFAULT_ADMIN,
) -> None:
    """Run a daemon for one upstream, without a configuration file."""
    with _signals_held_back():
        from ambassador.config.shorthand import configuration
        from ambassador.runtime.main import run_data

        data = configuration(url, listen=listen, credential=credential, tls=tls, ca=ca, admin=admin)
        raise typer.Exit(run_data(data))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after showing.")] = False,
) -> None:
    """Show it all here: real PostgreSQL and Valkey, random passwords, an ambassador before them, a rotation live."""
    from ambassador.demo.tour import tour

    raise typer.Exit(tour(once=once))


@app.command()
def check(
    config: ConfigFile,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also fetch every credential and log in to every upstream, once.")
    ] = False,
) -> None:
    """Report every fault in a configuration file."""
    from ambassador.runtime.main import check_file

    findings = check_file(config, connect=connect)
    for finding in findings:
        typer.echo(finding)
    raise typer.Exit(0 if all(finding.good for finding in findings) else FAILED)


@app.command()
def status(
    admin: AdminAddress = DEFAULT_ADMIN,
    as_json: Annotated[bool, typer.Option("--json", help="The whole status as JSON.")] = False,
) -> None:
    """Show what a running daemon does."""
    from ambassador.admin import client

    _tell(client.status(admin, as_json=as_json))


@app.command()
def reload(admin: AdminAddress = DEFAULT_ADMIN, token_file: TokenFile = None) -> None:
    """Have a running daemon read its configuration anew; says what is wrong if it is refused."""
    from ambassador.admin import client

    _tell(client.post(admin, "/reload", token_file))


@app.command()
def drain(admin: AdminAddress = DEFAULT_ADMIN, token_file: TokenFile = None) -> None:
    """Have a running daemon leave as on SIGTERM: not ready, then no new clients, then the end of the last."""
    from ambassador.admin import client

    _tell(client.post(admin, "/drain", token_file))


@app.command()
def quit(admin: AdminAddress = DEFAULT_ADMIN, token_file: TokenFile = None) -> None:  # noqa: A001 - the settled word
    """Have a running daemon leave without the delay for load balancers: for Jobs whose work is done."""
    from ambassador.admin import client

    _tell(client.post(admin, "/quit", token_file))


@app.command()
def wait(
    admin: AdminAddress = DEFAULT_ADMIN,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait: 250ms, 5s, 1h.")] = "60s",
) -> None:
    """Wait until a daemon is ready: for an application's start-up order."""
    from ambassador.admin import client

    _tell(client.wait(admin, _seconds(timeout)))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    import json

    from ambassador.config.jsonschema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"ambassador {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """Entry point of the command `ambassador`."""
    try:
        app()
    except ConfigError as error:
        _fail(str(error), WRONG_WORDS)
    except AmbassadorError as error:
        _fail(str(error), FAILED)
    raise SystemExit(0)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Until the daemon hears them: one that comes while we start would end us, or, sent to process 1, be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from ambassador.config.types import Duration

    try:
        return TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        raise ConfigError("--timeout: durations look like 250ms, 5s, 1h") from None


def _tell(answer: Answer) -> NoReturn:
    if answer.text:
        typer.echo(answer.text, err=not answer.done)
    raise typer.Exit(0 if answer.done else FAILED)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(code)
