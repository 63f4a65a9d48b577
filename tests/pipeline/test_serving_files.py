"""The files of `graft serving`, held to the schemas of those who read them."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from components.places import to_place
from components.pusher import served
from pipeline.cli import main
from pipeline.serving_files import render

FILES = ["docker-run.sh", "compose.yaml", "kubernetes.yaml", "kserve.yaml", "batching.conf"]
# What tensorflow_serving/servables/tensorflow/session_bundle_config.proto calls BatchingParameters.
BATCHING_PARAMETERS = {
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "thread_pool_name",
    "allowed_batch_sizes",
    "pad_variable_length_inputs",
    "enable_large_batch_splitting",
    "max_execution_batch_size",
}
# Of the image's server, https://github.com/tensorflow/serving/blob/master/tensorflow_serving/model_servers/main.cc
FLAGS = {
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models",
    "enable_batching",
    "batching_parameters_file",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a $folder"
    folder.mkdir()
    path = folder / "flowers.yaml"
    path.write_text(
        "name: my-flowers\ndata: {source: photos}\nbase: {name: MobileNetV2, weights: null}\n"
        "push: {directory: served}\n"
    )
    return path


@pytest.fixture
def folder(config: Path) -> Path:
    model = config.parent / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    served.push(model, config.parent / "served", "", "", "")
    result = CliRunner().invoke(main, ["serving", str(config), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert list(told["files"]) == FILES
    assert sorted(path.name for path in Path(told["folder"]).iterdir()) == sorted(FILES)
    return Path(told["folder"])


def flags_of(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_the_docker_line_is_one_command_whatever_the_folders_are_called(
    config: Path, folder: Path
) -> None:
    text = (folder / "docker-run.sh").read_text()
    words = shlex.split(text.partition("\n")[2].replace("\\\n", " "))
    assert words[:4] == ["exec", "docker", "run", "--rm"]
    assert f"{config.parent}/served:/models/my-flowers:ro" in words
    assert f"{folder}:/serving:ro" in words
    image = next(place for place, word in enumerate(words) if word.startswith("tensorflow/"))
    flags = flags_of(words[image + 1 :])
    assert set(flags) == FLAGS
    assert flags["model_config_file"] == "/models/my-flowers/models.config"
    assert flags["batching_parameters_file"] == "/serving/batching.conf"


def test_compose_mounts_the_same_for_reading(config: Path, folder: Path) -> None:
    text = (folder / "compose.yaml").read_text()
    service = yaml.safe_load(text)["services"]["my-flowers"]
    assert set(flags_of(service["command"])) == FLAGS
    sources = {one["target"]: one["source"] for one in service["volumes"]}
    # A dollar sign is doubled, or Compose would take a variable for it.
    assert sources["/models/my-flowers"].replace("$$", "$") == f"{config.parent}/served"
    assert "$$folder" in sources["/serving"]
    assert all(one["read_only"] and one["type"] == "bind" for one in service["volumes"])


def test_every_manifest_is_what_kubernetes_takes(folder: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    manifests = list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text()))
    assert [one["kind"] for one in manifests] == [
        "PersistentVolumeClaim",
        "ConfigMap",
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
    ]
    for manifest in manifests:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    broken = {**manifests[2], "spec": {**manifests[2]["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_what_refers_to_another_manifest_is_there(folder: Path) -> None:
    manifests = list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text()))
    by_kind: dict[str, Any] = {one["kind"]: one for one in manifests}
    deployment, service = by_kind["Deployment"], by_kind["Service"]
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    scaled = by_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == deployment["metadata"]["name"]
    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert claim == by_kind["PersistentVolumeClaim"]["metadata"]["name"]
    [container] = pod["spec"]["containers"]
    names = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/my-flowers"
    assert set(flags_of(container["args"])) == FLAGS
    kserve = yaml.safe_load((folder / "kserve.yaml").read_text())
    assert kserve["apiVersion"] == "serving.kserve.io/v1beta1"
    assert kserve["spec"]["predictor"]["model"]["storageUri"] == f"pvc://{claim}"


def test_a_server_reads_an_object_store_itself(tmp_path: Path) -> None:
    uri = "gs://bucket/served/flowers"
    files = {
        name: text
        for name, (_, text) in render("flowers", to_place(uri), tmp_path, "image").items()
    }
    assert f"--model_config_file={uri}/models.config" in files["docker-run.sh"]
    assert "/models/flowers" not in files["docker-run.sh"]
    [service] = yaml.safe_load(files["compose.yaml"])["services"].values()
    assert [volume["target"] for volume in service["volumes"]] == ["/serving"]
    manifests = list(yaml.safe_load_all(files["kubernetes.yaml"]))
    assert "PersistentVolumeClaim" not in [one["kind"] for one in manifests]
    pod = manifests[1]["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["batching"]
    assert flags_of(pod["containers"][0]["args"])["model_config_file"] == f"{uri}/models.config"
    model = yaml.safe_load(files["kserve.yaml"])["spec"]["predictor"]["model"]
    assert model["storageUri"] == uri


def test_long_names_are_cut_to_what_a_service_may_be_called(tmp_path: Path) -> None:
    names = []
    for pipeline in ("f" * 63, "f" * 62 + "g"):
        text = render(pipeline, tmp_path, tmp_path, "image")["kubernetes.yaml"][1]
        manifests = {one["kind"]: one for one in yaml.safe_load_all(text)}
        names.append(manifests["Service"]["metadata"]["name"])
        scaled = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        assert scaled == manifests["Deployment"]["metadata"]["name"]
    assert [len(name) for name in names] == [63, 63]
    assert names[0] != names[1]


def test_the_batching_parameters_are_those_that_the_server_knows(folder: Path) -> None:
    lines = (folder / "batching.conf").read_text().splitlines()
    names = {line.partition(" ")[0] for line in lines}
    assert names < BATCHING_PARAMETERS
    assert all(line.endswith(" }") and " { value: " in line for line in lines)


def test_without_a_served_model_there_is_nothing_to_serve(config: Path) -> None:
    result = CliRunner().invoke(main, ["serving", str(config)])
    assert result.exit_code == 2
    assert "Expected a served model. Received: no version in " in result.stderr


def test_a_folder_that_cannot_be_written_is_told(config: Path, folder: Path) -> None:
    blocked = config.parent / "file"
    blocked.write_text("")
    result = CliRunner().invoke(main, ["serving", str(config), "--output", str(blocked)])
    assert result.exit_code == 2
    assert "Expected a folder that can be written. Received: " in result.stderr
