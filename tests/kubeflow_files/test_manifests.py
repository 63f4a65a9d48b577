"""The manifests of `kubeflow/manifests`, merged as kustomize does, held to Kubernetes' schemas."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import kustomize
import pytest
import yaml

from pipeline import config as configuration
from pipeline import serving_files
from pipeline.config import Config
from pipeline.kubeflow.placement import place

REPOSITORY = Path(__file__).resolve().parents[2]
MANIFESTS = REPOSITORY / "kubeflow" / "manifests"
OVERLAYS = {name: MANIFESTS / "overlays" / name for name in ("kind", "production")}
STORAGE = MANIFESTS / "components" / "storage-secret"
FILES_POD = MANIFESTS / "tools" / "files.yaml"
EXAMPLE = REPOSITORY / "configs" / "kubeflow.yaml"
UNITS = {"": 1, "m": Decimal("0.001"), "Mi": 2**20, "Gi": 2**30}
# The most of the largest stages that a run of the example has at a time, with room for two more.
STAGES_AT_A_TIME = 3

Object = dict[str, Any]
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.fixture(scope="module")
def config() -> Config:
    return configuration.load(EXAMPLE, check_inputs=False)


def built(overlay: str) -> list[Object]:
    return kustomize.build(OVERLAYS[overlay])


def named(objects: list[Object], kind: str, name: str | None = None) -> Object:
    [found] = [
        one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])
    ]
    return found


def pods() -> Iterator[tuple[str, Object]]:
    """Yields every pod's specification that the manifests make."""
    for overlay in OVERLAYS:
        for one in built(overlay):
            if one["kind"] == "Deployment":
                yield f"{overlay}: {one['metadata']['name']}", one["spec"]["template"]["spec"]
    [files] = kustomize.documents(FILES_POD)
    yield "files", files["spec"]


def amount(quantity: str) -> Decimal:
    number, unit = re.fullmatch(r"([0-9]+)([A-Za-z]*)", quantity).groups()  # type: ignore[union-attr]
    return Decimal(number) * UNITS[unit]


def restricted_faults(pod: Object) -> list[str]:
    """What of Kubernetes' restricted profile a pod does not keep to.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted; what our pods
    do not set at all, such as hostPath or sysctls, is refused whatever its value.
    """
    faults = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if key in pod]
    context = pod.get("securityContext", {})
    faults += [] if context.get("runAsNonRoot") is True else ["runAsNonRoot"]
    faults += [] if context.get("runAsUser") else ["runAsUser"]
    profile = context.get("seccompProfile", {}).get("type")
    faults += [] if profile == "RuntimeDefault" else ["seccompProfile"]
    allowed = {"name", "persistentVolumeClaim", "configMap", "emptyDir", "secret", "projected"}
    faults += [f"volume {one['name']}" for one in pod["volumes"] if one.keys() - allowed]
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    for one in containers:
        faults += [one["name"]] if one.get("securityContext") != wanted else []
        faults += ["hostPort" for port in one.get("ports", ()) if "hostPort" in port]
    return faults


@pytest.mark.parametrize(
    "folder", [MANIFESTS / "base", *OVERLAYS.values()], ids=lambda one: one.name
)
def test_every_file_of_a_kustomization_is_used(folder: Path) -> None:
    kustomize.check_files_used(folder)


def kustomization(folder: Path, extra: str = "") -> Path:
    (folder / "claims.yaml").write_text((MANIFESTS / "base" / "claims.yaml").read_text())
    head = f"apiVersion: {kustomize.VERSIONS['Kustomization']}\nkind: Kustomization\n"
    (folder / kustomize.FILE).write_text(f"{head}resources: [claims.yaml]\n{extra}")
    return folder


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("commonLabel: {a: b}\n", "unknown commonLabel"),
        ("patches: [{path: none.yaml}]\n", "no none.yaml"),
        ("patches: [{path: claims.yaml, target: {kinds: Pod}}]\n", "unknown kinds"),
        ("patches: [{path: patch.yaml, target: {kind: Pod}}]\n", "which is not there"),
    ],
)
def test_a_kustomization_that_is_wrong_is_refused(tmp_path: Path, extra: str, told: str) -> None:
    (tmp_path / "patch.yaml").write_text("- {op: add, path: /spec/a, value: 1}\n")
    with pytest.raises(kustomize.Wrong, match=told):
        kustomize.build(kustomization(tmp_path, extra))


