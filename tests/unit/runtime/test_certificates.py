"""Contexts follow their files and their credentials; what cannot be used leaves what was in place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambassador.config.tls import ClientTls, ServerTls
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.kit.clock import SYSTEM
from ambassador.net.tls import ClientContexts, Contexts, ServerContexts
from ambassador.runtime import certificates
from ambassador.runtime.certificates import Certificates
from ambassador.telemetry.metrics import Metrics
from tests.support.certs import Certs
from tests.support.house import until

HERE = "listener orders"
THERE = "upstream orders"


@pytest.fixture(scope="module")
def certs() -> Certs:
    return Certs()


def server_contexts(directory: Path, certs: Certs) -> ServerContexts:
    leaf = certs.server()
    (directory / "tls.crt").write_bytes(leaf.cert)
    (directory / "tls.key").write_bytes(leaf.key)
    return ServerContexts(ServerTls(cert=directory / "tls.crt", key=directory / "tls.key"))


def keeper(contexts: dict[str, Contexts], issued: dict[str, str], store: Store | None = None) -> Certificates:
    return Certificates(contexts, issued, store=store or Store(SYSTEM), metrics=Metrics(), clock=SYSTEM)


def issued(certs: Certs, version: int = 1) -> Credential:
    leaf = certs.client("orders")
    return Credential("cert", version, {"tls.crt": leaf.cert, "tls.key": leaf.key, "ca.crt": certs.ca})


@pytest.fixture
async def following(
    tmp_path: Path, certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Certificates, ServerContexts]]:
    monkeypatch.setattr(certificates, "DEBOUNCE", 0.01)
    contexts = server_contexts(tmp_path, certs)
    kept = keeper({HERE: contexts}, {})
    kept.start()
    task = asyncio.create_task(kept.follow())
    await asyncio.sleep(0.1)
    yield kept, contexts
    task.cancel()
    await asyncio.wait({task})


async def until_version(contexts: Contexts, version: int) -> None:
    await until(f"version {version}", lambda: contexts.version >= version)


async def test_a_replaced_file_is_used_for_the_next_handshake(
    following: tuple[Certificates, ServerContexts], tmp_path: Path, certs: Certs
) -> None:
    kept, contexts = following
    leaf = certs.server(days=2)
    (tmp_path / "tls.key").write_bytes(leaf.key)
    (tmp_path / "tls.crt").write_bytes(leaf.cert)
    await until_version(contexts, 2)
    assert contexts.current.certificate == leaf.der
    assert kept.errors == {}


async def test_a_file_that_cannot_be_used_leaves_the_old_certificate_and_is_told(
    following: tuple[Certificates, ServerContexts], tmp_path: Path, certs: Certs
) -> None:
    kept, contexts = following
    before = contexts.current
    (tmp_path / "tls.crt").write_bytes(b"no certificate")
    await until("the fault to be noticed", lambda: HERE in kept.errors)
    assert contexts.current is before
    leaf = certs.server()
    (tmp_path / "tls.key").write_bytes(leaf.key)
    (tmp_path / "tls.crt").write_bytes(leaf.cert)
    await until_version(contexts, 2)
    assert kept.errors == {}


async def test_the_end_of_a_certificate_is_a_metric(tmp_path: Path, certs: Certs) -> None:
    contexts = server_contexts(tmp_path, certs)
    metrics = Metrics()
    kept = Certificates({HERE: contexts}, {}, store=Store(SYSTEM), metrics=metrics, clock=SYSTEM)
    kept.start()
    assert metrics.certificates == {HERE: contexts.not_after}


async def test_a_credential_s_certificate_is_taken_at_the_start_and_followed(certs: Certs) -> None:
    store, contexts = Store(SYSTEM), ClientContexts(ClientTls())
    store.put(issued(certs))
    kept = keeper({THERE: contexts}, {THERE: "cert"}, store)
    kept.start()
    first = contexts.current.certificate
    assert first is not None
    store.put(issued(certs, version=2))
    second = contexts.current.certificate
    assert second is not None
    assert second != first
    kept.stop()
    store.put(issued(certs, version=3))
    assert contexts.current.certificate == second


async def test_a_listener_s_certificate_from_a_credential_is_followed_too(certs: Certs) -> None:
    """Before the first there is nothing to show; afterwards the last good one is shown whatever comes."""
    metrics, store, contexts = Metrics(), Store(SYSTEM), ServerContexts(ServerTls(credential="cert"))
    kept = Certificates({HERE: contexts}, {HERE: "cert"}, store=store, metrics=metrics, clock=SYSTEM)
    kept.start()
    assert (contexts.current.certificate, metrics.certificates) == (None, {})
    store.put(issued(certs))
    first = contexts.current.certificate
    assert first is not None
    assert metrics.certificates == {HERE: contexts.not_after}
    store.put(Credential("cert", 2, {"username": b"u", "password": b"p"}))
    assert contexts.current.certificate == first
    assert kept.errors == {HERE: "the credential has no tls.crt with a tls.key"}
    store.put(issued(certs, version=3))
    assert contexts.current.certificate not in {first, None}
    kept.stop()


async def test_a_credential_without_a_usable_certificate_changes_nothing(certs: Certs) -> None:
    store, contexts = Store(SYSTEM), ClientContexts(ClientTls())
    kept = keeper({THERE: contexts}, {THERE: "cert"}, store)
    kept.start()
    store.put(issued(certs))
    before = contexts.current
    store.put(Credential("cert", 2, {"tls.crt": b"no certificate", "tls.key": b"no key"}))
    assert contexts.current is before
    assert THERE in kept.errors


async def test_without_files_there_is_nothing_to_follow() -> None:
    async with asyncio.timeout(1):
        await keeper({}, {}).follow()
