"""From a file to a configuration, or to everything that is wrong with it."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ambassador.config.address import Address
from ambassador.config.document import LARGEST
from ambassador.config.load import ConfigFaults, Fault, load, load_data, load_text
from ambassador.errors import Reason

SOUND = """\
# An application's way to its database.
credentials:
  orders-db:
    file: {path: "${SECRETS}/orders-db"}
upstreams:
  orders:
    endpoints: [orders.db.example.com:5432]
    credential: orders-db
    tls: {mode: verify-full}
    connect_timeout: 2s
listeners:
  orders:
    listen: [127.0.0.1:5432, "unix:/run/ambassador/.s.PGSQL.5432"]
    postgres: {upstream: orders}
    unix: {mode: "0600"}
    limits:
      connections: 500
      login_timeout: 10s
"""
ENVIRON = {"SECRETS": "/run/secrets", "TOKEN": "hunter2hunter2"}


def refused(text: str) -> list[str]:
    """The faults of `text`, without the name of the file."""
    with pytest.raises(ConfigFaults) as caught:
        load_text(text, "a.yaml", environ=ENVIRON)
    return [str(fault).removeprefix("a.yaml:") for fault in caught.value.faults]


def test_a_sound_file_becomes_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "ambassador.yaml"
    path.write_text(SOUND)
    loaded = load(path, environ=ENVIRON)
    assert loaded.file == str(path)
    upstream, listener = loaded.config.upstreams["orders"], loaded.config.listeners["orders"]
    assert upstream.endpoints == (Address("orders.db.example.com", 5432),)
    assert upstream.connect_timeout == 2.0
    assert listener.limits.connections == 500
    assert listener.unix.mode == 0o600
    assert loaded.config.redacted()["credentials"]["orders-db"]["file"]["path"] == "/run/secrets/orders-db"


def test_what_is_in_force_can_be_loaded_again() -> None:
    config = load_text(SOUND, environ=ENVIRON).config
    assert load_data(config.redacted()).config == config


def test_data_of_our_own_code_is_checked_as_a_file_s_is() -> None:
    data: dict[str, Any] = {
        "upstreams": {"upstream": {"endpoints": ["db:1"]}},
        "listeners": {"upstream": {"listen": "127.0.0.1:1", "tcp": {"upstream": "upstram"}}},
    }
    with pytest.raises(ConfigFaults) as caught:
        load_data(data)
    message = "there is no such upstream; did you mean 'upstream'?"
    assert caught.value.faults == (Fault("<arguments>", None, ("listeners", "upstream", "tcp", "upstream"), message),)
    data["listeners"]["upstream"]["tcp"]["upstream"] = "upstream"
    assert load_data(data).config.upstreams.keys() == {"upstream"}


def test_a_dollar_in_data_of_our_own_code_is_a_dollar() -> None:
    data = {
        "credentials": {"a": {"file": {"path": "/${X}"}}},
        "listeners": {"a": {"listen": "127.0.0.1:1", "tcp": {"upstream": "u"}}},
        "upstreams": {"u": {"endpoints": "a:1"}},
    }
    assert load_data(data).config.redacted()["credentials"]["a"]["file"]["path"] == "/${X}"


ADDRESSES = "addresses look like 127.0.0.1:5432, db.example.com:5432, [::1]:5432 or unix:/run/app/socket"
ACCESS = (
    "other machines reach this address: say with access who may come in, "
    "for example access: {password: {credential: ...}}"
)
FAULTY = """\
wrkers: 2
workers: 4
vaults: {vault: {address: "https://v:8200/ui", auth: {cart: {}}}}
admin: {listen: 127.0.0.1:5432}
credentials:
  db:
    flie: {path: /x}
  app:
    file: {path: "${UNSET}/x", pth: /y}
    poll: 5
  app:
    env: {}
upstreams:
  orders:
    endpoints: [orders.db.example.com, db:1]
    credential: dbb
    tls: {mode: prefer, ca: /no/such/ca.pem}
  copy: &copy
    endpoints: db:1
  alias: *copy
  legacy:
    endpoints: db:1
    tcp:
listeners:
  orders:
    listen: [127.0.0.1:5432, "::1:4"]
    postgres: {upstream: ordrs}
    unix: {mode: 660}
  remote:
    listen: 0.0.0.0:1
    postgres: {upstream: legacy}
  other:
    listen: 0.0.0.0:1
    tcp: {upstream: "${UNSET}"}
    access: {trust: {}}