def test_a_file_that_nothing_names_is_told(tmp_path: Path) -> None:
    folder = kustomization(tmp_path)
    kustomize.check_files_used(folder)
    (folder / "forgotten.yaml").write_text("")
    with pytest.raises(kustomize.Wrong, match="forgotten.yaml is named nowhere"):
        kustomize.check_files_used(folder)


@overlays
def test_kustomize_itself_builds_the_same(overlay: str) -> None:
    programs = {"kustomize": ["kustomize", "build"], "kubectl": ["kubectl", "kustomize"]}
    found = [command for name, command in programs.items() if shutil.which(name)]
    if not found:
        pytest.skip("neither kustomize nor kubectl is installed")
    for command in found:
        text = subprocess.run(
            [*command, str(OVERLAYS[overlay])], check=True, capture_output=True, text=True
        ).stdout
        theirs = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}
        ours = {(one["kind"], one["metadata"]["name"]): one for one in built(overlay)}
        assert theirs == ours


@overlays
def test_every_object_is_what_kubernetes_takes(overlay: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    version = kubernetes_validate.latest_version()
    objects = [*built(overlay), *kustomize.documents(FILES_POD)]
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)
        broken = {**one, "spek": {}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, version, strict=True)


@overlays
def test_no_two_objects_have_one_name_and_all_are_in_the_overlays_namespace(overlay: str) -> None:
    objects = built(overlay)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    namespace = {"kind": "kubeflow", "production": "graft"}[overlay]
    assert {one["metadata"]["namespace"] for one in objects} == {namespace}


def test_the_example_runs_where_kinds_overlay_puts_its_claims(config: Config) -> None:
    assert {one["metadata"]["namespace"] for one in built("kind")} == {config.kubeflow.namespace}


def test_many_nodes_share_claims_of_a_class_and_one_node_does_with_less() -> None:
    def claims(overlay: str) -> set[tuple[str, str | None]]:
        found = [one["spec"] for one in built(overlay) if one["kind"] == "PersistentVolumeClaim"]
        return {(mode, one.get("storageClassName")) for one in found for mode in one["accessModes"]}

    assert claims("production") == {("ReadWriteMany", "shared-files")}
    assert claims("kind") == {("ReadWriteOnce", None)}


@overlays
def test_the_examples_claims_and_account_are_made(config: Config, overlay: str) -> None:
    objects = built(overlay)
    claims = {one["metadata"]["name"] for one in objects if one["kind"] == "PersistentVolumeClaim"}
    assert {volume.claim for volume in config.kubeflow.volumes} == claims
    account = named(objects, "ServiceAccount")["metadata"]["name"]
    assert account == config.kubeflow.service_account


def test_what_the_example_names_lies_on_the_claims_meant_for_it(config: Config) -> None:
    placed = place(config)
    claims = {volume.path: volume.claim for volume in config.kubeflow.volumes}

    def claim_of(path: str | Path) -> str:
        [claim] = {claims[str(one)] for one in PurePosixPath(path).parents if str(one) in claims}
        return claim

    assert claim_of(placed.data.source) == "graft-photos"
    assert claim_of(placed.push.directory) == "graft-serving"
    assert claim_of(placed.runtime.root) == "graft-cache"


