"""The manifests: the configuration in them loads, fits the pod around it, and the pod is as closed as its notes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ambassador.config.load import load_text
from ambassador.config.schema import Config

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))

Document = dict[str, Any]


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.stem)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """One file's objects."""
    return list(yaml.safe_load_all(request.param.read_text()))


def the(documents: list[Document], kind: str) -> Document:
    """The only object of a kind."""
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def pod(documents: list[Document]) -> Document:
    """The pod's specification."""
    spec: Document = the(documents, "Deployment")["spec"]["template"]["spec"]
    return spec


def containers(documents: list[Document]) -> list[Document]:
    """Every container, sidecars first."""
    spec = pod(documents)
    return [*spec.get("initContainers", []), *spec["containers"]]


def ambassador(documents: list[Document]) -> Document:
    """Our own container."""
    (found,) = [container for container in containers(documents) if container["name"] == "ambassador"]
    return found


def configuration(documents: list[Document], root: Path) -> Config:
    """The embedded configuration, loaded, with every file it names present below `root`."""
    text = the(documents, "ConfigMap")["data"]["ambassador.yaml"].replace("/etc/ambassador", str(root))
    for name in ("tls/tls.crt", "tls/tls.key", "secrets/orders-db/ca.crt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return load_text(text).config


def test_the_embedded_configuration_is_sound(documents: list[Document], tmp_path: Path) -> None:
    config = configuration(documents, tmp_path)
    assert config.upstreams["orders"].tls is not None
    assert config.upstreams["orders"].tls.mode == "verify-full"


def test_whatever_other_pods_reach_wants_tls_and_a_password(documents: list[Document], tmp_path: Path) -> None:
    for listener in configuration(documents, tmp_path).listeners.values():
        if not all(address.is_loopback for address in listener.listen):
            assert listener.tls is not None
            assert listener.tls.mode == "require"
            assert listener.access.kind == "password"


def test_the_pod_is_given_longer_to_end_than_the_drain_takes(documents: list[Document], tmp_path: Path) -> None:
    drain = configuration(documents, tmp_path).drain
    assert pod(documents)["terminationGracePeriodSeconds"] > drain.delay + drain.timeout


def test_probes_ask_the_admin_s_port_for_what_it_answers(documents: list[Document], tmp_path: Path) -> None:
    container = ambassador(documents)
    (port,) = [entry["containerPort"] for entry in container["ports"] if entry["name"] == "admin"]
    assert port in {address.port for address in configuration(documents, tmp_path).admin.listen}
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: probe["path"] for kind, probe in asked.items()} == {
        "startup": "/startupz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {probe["port"] for probe in asked.values()} == {"admin"}


def test_every_path_of_the_configuration_is_mounted_as_a_whole_directory(documents: list[Document]) -> None:
    text = the(documents, "ConfigMap")["data"]["ambassador.yaml"]
    mounts = ambassador(documents)["volumeMounts"]
    named = {word.strip("\"'{}[],").removeprefix("unix:") for word in text.split() if "/" in word}
    paths = [Path(name) for name in named if name.startswith("/")]
    assert len(paths) >= 3
    for path in paths:
        assert any(path.is_relative_to(mount["mountPath"]) for mount in mounts), f"{path} is not mounted"
    assert not [mount for mount in mounts if "subPath" in mount]
    assert {mount["name"] for mount in mounts} <= {volume["name"] for volume in pod(documents)["volumes"]}


def test_only_the_ambassador_sees_a_secret(documents: list[Document]) -> None:
    secrets = {volume["name"] for volume in pod(documents)["volumes"] if "secret" in volume}
    assert secrets
    for container in containers(documents):
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert container["name"] == "ambassador" or not mounted & secrets
        assert not [entry for entry in container.get("env", []) if "valueFrom" in entry]


def test_every_container_is_closed(documents: list[Document]) -> None:
    spec = pod(documents)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(documents):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_no_secret_value_is_in_a_manifest(documents: list[Document]) -> None:
    assert "Secret" not in {document["kind"] for document in documents}


def test_the_sidecar_starts_before_the_application_and_ends_after_it() -> None:
    documents = list(yaml.safe_load_all((FOLDER / "sidecar.yaml").read_text()))
    (sidecar,) = pod(documents)["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("ambassador", "Always")


def test_everything_of_the_service_selects_the_same_pods() -> None:
    documents = list(yaml.safe_load_all((FOLDER / "service.yaml").read_text()))
    labels = the(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    chosen = [
        the(documents, "Deployment")["spec"]["selector"]["matchLabels"],
        the(documents, "Service")["spec"]["selector"],
        the(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert chosen == [labels] * 4
    # A cancel request must reach the pod that holds the session.
    assert the(documents, "Service")["spec"]["sessionAffinity"] == "ClientIP"