"""


def test_every_fault_is_told_at_once_in_the_order_of_the_file() -> None:
    assert refused(FAULTY) == [
        "1: wrkers: unknown key; did you mean 'workers'?",
        "2: workers: more than one worker is not available in this version",
        "3: vaults.vault.address: addresses of a Vault look like https://vault.example.com:8200",
        "3: vaults.vault.auth.cart: unknown key; did you mean 'cert'?",
        "7: credentials.db.flie: unknown key; did you mean 'file'?",
        "9: credentials.app.file.path: the environment variable UNSET is not set",
        "9: credentials.app.file.pth: unknown key; did you mean 'path'?",
        "10: credentials.app.poll: durations look like 250ms, 5s, 1h",
        "11: credentials.app: this key stands in line 8 already",
        f"15: upstreams.orders.endpoints[0]: {ADDRESSES}",
        "16: upstreams.orders.credential: there is no such credential; did you mean 'db'?",
        "17: upstreams.orders.tls.mode: must be 'disable', 'require', 'verify-ca' or 'verify-full'",
        "17: upstreams.orders.tls.ca: there is no such file",
        "18: upstreams.copy: anchors (&name) are not taken: write the value out where it is needed",
        "20: upstreams.alias: aliases (*name) are not taken: write the value out",
        "26: listeners.orders.listen[1]: put an IPv6 address in brackets: [::1]:5432",
        "26: listeners.orders.listen: admin listens there already",
        "27: listeners.orders.postgres.upstream: there is no such upstream; did you mean 'orders'?",
        '28: listeners.orders.unix.mode: file modes are octal and in quotes: "0660"',
        f"30: listeners.remote.listen: {ACCESS}",
        "31: listeners.remote.postgres.upstream: this listener speaks postgres, but that upstream is set up for tcp",
        "33: listeners.other.listen: listener 'remote' listens there already",
        "34: listeners.other.tcp.upstream: the environment variable UNSET is not set",
    ]


def test_the_error_itself_says_it_all_and_whose_fault_it_is() -> None:
    with pytest.raises(ConfigFaults) as caught:
        load_text("workers: 2\n", "a.yaml")
    error = caught.value
    assert error.reason is Reason.BAD_CONFIG
    assert (error.file, error.line) == ("a.yaml", 1)
    assert str(error) == (
        "a.yaml:1: workers: more than one worker is not available in this version\n"
        "a.yaml:1: listeners: this key is required"
    )


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", None, "empty"),
        ("# nothing\n", None, "empty"),
        ("---\n", 1, "empty"),
        ("- a\n", 1, "must be a mapping"),
        ("text\n", 1, "must be a mapping"),
        ("a: [\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 1\n", 2, "one document"),
        ("listeners: 5\n", 1, "must be a mapping"),
        ("a: \x01\n", 1, "U+0001"),
    ],
)
def test_a_file_that_says_nothing_sensible_is_refused(text: str, line: int | None, word: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load_text(text, "a.yaml")
    assert word in str(caught.value)
    if line is None:
        assert caught.value.line is None
    else:
        assert caught.value.line is not None
        assert abs(caught.value.line - line) <= 1


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match=r"none.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "none.yaml")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/zero")):
        with pytest.raises(ConfigFaults, match="cannot be read"):
            load(path)


def test_a_file_of_other_bytes_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigFaults, match=r"a.yaml:2: the file is not UTF-8 text"):
        load(path)


def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ConfigFaults, match="larger than 1 MiB"):
        load(path)


@pytest.mark.parametrize(
    "credential",
    [
        "{grumpy: {token: '${TOKEN}'}}",
        "{grumpy: {token: hunter2hunter2}}",
        "{clumsy: {words: '${TOKEN}'}}",
        "{file: {path: ['${TOKEN}']}}",
        "{file: {path: /x, keys: '${TOKEN}'}}",
        "{env: {password: 'hunter2hunter2-'}}",
        "{env: {'password:hunter2hunter2'}}",
        "{exec: {command: '${TOKEN}'}}",
        "{exec: {command: [/bin/x], timeout: '${TOKEN}'}}",
        "'${TOKEN}'",
        "{file: '${TOKEN}'}",
        "{poll: '${TOKEN}'}",
        "[hunter2hunter2",
        "!hunter2hunter2 x",
    ],
)
def test_no_message_holds_a_value_of_a_credential(credential: str) -> None:
    text = "\n".join(refused(f"credentials:\n  db: {credential}\nlisteners: {{}}\n"))
    assert "hunter2" not in text


def test_a_list_among_a_credential_s_settings_keeps_its_values_too() -> None:
    text = "credentials:\n  db: {grumpy: {token: [a, hunter2hunter2]}, poll: [hunter2hunter2]}\n"
    assert "hunter2" not in "\n".join(refused(text))


def with_listeners(count: int) -> str:
    return SOUND + "".join(
        f"""\
  listener-{number}:
    listen: [127.0.0.1:{10000 + number}, "unix:/run/{number}"]
    postgres: {{upstream: orders}}
    access: {{password: {{credential: orders-db}}}}
    unix: {{mode: "0600", owner: app}}
    limits: {{connections: 500, login_timeout: 10s, idle_timeout: 1h}}