def test_the_examples_alternatives_in_comments_hold(config: Config, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    # From their first line on to the first that is no comment.
    other_base = re.search(r"(?m)^# base:\n(# .*\n)+", text)
    other_secrets = re.search(r"(?m)^  # secrets:\n  #   - .*\n", text)
    accelerator = re.search(r"(?m)^      # accelerator: .*\n(      # \w+: .*\n)+", text)
    assert other_base and other_secrets and accelerator
    for found in (other_base, other_secrets, accelerator):
        text = text.replace(found[0], re.sub(r"(?m)^( *)# ", r"\1", found[0]))
    text = text.replace("base:\n  name: MobileNetV2\n  weights: imagenet\n", "")
    path = tmp_path / "kubeflow.yaml"
    path.write_text(text)
    other = place(configuration.load(path, check_inputs=False))
    assert str(other.base.path) == "/mnt/photos/bases/base.keras"
    assert other.image.size is not None
    assert other.kubeflow.stages["Trainer"].accelerator is not None
    [secret] = other.kubeflow.secrets
    assert (secret.name, list(secret.keys)) == ("graft-storage", ["accesskey", "secretkey"])
    assert other.kubeflow.volumes == config.kubeflow.volumes


@overlays
def test_a_runs_pods_may_read_one_map_and_one_secret_and_report_results(overlay: str) -> None:
    objects = built(overlay)
    role, binding = named(objects, "Role"), named(objects, "RoleBinding")
    rights = {
        (group, resource, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [None])
        for verb in rule["verbs"]
    }
    assert rights == {
        ("", "configmaps", "kfp-launcher", "get"),
        ("", "secrets", "mlpipeline-minio-artifact", "get"),
        ("argoproj.io", "workflowtaskresults", None, "create"),
        ("argoproj.io", "workflowtaskresults", None, "patch"),
    }
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = named(objects, "ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


@pytest.mark.parametrize(("where", "pod"), list(pods()))
def test_every_pod_keeps_to_the_restricted_profile(where: str, pod: Object) -> None:
    assert restricted_faults(pod) == [], where
    assert pod["automountServiceAccountToken"] is False


def test_a_pod_that_does_not_keep_to_it_is_told() -> None:
    _, pod = next(pods())
    for change, told in (
        ({"hostNetwork": False}, "hostNetwork is set"),
        ({"securityContext": {**pod["securityContext"], "runAsNonRoot": False}}, "runAsNonRoot"),
        ({"securityContext": {**pod["securityContext"], "runAsUser": 0}}, "runAsUser"),
        ({"securityContext": {"runAsNonRoot": True, "runAsUser": 1}}, "seccompProfile"),
        ({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}, "volume root"),
        ({"initContainers": [{"name": "bare"}]}, "bare"),
    ):
        assert restricted_faults({**pod, **change}) == [told]


@pytest.mark.parametrize(("where", "pod"), list(pods()))
def test_every_pod_mounts_claims_of_the_manifests_only(where: str, pod: Object) -> None:
    claims = {
        one["metadata"]["name"] for one in built("kind") if one["kind"] == "PersistentVolumeClaim"
    }
    used = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert set(used.values()) <= claims, where
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def mounted(pod: Object) -> dict[str, str]:
    """Returns where a pod's one container mounts which claim."""
    [container] = pod["containers"]
    claims = {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"]}
    return {claims[one["name"]]: one["mountPath"] for one in container["volumeMounts"]}


def test_files_are_copied_as_the_images_user_to_the_paths_of_the_example(config: Config) -> None:
    [pod] = kustomize.documents(FILES_POD)
    assert mounted(pod["spec"]) == {volume.claim: volume.path for volume in config.kubeflow.volumes}
    context = pod["spec"]["securityContext"]
    finish = (REPOSITORY / "kubeflow" / "image" / "finish.sh").read_text()
    [user] = re.findall(r"(?m)^USER_ID=(\d+)$", finish)
    assert {context["runAsUser"], context["runAsGroup"]} == {int(user)}


@overlays
def test_every_claim_is_given_to_the_images_user_with_that_right_alone(overlay: str) -> None:
    objects = built(overlay)
    pod = named(objects, "Job")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    claims = {one["metadata"]["name"] for one in objects if one["kind"] == "PersistentVolumeClaim"}
    assert mounted(pod).keys() == claims
    [files] = kustomize.documents(FILES_POD)
    user = files["spec"]["securityContext"]["runAsUser"]
    assert container["command"] == ["chown", f"{user}:{user}", *mounted(pod).values()]
    rights = container["securityContext"]
    assert rights["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    # As root, which the restricted profile would refuse, and in all else by it.
    strict = {**rights, "capabilities": {"drop": ["ALL"]}}
    assert strict.pop("runAsUser") == 0
    context = {**pod["securityContext"], "runAsNonRoot": True, "runAsUser": user}
    changed = {**pod, "securityContext": context}
    assert (
        restricted_faults({**changed, "containers": [{**container, "securityContext": strict}]})
        == []
    )


@pytest.fixture(scope="module")
def generated(config: Config) -> dict[str, Object]:
    """What `graft serving` writes for the example's pipeline, by kind."""
    files = serving_files.render(config.name, Path("/served"), Path("/files"), config.serving_image)
    return {one["kind"]: one for one in yaml.safe_load_all(files["kubernetes.yaml"][1])}


def test_the_server_is_the_one_that_graft_serving_writes(generated: dict[str, Object]) -> None:
    objects = built("production")
    ours, theirs = named(objects, "Deployment"), generated["Deployment"]
    assert ours["metadata"]["name"] == theirs["metadata"]["name"]
    assert ours["spec"]["selector"] == theirs["spec"]["selector"]
    assert "replicas" not in ours["spec"]
    [our], [their] = (one["spec"]["template"]["spec"]["containers"] for one in (ours, theirs))
    own = {"image", "volumeMounts", "securityContext"}
    assert {key: our[key] for key in our.keys() - own} == {
        key: their[key] for key in their.keys() - own
    }
    assert our["image"].partition(":")[0] == their["image"].partition(":")[0]


def test_the_server_finds_files_where_graft_serving_says(
    config: Config, generated: dict[str, Object]
) -> None:
    def mounts(pod: Object) -> dict[str, str]:
        [container] = pod["containers"]
        assert all(one["readOnly"] for one in container["volumeMounts"] if one["name"] != "tmp")
        return {one["name"]: one["mountPath"] for one in container["volumeMounts"]}

    ours = named(built("kind"), "Deployment")["spec"]["template"]["spec"]
    theirs = generated["Deployment"]["spec"]["template"]["spec"]
    [volume] = [one for one in config.kubeflow.volumes if one.claim == "graft-serving"]
    below = PurePosixPath(config.push.directory).relative_to(volume.path)
    assert str(mounts(ours)["models"] / below) == mounts(theirs)["models"]
    assert mounts(ours)["batching"] == mounts(theirs)["batching"]
    [waiting] = ours["initContainers"]
    flag = ours["containers"][0]["args"][0].removeprefix("--model_config_file=")
    assert f"test -f {flag};" in waiting["command"][-1]
    assert waiting["volumeMounts"] == [
        one for one in ours["containers"][0]["volumeMounts"] if one["name"] == "models"
    ]


@pytest.mark.parametrize(
    ("kind", "part"),
    [("ConfigMap", "data"), ("Service", "spec"), ("HorizontalPodAutoscaler", "spec")],
)
def test_what_is_beside_the_server_is_as_graft_serving_writes_it(
    generated: dict[str, Object], kind: str, part: str
) -> None:
    ours = named(built("production"), kind)
    assert ours[part] == generated[kind][part]
    assert ours["metadata"]["name"] == generated[kind]["metadata"]["name"]


def test_the_servers_version_is_that_of_the_locked_client() -> None:
    pod = named(built("kind"), "Deployment")["spec"]["template"]["spec"]
    images = {one["image"] for one in [*pod["initContainers"], *pod["containers"]]}
    lock = (REPOSITORY / "requirements.lock").read_text()
    locked = re.findall(r"(?m)^tensorflow-serving-api==(\S+) ; .*>= '3.11'", lock)
    assert images == {f"tensorflow/serving:{version}" for version in locked}


@overlays
def test_whatever_selects_pods_selects_the_servers(overlay: str) -> None:
    objects = built(overlay)
    deployment = named(objects, "Deployment")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        named(objects, "Service")["spec"]["selector"],
        named(objects, "NetworkPolicy", "flowers-serving")["spec"]["podSelector"]["matchLabels"],
    ]
    if overlay == "production":
        [spread] = template["spec"]["topologySpreadConstraints"]
        budget = named(objects, "PodDisruptionBudget")
        selectors += [
            spread["labelSelector"]["matchLabels"],
            budget["spec"]["selector"]["matchLabels"],
        ]
        scaler = named(objects, "HorizontalPodAutoscaler")["spec"]
        assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        # Otherwise the budget would forbid every drain.
        assert scaler["minReplicas"] > budget["spec"]["minAvailable"]
    assert selectors == [labels] * len(selectors)


def test_a_server_calls_nobody_and_is_asked_on_its_ports_alone() -> None:
    objects = built("production")
    policy = named(objects, "NetworkPolicy", "flowers-serving")["spec"]
    assert policy["egress"] == []
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    [rule] = policy["ingress"]
    [container] = named(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert [port["port"] for port in rule["ports"]] == [one["name"] for one in container["ports"]]


def test_the_pods_of_runs_are_called_by_nobody() -> None:
    policy = named(built("production"), "NetworkPolicy", "graft-runs")["spec"]
    assert policy["ingress"] == []
    assert policy["podSelector"]["matchLabels"] == {"pipelines.kubeflow.org/v2_component": "true"}
    everywhere = [rule for rule in policy["egress"] if "to" not in rule]
    assert [port["port"] for rule in everywhere for port in rule["ports"]] == [53, 53, 443, 6443]


def needs(container: Object, what: str, unit: str) -> Decimal:
    return amount(container["resources"][what][unit])


@pytest.mark.parametrize("what", ["requests", "limits"])
@pytest.mark.parametrize("unit", ["cpu", "memory"])
def test_the_quota_holds_the_most_servers_and_stages_at_a_time(
    config: Config, what: str, unit: str
) -> None:
    objects = built("production")
    quota = named(objects, "ResourceQuota")["spec"]["hard"]
    [container] = named(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    servers = named(objects, "HorizontalPodAutoscaler")["spec"]["maxReplicas"]
    key = f"{unit}_{what.removesuffix('s')}"
    asked = [
        getattr(one, key) for one in (config.kubeflow.resources, *config.kubeflow.stages.values())
    ]
    largest = max(amount(one) for one in asked if one)
    limits = named(objects, "LimitRange")["spec"]["limits"][0]
    beside = amount(limits["defaultRequest" if what == "requests" else "default"][unit])
    needed = servers * needs(container, what, unit) + STAGES_AT_A_TIME * (largest + beside)
    assert needed <= amount(quota[f"{what}.{unit}"])
    assert max(largest, needs(container, what, unit)) <= amount(limits["max"][unit])


def test_the_quota_holds_the_claims() -> None:
    objects = built("production")
    quota = named(objects, "ResourceQuota")["spec"]["hard"]
    claims = [one["spec"] for one in objects if one["kind"] == "PersistentVolumeClaim"]
    sizes = [amount(one["resources"]["requests"]["storage"]) for one in claims]
    assert len(claims) <= int(quota["persistentvolumeclaims"])
    assert sum(sizes) <= amount(quota["requests.storage"])
    [limit] = [
        one
        for one in named(objects, "LimitRange")["spec"]["limits"]
        if one["type"] == "PersistentVolumeClaim"
    ]
    assert max(sizes) <= amount(limit["max"]["storage"])


@overlays
def test_no_secret_is_in_the_manifests_unless_its_component_is_taken(overlay: str) -> None:
    assert "Secret" not in {one["kind"] for one in built(overlay)}
    text = (OVERLAYS[overlay] / kustomize.FILE).read_text()
    [line] = re.findall(r"(?m)^# components:\n#   - (\S+)$", text)
    assert (OVERLAYS[overlay] / line).resolve() == STORAGE


def test_the_secret_has_the_keys_of_the_template_and_the_template_no_values(tmp_path: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    folder = tmp_path / "storage-secret"
    shutil.copytree(STORAGE, folder, ignore=shutil.ignore_patterns("storage.env"))
    template = (folder / "storage.env.example").read_text()
    assert [line.partition("=")[::2] for line in template.splitlines()] == [
        ("accesskey", ""),
        ("secretkey", ""),
    ]
    (folder / "storage.env").write_text("accesskey=who\nsecretkey=a=b\n")
    [secret] = kustomize.secrets(folder)
    kubernetes_validate.validate(secret, kubernetes_validate.latest_version(), strict=True)
    assert secret["metadata"]["name"] == "graft-storage"
    assert secret["data"] == {"accesskey": "d2hv", "secretkey": "YT1i"}


def test_git_never_takes_the_filled_in_secret() -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no git checkout")
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "--quiet", str(STORAGE / "storage.env")],
        cwd=REPOSITORY,
        check=False,
    )
    assert ignored.returncode == 0
