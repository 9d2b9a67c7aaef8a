"""What a Vault tells us, and what we show it, nobody else gets to see.

Everything is at debug level here, hvac's, requests' and urllib3's own words included. The canaries are those of
`tests.support.secrets`: what tests make up, and what OpenBao gave out.
"""

from __future__ import annotations

import gc
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests

from ambassador.credentials.sources.vault_database import VaultDatabase, VaultDatabaseOptions
from ambassador.credentials.sources.vault_kv import VaultKv, VaultKvOptions
from ambassador.credentials.sources.vault_pki import VaultPki, VaultPkiOptions
from ambassador.credentials.vault.failure import VaultError
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import Metrics
from tests.support.fake_vault import FakeVault
from tests.support.house import House, until
from tests.support.openbao import OpenBao
from tests.support.postgres import Servers
from tests.support.secrets import MINTED, canary
from tests.support.vaults import opened

CONFIG = """
log: {{level: debug}}
vaults:
  main:
    address: {url}
    auth: {{approle: {{role_id: {role_id}, secret_id_file: {secret_id}, wrapped: true, mount: {approle}}}}}
credentials:
  secret: {{vault_kv: {{vault: main, mount: {kv}, path: app}}, poll: 200ms}}
  user: {{vault_database: {{vault: main, mount: {database}, role: app}}}}
  cert: {{vault_pki: {{vault: main, mount: {pki}, role: app, common_name: localhost, ttl: 60s}}}}
upstreams:
  one: {{endpoints: ["127.0.0.1:{port}"], credential: secret, postgres: {{database: postgres}}}}
  two: {{endpoints: ["127.0.0.1:{port}"], credential: user, postgres: {{database: postgres}}}}
listeners:
  one: {{listen: "unix:DIR/one", postgres: {{upstream: one}}}}
  two:
    listen: "unix:DIR/two"
    tls: {{credential: cert}}
    postgres: {{upstream: two}}
"""


