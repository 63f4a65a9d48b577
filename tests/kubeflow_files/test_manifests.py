"""The manifests are what Kubernetes takes, and name what is there."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import serving_files
from pipeline.config import Config, load
from pipeline.kubeflow.placement import notes, place

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "kubeflow" / "manifests"
FOLDERS = ["base", "overlays/kind", "overlays/production"]
CONFIG = ROOT / "configs" / "kubeflow.yaml"
IMAGE = "graft@sha256:" + "0" * 64
KNOWN = {"apiVersion", "kind", "namespace", "labels", "resources", "patches"}


def documents(folder: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All manifests below a folder, kustomizations left out."""
    for path in sorted((MANIFESTS / folder).rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text()):
                yield path, document


def kustomization(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((MANIFESTS / folder / "kustomization.yaml").read_text())
    return found


def rendered(folder: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which renders kustomizations, is not here")
    text = subprocess.run(
        ["kubectl", "kustomize", str(MANIFESTS / folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return list(yaml.safe_load_all(text))


def named(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


@pytest.fixture(scope="module")
def base() -> list[dict[str, Any]]:
    return [document for _, document in documents("base")]


@pytest.fixture(scope="module")
def config() -> Config:
    return load(CONFIG, check_inputs=False)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_is_named_by_its_kustomization_and_there(folder: str) -> None:
    found = kustomization(folder)
    assert set(found) <= KNOWN
    files = {path.name for path in (MANIFESTS / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in found["resources"] if name.endswith(".yaml")} == files
    for name in found["resources"]:
        assert (MANIFESTS / folder / name).exists()


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_every_patch_has_a_target(folder: str, base: list[dict[str, Any]]) -> None:
    for patch in kustomization(folder)["patches"]:
        target = patch["target"]
        hit = [
            one
            for one in base
            if one["kind"] == target["kind"]
            and target.get("name", one["metadata"]["name"]) == one["metadata"]["name"]
        ]
        assert hit, target


@pytest.mark.parametrize("path", sorted({path for path, _ in documents(".")}), ids=lambda p: p.name)
def test_every_manifest_is_what_kubernetes_takes(path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(path.read_text()):
        validate.validate(document, validate.latest_version(), strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_applied_is_what_kubernetes_takes(folder: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for document in rendered(folder):
        validate.validate(document, validate.latest_version(), strict=True)
        assert document["metadata"]["namespace"] == "kubeflow"


def test_a_kind_cluster_gets_claims_that_one_node_mounts() -> None:
    for claim in named(rendered("overlays/kind"), "PersistentVolumeClaim").values():
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_production_gets_claims_that_many_nodes_mount_and_a_scaled_server() -> None:
    found = rendered("overlays/production")
    for claim in named(found, "PersistentVolumeClaim").values():
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    # The autoscaler's number of replicas would be set back by each apply.
    assert "replicas" not in named(found, "Deployment")["graft-serving"]["spec"]
    scaled = named(found, "HorizontalPodAutoscaler")["graft-serving"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == "graft-serving"


def test_the_example_finds_its_claims_and_account(
    config: Config, base: list[dict[str, Any]]
) -> None:
    claims = named(base, "PersistentVolumeClaim")
    assert {volume.claim for volume in config.kubeflow.volumes} == set(claims)
    assert config.kubeflow.service_account in named(base, "ServiceAccount")
    assert notes(config, IMAGE) == []
    assert place(config) == config


def test_secrets_that_the_example_may_name_are_there() -> None:
    found = named([one for _, one in documents("overlays/production")], "Secret")
    assert set(found["graft-storage"]["stringData"].values()) == {"REPLACE-ME"}


def test_the_runner_may_do_nothing_but_what_a_stage_needs(base: list[dict[str, Any]]) -> None:
    role = named(base, "Role")["graft-runner"]
    for rule in role["rules"]:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert set(rule["verbs"]) <= {"get", "create", "patch"}
        if {"secrets", "configmaps"} & set(rule["resources"]):
            assert rule["resourceNames"]
    binding = named(base, "RoleBinding")["graft-runner"]
    assert binding["roleRef"]["name"] == "graft-runner"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "graft-runner"}]


def test_the_server_is_the_one_of_graft_serving(config: Config, base: list[dict[str, Any]]) -> None:
    deployment = named(base, "Deployment")["graft-serving"]["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    (generated,) = serving_files._pod(
        config.name,
        container["image"],
        serving_files._arguments(f"/models/{config.name}"),
        is_mounted=True,
    )["containers"]
    for key in ("args", "ports", "startupProbe", "readinessProbe", "livenessProbe", "resources"):
        assert container[key] == generated[key], key
    batching = named(base, "ConfigMap")["graft-batching"]["data"]["batching.conf"]
    assert batching == serving_files._batching()


def test_the_server_watches_what_the_pusher_writes(
    config: Config, base: list[dict[str, Any]]
) -> None:
    spec = named(base, "Deployment")["graft-serving"]["spec"]["template"]["spec"]
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    (mount,) = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] in claims]
    (pushed,) = [one for one in config.kubeflow.volumes if one.claim == claims[mount["name"]]]
    relative = config.push.directory.relative_to(pushed.path)
    assert f"{mount['mountPath']}/{relative}" == f"/models/{config.name}"


def test_what_selects_pods_selects_the_servers() -> None:
    found = [one for _, one in documents(".")]
    labels = named(found, "Deployment")["graft-serving"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        named(found, "Deployment")["graft-serving"]["spec"]["selector"]["matchLabels"],
        named(found, "Service")["graft-serving"]["spec"]["selector"],
        named(found, "NetworkPolicy")["graft-serving"]["spec"]["podSelector"]["matchLabels"],
        named(found, "PodDisruptionBudget")["graft-serving"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)


def test_every_claim_is_made_writable_for_the_images_user(base: list[dict[str, Any]]) -> None:
    spec = named(base, "Job")["graft-prepare"]["spec"]["template"]["spec"]
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]}
    assert claims == set(named(base, "PersistentVolumeClaim"))
    mounts = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert spec["containers"][0]["command"] == ["chown", "65532:65532", *mounts]


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_no_pod_has_more_rights_than_it_needs(kind: str, base: list[dict[str, Any]]) -> None:
    (found,) = named(base, kind).values()
    spec = found["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"]["drop"] == ["ALL"]
        assert {"requests", "limits"} == set(container["resources"])
