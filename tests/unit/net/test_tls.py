"""Contexts: what they check, what they show, and how they are replaced."""

from __future__ import annotations

import errno
import os
import ssl
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from ambassador.errors import ConfigError
from ambassador.net import tls
from ambassador.net.engine import Engine, TlsFailed
from ambassador.net.facts import TlsFacts
from ambassador.net.taker import Giving
from ambassador.net.tls import ClientContexts, Pem, ServerContexts
from tests.support.certs import Certs, Leaf

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Files:
    """PEM files of a certificate and its key."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class Server:
    """Settings of a listener's TLS."""

    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    min_version: str = "1.2"
    sni: Mapping[str, Files] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """Settings of an upstream's TLS."""

    mode: str = "verify-full"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    min_version: str = "1.2"


class Directory:
    """Writes PEM files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, leaf: Leaf, name: str = "tls") -> Files:
        files = Files(self.path / f"{name}.crt", self.path / f"{name}.key")
        files.cert.write_bytes(leaf.cert)
        files.key.write_bytes(leaf.key)
        return files

    def put_ca(self, certs: Certs, name: str = "ca.crt") -> Path:
        path = self.path / name
        path.write_bytes(certs.ca)
        return path


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost") -> tuple[TlsFacts, TlsFacts]:
    """Join two contexts; facts of client and server.

    Raises:
        TlsFailed: at whichever side noticed first.
    """
    to_far = Giving(lambda data: void(far.incoming.write(data)))
    to_near = Giving(lambda data: void(near.incoming.write(data)))
    near: Engine = Engine(client, server_side=False, server_hostname=name, to=to_far, fail=void)
    far: Engine = Engine(server, server_side=True, server_hostname=None, to=to_near, fail=void)
    while not (near.ready and far.ready):
        for engine in (near, far):
            if not engine.ready:
                engine.shake()
    near.read(1)
    return TlsFacts(near.object), TlsFacts(far.object)


def void(_: object) -> None:
    """Forget a result."""


def server(directory: Directory, leaf: Leaf, **more: object) -> ServerContexts:
    files = directory.put(leaf)
    return ServerContexts(Server(files.cert, files.key, **more))  # type: ignore[arg-type]  # fields by name


# A server's certificate from memory


def test_a_server_s_certificate_may_come_from_memory_and_be_replaced(directory: Directory, certs: Certs) -> None:
    client = ClientContexts(Client(ca=directory.put_ca(certs)))
    first, second = certs.server(), certs.server(days=2)
    contexts = ServerContexts(Server(), Pem(first.cert, first.key, certs.ca))
    assert contexts.files == ()
    seen, _ = shake(client.current, contexts.current)
    assert seen.peer_certificate == first.der
    assert not contexts.renew(Pem(first.cert, first.key, certs.ca))
    assert contexts.renew(Pem(second.cert, second.key, certs.ca))
    seen, facts = shake(client.current, contexts.current)
    assert seen.peer_certificate == second.der == facts.own_certificate
    assert contexts.version == 2
    assert contexts.not_after == x509.load_pem_x509_certificate(second.cert).not_valid_after_utc.timestamp()


def test_before_a_server_has_one_handshakes_fail(directory: Directory, certs: Certs) -> None:
    contexts = ServerContexts(Server())
    assert (contexts.not_after, contexts.version) == (None, 1)
    client = ClientContexts(Client(ca=directory.put_ca(certs)))
    with pytest.raises(TlsFailed):
        shake(client.current, contexts.current)


def test_one_that_cannot_be_used_leaves_the_one_in_place(directory: Directory, certs: Certs) -> None:
    leaf, other = certs.server(), certs.server()
    contexts = ServerContexts(Server(), Pem(leaf.cert, leaf.key))
    with pytest.raises(ConfigError, match=r"tls\.crt of the credential with its tls\.key: key values mismatch"):
        contexts.renew(Pem(leaf.cert, other.key))
    with pytest.raises(ConfigError, match=r"the credential has no tls\.crt with a tls\.key"):
        contexts.renew(Pem())
    shake(ClientContexts(Client(ca=directory.put_ca(certs))).current, contexts.current)
    assert not contexts.rebuild()


def test_names_have_their_own_files_beside_it_and_clients_are_checked_by_a_file(
    directory: Directory, certs: Certs
) -> None:
    ca = directory.put_ca(certs)
    named, main = certs.server("orders.example"), certs.server()
    settings = Server(client_ca=ca, sni={"orders.example": directory.put(named, "named")})
    contexts = ServerContexts(settings, Pem(main.cert, main.key))
    assert set(contexts.files) == {directory.path / "named.crt", directory.path / "named.key", ca}
    ours = certs.client("app")
    client = ClientContexts(Client(ca=ca), Pem(ours.cert, ours.key))
    for name, leaf in (("orders.example", named), ("localhost", main)):
        seen, facts = shake(client.current, contexts.current, name)
        assert seen.peer_certificate == leaf.der
        names = facts.peer_names()
        assert names is not None
        assert names.common_name == "app"


# What a client checks


BAD = ["expired", "wrong_host", "stranger"]


def bad_leaf(certs: Certs, kind: str) -> Leaf:
    return Certs().server() if kind == "stranger" else getattr(certs, kind)()


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("verify-full", "expired", "certificate has expired"),
        ("verify-full", "wrong_host", "Hostname mismatch"),
        ("verify-full", "stranger", "unable to get local issuer certificate"),
        ("verify-ca", "expired", "certificate has expired"),
        ("verify-ca", "stranger", "unable to get local issuer certificate"),
    ],
)
def test_bad_certificates_are_refused_as_the_mode_says(
    directory: Directory, certs: Certs, mode: str, kind: str, words: str
) -> None:
    client = ClientContexts(Client(mode, ca=directory.put_ca(certs)))
    with pytest.raises(TlsFailed, match=words):
        shake(client.current, server(directory, bad_leaf(certs, kind)).current)


@pytest.mark.parametrize(
    ("mode", "kind"), [("verify-ca", "wrong_host"), *(("require", kind) for kind in BAD), ("verify-full", "server")]
)
def test_what_a_mode_does_not_ask_for_is_let_pass(directory: Directory, certs: Certs, mode: str, kind: str) -> None:
    client = ClientContexts(Client(mode, ca=directory.put_ca(certs)))
    facts, _ = shake(client.current, server(directory, bad_leaf(certs, kind)).current)
    assert facts.version == "TLSv1.3"


@pytest.mark.parametrize(
    ("names", "asked", "good"),
    [
        (("192.0.2.1",), "192.0.2.1", True),
        (("192.0.2.1",), "192.0.2.2", False),
        (("2001:db8::1",), "2001:db8:0::1", True),
        (("192.0.2.1",), "localhost", False),
        (("*.example.com",), "db.example.com", True),
        (("*.example.com",), "a.db.example.com", False),
        (("*.example.com",), "example.com", False),
        (("db.example.com",), "DB.Example.com.", True),
    ],
)
def test_the_name_must_be_in_the_certificate(
    directory: Directory, certs: Certs, names: tuple[str, ...], asked: str, good: bool
) -> None:
    client = ClientContexts(Client(ca=directory.put_ca(certs)))
    contexts = server(directory, certs.server(*names))
    if good:
        shake(client.current, contexts.current, asked)
    else:
        with pytest.raises(TlsFailed, match="mismatch"):
            shake(client.current, contexts.current, asked)


def test_a_common_name_does_not_replace_a_missing_address(directory: Directory, certs: Certs) -> None:
    contexts = server(directory, certs.client("192.0.2.1"))
    with pytest.raises(TlsFailed, match="IP address mismatch"):
        shake(ClientContexts(Client(ca=directory.put_ca(certs))).current, contexts.current, "192.0.2.1")


def test_without_a_name_there_is_no_full_verification(directory: Directory, certs: Certs) -> None:
    contexts = server(directory, certs.server())
    with pytest.raises(TlsFailed, match="no server name to check"):
        shake(ClientContexts(Client(ca=directory.put_ca(certs))).current, contexts.current, None)


def test_the_server_name_of_the_settings_is_there_for_the_caller(directory: Directory, certs: Certs) -> None:
    client = ClientContexts(Client(ca=directory.put_ca(certs), server_name="db.internal"))
    assert client.server_name == "db.internal"
    facts, seen = shake(client.current, server(directory, certs.server("db.internal")).current, client.server_name)
    assert facts.sni == seen.sni == "db.internal"


def test_a_server_s_own_certificate_may_be_trusted_by_itself(directory: Directory, certs: Certs) -> None:
    leaf = certs.server()
    files = directory.put(leaf)
    shake(ClientContexts(Client(ca=files.cert)).current, server(directory, leaf).current)


def test_authorities_from_memory_are_used_where_no_file_is_named(directory: Directory, certs: Certs) -> None:
    contexts = server(directory, certs.server())
    shake(ClientContexts(Client(), Pem(ca=certs.ca)).current, contexts.current)
    with pytest.raises(TlsFailed, match="unable to get local issuer"):
        shake(ClientContexts(Client(ca=directory.put_ca(Certs())), Pem(ca=certs.ca)).current, contexts.current)


def test_the_system_s_authorities_are_used_where_none_are_named(
    directory: Directory, certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(directory.put_ca(certs)))
    monkeypatch.setenv("SSL_CERT_DIR", str(directory.path))
    shake(ClientContexts(Client()).current, server(directory, certs.server()).current)


def test_a_machine_without_authorities_is_told_at_once(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(directory.path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(directory.path / "none"))
    with pytest.raises(ConfigError, match="install ca-certificates, or name a ca"):
        ClientContexts(Client())
    ClientContexts(Client(mode="require"))


# Versions and protocols


@pytest.mark.parametrize(("least", "most", "good"), [("1.2", "TLSv1_2", True), ("1.3", "TLSv1_2", False)])
def test_older_versions_than_asked_for_are_refused_on_both_sides(
    directory: Directory, certs: Certs, least: str, most: str, good: bool
) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(cadata=certs.ca.decode())
    old.maximum_version = ssl.TLSVersion[most]
    files = directory.put(certs.server())
    contexts = ServerContexts(Server(files.cert, files.key, min_version=least))
    old_server = server(directory, certs.server()).current
    old_server.maximum_version = ssl.TLSVersion[most]
    client = ClientContexts(Client(ca=directory.put_ca(certs), min_version=least))
    for pair in ((old, contexts.current), (client.current, old_server)):
        if good:
            assert shake(*pair)[0].version == "TLSv1.2"
        else:
            with pytest.raises(TlsFailed, match=r"version|unsupported protocol"):
                shake(*pair)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_tls_before_1_2_is_not_spoken(directory: Directory, certs: Certs, version: str) -> None:
    contexts = server(directory, certs.server())
    assert contexts.current.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert contexts.current.options & ssl.OP_NO_RENEGOTIATION
    assert contexts.current.minimum_version > ssl.TLSVersion[version]


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(["postgresql"], "postgresql"), (["h2", "postgresql"], "postgresql"), (["h2"], None), ([], None)],
)
def test_an_application_protocol_is_agreed_on_when_offered(
    directory: Directory, certs: Certs, offered: list[str], agreed: str | None
) -> None:
    files = directory.put(certs.server())
    contexts = ServerContexts(Server(files.cert, files.key), alpn=("postgresql",))
    client = ClientContexts(Client(ca=directory.put_ca(certs)), alpn=offered)
    facts, seen = shake(client.current, contexts.current)
    assert facts.alpn == seen.alpn == agreed


# What is shown


def test_a_client_certificate_from_files_is_shown(directory: Directory, certs: Certs) -> None:
    ca = directory.put_ca(certs)
    contexts = server(directory, certs.server(), client_ca=ca)
    mine = directory.put(certs.client("app"), "mine")
    _, seen = shake(ClientContexts(Client(ca=ca, cert=mine.cert, key=mine.key)).current, contexts.current)
    names = seen.peer_names()
    assert names is not None
    assert names.common_name == "app"


def test_a_client_certificate_from_memory_is_shown(directory: Directory, certs: Certs) -> None:
    contexts = server(directory, certs.server(), client_ca=directory.put_ca(certs))
    leaf = certs.client("app")
    client = ClientContexts(Client(), Pem(leaf.cert, leaf.key, certs.ca))
    _, seen = shake(client.current, contexts.current)
    names = seen.peer_names()
    assert names is not None
    assert names.subject == "CN=app"


def test_a_client_without_a_certificate_is_let_in_and_has_no_names(directory: Directory, certs: Certs) -> None:
    ca = directory.put_ca(certs)
    contexts = server(directory, certs.server(), client_ca=ca)
    _, seen = shake(ClientContexts(Client(ca=ca)).current, contexts.current)
    assert seen.peer_names() is None


@pytest.mark.parametrize("kind", ["stranger", "expired"])
def test_a_bad_client_certificate_is_refused(directory: Directory, certs: Certs, kind: str) -> None:
    ca = directory.put_ca(certs)
    contexts = server(directory, certs.server(), client_ca=ca)
    leaf = bad_leaf(certs, kind)
    client = ClientContexts(Client(ca=ca), Pem(leaf.cert, leaf.key))
    with pytest.raises(TlsFailed, match="certificate verify failed"):
        shake(client.current, contexts.current)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("one.example.com", "one"),
        ("ONE.example.com", "one"),
        ("other.wild.example.com", "wild"),
        ("a.b.wild.example.com", "main"),
        ("wild.example.com", "main"),
        ("elsewhere", "main"),
    ],
)
def test_the_certificate_is_chosen_by_the_name_asked_for(
    directory: Directory, certs: Certs, asked: str, shown: str
) -> None:
    leaves = {name: certs.server("localhost", name) for name in ("main", "one", "wild")}
    files = {name: directory.put(leaf, name) for name, leaf in leaves.items()}
    settings = Server(
        files["main"].cert,
        files["main"].key,
        client_ca=directory.put_ca(certs),
        sni={"one.example.com": files["one"], "*.wild.example.com": files["wild"]},
    )
    contexts = ServerContexts(settings, alpn=("postgresql",))
    mine = certs.client("app")
    client = ClientContexts(Client("require"), Pem(mine.cert, mine.key), alpn=("postgresql",))
    facts, seen = shake(client.current, contexts.current, asked)
    assert facts.peer_certificate == leaves[shown].der == seen.own_certificate
    assert facts.server_end_point() == seen.server_end_point()
    assert seen.sni == asked
    assert seen.alpn == "postgresql"
    names = seen.peer_names()
    assert names is not None
    assert names.common_name == "app"


def test_without_a_name_the_main_certificate_is_shown(directory: Directory, certs: Certs) -> None:
    leaf = certs.server()
    other = directory.put(certs.server("x"), "x")
    contexts = server(directory, leaf, sni={"x": other})
    facts, seen = shake(ClientContexts(Client("require")).current, contexts.current, None)
    assert facts.peer_certificate == leaf.der
    assert seen.sni is None


# Replacing


def test_a_new_certificate_takes_effect_with_rebuild(directory: Directory, certs: Certs) -> None:
    first, second = certs.server(), certs.server()
    contexts = server(directory, first)
    before = contexts.current
    assert (contexts.version, contexts.rebuild()) == (1, False)
    directory.put(second)
    assert contexts.rebuild()
    assert contexts.version == 2
    assert contexts.current is not before
    facts, _ = shake(ClientContexts(Client("require")).current, contexts.current)
    assert facts.peer_certificate == second.der
    facts, _ = shake(ClientContexts(Client("require")).current, before)
    assert facts.peer_certificate == first.der


def test_a_bad_new_certificate_leaves_the_old_one(directory: Directory, certs: Certs) -> None:
    contexts = server(directory, certs.server())
    before = (contexts.current, contexts.version, contexts.not_after)
    files = directory.put(certs.server())
    files.key.write_bytes(certs.server().key)
    for _ in range(2):
        with pytest.raises(ConfigError, match="key values mismatch"):
            contexts.rebuild()
    assert (contexts.current, contexts.version, contexts.not_after) == before
    directory.put(certs.server())
    assert contexts.rebuild()


def test_want_of_descriptors_leaves_the_old_one_too(
    directory: Directory, certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    contexts = server(directory, certs.server())
    directory.put(certs.server())
    monkeypatch.setattr(os, "memfd_create", none_left)
    with pytest.raises(ConfigError, match="cannot use certificates now: Too many open files"):
        contexts.rebuild()
    assert contexts.version == 1
    monkeypatch.undo()
    assert contexts.rebuild()


def test_the_first_expiry_of_all_certificates_is_known(directory: Directory, certs: Certs) -> None:
    soon, later = certs.server(days=3), certs.server(days=30)
    extra = directory.put(soon, "soon")
    contexts = server(directory, later, sni={"x": extra})
    expected = x509.load_pem_x509_certificate(soon.cert).not_valid_after_utc.timestamp()
    assert contexts.not_after == expected
    mine = certs.client("app")
    client = ClientContexts(Client("require"), Pem(mine.cert, mine.key))
    assert client.not_after == x509.load_pem_x509_certificate(mine.cert).not_valid_after_utc.timestamp()
    assert ClientContexts(Client("require")).not_after is None


def test_the_files_to_watch_are_named_once_each(directory: Directory, certs: Certs) -> None:
    files = directory.put(certs.server())
    ca = directory.put_ca(certs)
    contexts = ServerContexts(Server(files.cert, files.key, ca, sni={"a": files, "b": files}))
    assert contexts.files == (files.cert, files.key, ca)
    client = ClientContexts(Client(ca=ca, cert=files.cert, key=files.key))
    assert client.files == (ca, files.cert, files.key)


def test_a_renewed_credential_takes_effect_and_a_bad_one_does_not(directory: Directory, certs: Certs) -> None:
    contexts = server(directory, certs.server(), client_ca=directory.put_ca(certs))

    def shown(client: ClientContexts) -> str | None:
        names = shake(client.current, contexts.current)[1].peer_names()
        return None if names is None else names.common_name

    first, second = certs.client("first"), certs.client("second")
    client = ClientContexts(Client(), Pem(first.cert, first.key, certs.ca))
    assert not client.renew(Pem(first.cert, first.key, certs.ca))
    assert client.renew(Pem(second.cert, second.key, certs.ca))
    assert (shown(client), client.version) == ("second", 2)
    with pytest.raises(ConfigError, match=r"tls\.crt of the credential with its tls\.key: key values mismatch"):
        client.renew(Pem(first.cert, second.key, certs.ca))
    assert (shown(client), client.version) == ("second", 2)
    assert not client.rebuild()


# What cannot be used


@pytest.mark.parametrize(
    ("cert", "key"),
    [(b"", None), (b"no PEM", None), (None, b""), (None, b"no PEM"), (b"-----BEGIN CERTIFICATE-----", None)],
)
def test_what_is_no_pem_is_refused_by_name(
    directory: Directory, certs: Certs, cert: bytes | None, key: bytes | None
) -> None:
    leaf = certs.server()
    files = directory.put(leaf)
    files.cert.write_bytes(leaf.cert if cert is None else cert)
    files.key.write_bytes(leaf.key if key is None else key)
    with pytest.raises(ConfigError) as caught:
        ServerContexts(Server(files.cert, files.key))
    assert str(files.cert) in str(caught.value)
    assert str(files.key) in str(caught.value)


def test_a_certificate_under_another_label_is_refused(directory: Directory, certs: Certs) -> None:
    """OpenSSL would take it; which certificate is ours could not be said then."""
    leaf = certs.server()
    files = directory.put(leaf)
    files.cert.write_bytes(leaf.cert.replace(b" CERTIFICATE", b" X509 CERTIFICATE"))
    with pytest.raises(ConfigError, match="there is no certificate in it"):
        ServerContexts(Server(files.cert, files.key))


def test_an_encrypted_key_is_refused_instead_of_asking_at_the_terminal(directory: Directory, certs: Certs) -> None:
    leaf = certs.server()
    files = directory.put(leaf)
    files.key.write_bytes(leaf.encrypted_key)
    with pytest.raises(ConfigError, match="the key is encrypted"):
        ServerContexts(Server(files.cert, files.key))


def test_a_missing_file_is_named(directory: Directory) -> None:
    missing = directory.path / "missing.crt"
    with pytest.raises(ConfigError, match="No such file") as caught:
        ServerContexts(Server(missing, missing))
    assert caught.value.file == str(missing)


def test_a_file_without_authorities_is_refused(directory: Directory) -> None:
    empty = directory.path / "ca.crt"
    empty.write_bytes(b"# nothing here\n")
    with pytest.raises(ConfigError, match=r"no certificate to trust in .*ca\.crt"):
        ClientContexts(Client(ca=empty))


def test_a_file_that_is_far_too_long_is_refused(
    directory: Directory, certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = directory.put(certs.server())
    monkeypatch.setattr(tls, "_LONGEST_FILE", 100)
    with pytest.raises(ConfigError, match="too long for a PEM file"):
        ServerContexts(Server(files.cert, files.key))


def test_a_bundle_may_hold_comments_of_any_kind(directory: Directory, certs: Certs) -> None:
    bundle = directory.path / "bundle.pem"
    bundle.write_bytes("# Autorité de test\n".encode() + Certs().ca + b"\n\xff\xfe\n" + certs.ca)
    shake(ClientContexts(Client(ca=bundle)).current, server(directory, certs.server()).current)


def test_no_key_shows_in_a_representation(certs: Certs) -> None:
    leaf = certs.client("app")
    assert "PRIVATE" not in repr(Pem(leaf.cert, leaf.key))


def test_nothing_is_left_open_after_loading(directory: Directory, certs: Certs) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    leaf = certs.client("app")
    ClientContexts(Client(), Pem(leaf.cert, leaf.key, certs.ca))
    with pytest.raises(ConfigError):
        ClientContexts(Client(), Pem(leaf.cert, b"", certs.ca), alpn=("x",)).renew(Pem(b"x", b"y", b"z"))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


UNDUMPABLE = textwrap.dedent(
    """
    import ctypes, os, sys
    from types import SimpleNamespace
    from ambassador.net.tls import ClientContexts, Pem
    PR_SET_DUMPABLE, PR_GET_DUMPABLE = 4, 3
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.argv[1] == "other":
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    assert libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    assert libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
    assert os.stat("/proc/self/fd").st_uid == 0
    cert, key, ca = sys.stdin.buffer.read().split(b"=====")
    settings = SimpleNamespace(mode="verify-full", ca=None, cert=None, key=None, server_name=None, min_version="1.2")
    contexts = ClientContexts(settings, Pem(cert, key, ca))
    print(os.getuid(), contexts.version, len(contexts.current.get_ca_certs()))
    """
)


@pytest.mark.parametrize("who", ["same", "other"])
def test_pem_in_memory_works_where_the_process_may_not_be_dumped(certs: Certs, who: str) -> None:
    """PR_SET_DUMPABLE=0 gives /proc/PID to root; a process may still follow its own descriptors there."""
    if who == "other" and os.getuid() != 0:
        pytest.skip("only root can become another user")
    leaf = certs.client("app")
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [sys.executable, "-c", UNDUMPABLE, who],
            input=b"=====".join((leaf.cert, leaf.key, certs.ca)),
            capture_output=True,
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "HOME": elsewhere,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            timeout=20,
            check=False,
        )
    assert done.stderr == b""
    uid = 65534 if who == "other" else os.getuid()
    assert done.stdout.split() == [b"%d" % uid, b"1", b"1"]