class Listener(logging.Handler):
    """Hears what libraries say before anything is masked."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.name} {record.getMessage()} {record.args}")


@pytest.fixture
def libraries() -> Iterator[list[str]]:
    """What libraries said from debug on, which is more than a daemon would ever let through."""
    root, listener = logging.getLogger(), Listener()
    before = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    yield listener.heard
    root.removeHandler(listener)
    root.setLevel(before)


@pytest.fixture
def openbao() -> Iterator[OpenBao]:
    """One of our own: what it told other tests is no secret of this one."""
    with OpenBao() as found:
        yield found


@pytest.mark.slow
async def test_a_daemon_s_whole_life_tells_no_secret(
    openbao: OpenBao, servers: Servers, tmp_path: Path, libraries: list[str]
) -> None:
    """Log, metrics, status and page are searched when the house is left; here it is made to have much to tell."""
    database = openbao.postgres_database(servers.get(17), default_ttl=2, max_ttl=4)
    store, pki = openbao.key_value(2), openbao.authority(ttl=60)
    store.put("app", {"username": "app", "password": canary("password"), "note": canary("note")})
    revoking = 'path "sys/leases/revoke" { capabilities = ["update"] }'
    rules = [store.reading(), database.reading(), pki.reading(), revoking]
    role = openbao.approle(openbao.policy("everything-here", "\n".join(rules)), token_ttl=3)
    (tmp_path / "secret-id").write_text(role.secret_id(wrap_ttl=60))
    config = CONFIG.format(
        url=openbao.url,
        role_id=role.role_id,
        secret_id=tmp_path / "secret-id",
        approle=role.mount,
        kv=store.mount,
        database=database.mount,
        pki=pki.mount,
        port=database.postgres.port,
    )
    async with House(config) as house:
        logging.getLogger().setLevel(logging.DEBUG)
        assert "*" not in house.status()["vaults"][0]["login"]
        store.put("app", {"username": "app", "password": canary("another")})
        metrics = house.daemon.metrics
        await until("it to be refused", lambda: metrics.credential("secret").refreshes["refused"] > 0)
        store.delete("app")  # now, for what is refused is looked at ever more rarely
        await until("trouble", lambda: metrics.credential("secret").refreshes["source_failed"] > 0)
        await until("a lease to be replaced", lambda: metrics.credential("user").leases["issued"] > 1, 15.0)
        await until("the token to be renewed", lambda: metrics.vault("main").requests["renew_token", "ok"] > 0)
        openbao.secrets_told()
        assert len(MINTED) > 8
        house.look()
        assert any("urllib3" in message for message in libraries)
        assert not [found for message in libraries for found in hidden(message)]
        for told in (*ours(), house.daemon):
            assert not hidden(repr(told)), type(told)
    openbao.secrets_told()
    assert not hidden(house.said)


def ours() -> Iterator[object]:
    """Every object of ours that lives now, but for what runs the servers of tests."""
    for found in gc.get_objects():
        module = str(getattr(type(found), "__module__", ""))
        if module.startswith("ambassador.") and not module.startswith("ambassador.demo."):
            yield found


def hidden(text: str) -> list[str]:
    """Which of the secrets a text holds; by what they are, not by their values."""
    return [secret[:6] for secret in MINTED if secret in text]


# One that fails


@pytest.fixture
def said() -> Iterator[Callable[[], str]]:
    """Everything that was logged, from debug on."""
    stream = BytesIO()
    handle = logs.setup("debug", "json", stream)
    logging.getLogger().setLevel(logging.DEBUG)

    def text() -> str:
        handle.flush(5.0)
        return stream.getvalue().decode()

    yield text
    handle.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVault]:
    """Lets in, and lends everything."""
    password = canary("password")
    monkeypatch.setenv("SHOWN", password)
    with FakeVault().login("auth/userpass/login/app", password=password) as found:
        found.key_value("secret").put("secret", "app", password=canary("kept"))
        found.database("database/creds/app").authority("pki/issue/app")
        yield found


def repeats(server: FakeVault) -> dict[str, Any]:
    """Whatever we showed, in the words of an error. What we were never told we could not know."""
    secrets = [os.environ["SHOWN"], *(server.contents.tokens.keys() - {server.root})]
    return {"status": 400, "errors": [f"no good: {' '.join(secrets)}"]}


def of_other_shapes(said: Any) -> Any:
    return {"data": {"x": said}, "auth": {"x": said}, "lease_id": 5}


FAULTS: dict[str, Callable[[FakeVault], dict[str, Any]]] = {
    "denied": lambda server: {"status": 403, "errors": ["permission denied"]},
    "it repeats what it heard": repeats,
    "it repeats it as text": lambda server: {"status": 500, "body": " ".join(MINTED)},
    "sealed": lambda server: {"status": 503, "errors": ["Vault is sealed"]},
    "other shapes": lambda server: {"change": of_other_shapes},
    "no json": lambda server: {"body": " ".join(MINTED)},
    "cut": lambda server: {"act": "cut"},
    "reset": lambda server: {"act": "reset"},
    "drip": lambda server: {"act": "drip"},
    "hang": lambda server: {"act": "hang"},
    "redirect": lambda server: {"status": 307, "headers": {"Location": f"{server.url}/v1/elsewhere"}},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", ["auth/", ""], ids=["login", "everything"])
async def test_no_failure_tells_one(
    server: FakeVault, said: Callable[[], str], libraries: list[str], fault: str, where: str
) -> None:
    metrics = Metrics()
    login = {"userpass": {"username": "app", "password_env": "SHOWN"}}
    async with opened(server.url, login, metrics=metrics, timeout=0.3) as vault:
        vaults = {"main": vault}
        sources = [
            VaultKv("kv", VaultKvOptions(vault="main", path="app"), vaults),
            VaultDatabase("db", VaultDatabaseOptions(vault="main", role="app"), vaults),
            VaultPki("cert", VaultPkiOptions(vault="main", role="app", common_name="app.example"), vaults),
        ]
        if not where:
            for source in sources:
                await source.fetch()
        server.on(where, **FAULTS[fault](server))
        told = []
        for source in sources:
            with pytest.raises(VaultError) as caught:
                await source.fetch()
            told += [str(caught.value), repr(caught.value), repr(vars(caught.value)), whole(caught.value)]
        told += [
            str(vault.trouble),
            vault.describe(),
            repr(vars(vault)),
            metrics.exposition(openmetrics=False)[0].decode(),
        ]
    assert libraries
    assert not [found for text in (*told, *libraries, said()) for found in hidden(text)]


def whole(error: BaseException | None) -> str:
    """An error, everything it came from, and everything those hold."""
    text = "" if error is None else "".join(traceback.format_exception(error))
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text += repr(error.args) + repr(vars(error))
        assert not isinstance(error, requests.RequestException)
        error = error.__cause__ or error.__context__
    return text