"""
        for number in range(count)
    )


def test_ten_times_the_listeners_cost_no_more_than_ten_times_the_work() -> None:
    """As the number of calls, which no busy machine changes: what compares all with all would need a hundred times."""

    def calls(count: int) -> int:
        made = 0

        def note(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal made
            made += event == "call"

        text = with_listeners(count)
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            assert len(load_text(text, environ=ENVIRON).config.listeners) == count + 1
        finally:
            sys.setprofile(before)
        return made

    calls(1)
    assert calls(100) < 10 * calls(10)


SCRAPS = [
    *(
        b"${",
        b"}",
        b"{",
        b"[",
        b"]",
        b"&a ",
        b"*a ",
        b"!!x ",
        b"<<: ",
        b"\n---\n",
        b"\n...\n",
        b": ",
        b"- ",
        b"? ",
        b"{}",
    ),
    *(
        b"'",
        b'"',
        b"|\n",
        b">",
        b"%YAML 9.9\n",
        b"#",
        b",",
        b"@",
        b"`",
        b"\\x",
        b"\t",
        b"\r",
        b"\x00",
        b"\xff",
        b"\xc3",
    ),
    *(b"\xe2\x80\xa8", b"\xf0\x9f\x92\xa9", b"\xed\xa0\x80", b"listeners:", b"postgres:", b"9" * 400, b"-1", b"0s"),
    *(b"null", b"~", b"true", b"1e999"),
]


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with one to four small injuries."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(raw) + 1)
        end = min(len(raw), start + rng.choice((0, 0, 1, 2, 5, 40)))
        insert = rng.choice(
            (b"", rng.choice(SCRAPS), rng.choice(SCRAPS), bytes([rng.randrange(256)]), raw[end : end + 30])
        )
        raw = raw[:start] + insert + raw[end:]
    return raw


def faults_of(path: Path, raw: bytes) -> ConfigFaults | None:
    """What is wrong with `raw`; None if nothing is."""
    path.write_bytes(raw)
    try:
        load(path, environ=ENVIRON)
    except ConfigFaults as error:
        return error
    return None


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_a_list_of_faults_and_never_a_crash(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    path = tmp_path / "a.yaml"
    refusals = [
        error
        for _ in range(500)
        if (error := faults_of(path, mutated(rng.choice((SOUND, FAULTY)).encode(), rng))) is not None
    ]
    assert len(refusals) > 300
    for error in refusals:
        assert error.faults
        assert all(fault.file == str(path) and fault.message for fault in error.faults)
        assert all(fault.line or "empty" in fault.message for fault in error.faults)
        assert str(error).replace("\n", "").isprintable()


def test_an_upstream_that_is_nowhere_or_found_in_two_ways_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "ambassador.yaml"
    file.write_text(
        """
upstreams:
  nowhere:
    credential: db
  twice:
    endpoints: db:1
    discovery: {list: {endpoints: db:1}}
  misspelt:
    discovery:
      lits: {endpoints: db:1}
  later:
    discovery:
      dns: {name: db}
credentials: {db: {env: {password: P}}}
listeners:
  l: {listen: "127.0.0.1:1", tcp: {upstream: nowhere}}
"""
    )
    with pytest.raises(ConfigFaults) as caught:
        load(file)
    told = [(fault.line, fault.message) for fault in caught.value.faults]
    assert told == [
        (3, "say where this upstream is: by endpoints, or by discovery"),
        (5, "where this upstream is comes from endpoints or from discovery: keep one"),
        (10, "unknown key; did you mean 'list'?"),
        (13, "'dns' is not available in this version"),
    ]
