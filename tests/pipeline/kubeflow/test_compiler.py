"""The whole pipeline compiles into a package that strict parsers accept."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.e2e  # imports TFX

IMAGE = "registry.example/graft@sha256:" + "0" * 64
CONFIG = """
name: flowers
data: {source: /mnt/photos/flowers, splits: {train: 0.6, validation: 0.2, test: 0.2}}
base: {path: /mnt/photos/base.keras, preprocessing: rescale_-1_1}
image: {size: 96}
tune: {trials: 2}
train: {warm_start: true}
push: {directory: /mnt/serving/flowers}
kubeflow:
  volumes:
    - {claim: photos, path: /mnt/photos}
    - {claim: serving, path: /mnt/serving, sub_path: graft}
  secrets: [{name: storage, keys: {accesskey: AWS_ACCESS_KEY_ID}}]
  shared_memory: 1Gi
  resources: {cpu_limit: "4", memory_limit: 8Gi, node_selector: {disk: ssd}}
  stages:
    Trainer: {accelerator: {count: 1}, tolerations: [{key: nvidia.com/gpu}]}
"""
COMPILE = """
import sys
from pathlib import Path
from pipeline import config
from pipeline.kubeflow import compiler
loaded = config.load(sys.argv[1], check_inputs=False)
compiler.write_package(compiler.compile_package(loaded, sys.argv[3]), Path(sys.argv[2]))
"""


def compiled(folder: Path, seed: str) -> Path:
    """Compiles in a process of its own, as hashes differ from one to the next."""
    folder.mkdir()
    config, output = folder / "flowers.yaml", folder / "package.yaml"
    config.write_text(CONFIG)
    subprocess.run(
        [sys.executable, "-c", COMPILE, str(config), str(output), IMAGE],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    return output


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("compiled") / "one", "1")


@pytest.fixture(scope="module")
def spec(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = next(yaml.safe_load_all(package.read_text()))
    return found


def test_the_same_configuration_gives_the_same_bytes_elsewhere(
    package: Path, tmp_path: Path
) -> None:
    assert compiled(tmp_path / "other", "2").read_bytes() == package.read_bytes()


def test_no_path_of_this_machine_is_in_it(package: Path) -> None:
    text = package.read_text()
    assert str(Path(__file__).parents[3]) not in text
    assert str(package.parent) not in text
    assert sys.prefix not in text


def test_both_documents_parse_strictly(package: Path, spec: dict[str, Any]) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    kubernetes = pytest.importorskip(
        "kfp.kubernetes.kubernetes_executor_config_pb2", reason="kfp-kubernetes is not installed"
    )
    _, platform = yaml.safe_load_all(package.read_text())
    for pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(pod, kubernetes.KubernetesExecutorConfig())


def test_every_executor_is_known_to_the_protocol(spec: dict[str, Any]) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
    resources = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    if "resource_cpu_limit" not in resources.DESCRIPTOR.fields_by_name:
        pytest.skip("this kfp's protocol is older than the fields that newer backends read")
    json_format.ParseDict(spec["deploymentSpec"], deployment)


def test_kfp_loads_it(package: Path) -> None:
    from kfp import components

    loaded = components.load_component_from_file(str(package))
    assert loaded.name == "flowers"
    assert loaded.component_spec.inputs["train_epochs"].default == 20


def test_every_stage_runs_our_entry_point_in_the_image(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    assert len(executors) == 16
    for executor in executors.values():
        assert executor["container"]["image"] == IMAGE
        assert executor["container"]["command"] == ["python", "-m", "pipeline.kubeflow.entrypoint"]


def test_what_looks_outside_is_not_cached(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    uncached = {name for name, one in tasks.items() if not one["cachingOptions"]["enableCache"]}
    assert uncached == {
        "Baseline",
        "BaselineStatistics",
        "ImageExampleGen",
        "Pusher",
        "WarmStart",
    }


def test_the_driver_and_the_gate_are_named(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    driven = executors["ImageExampleGen_executor"]["container"]["args"]
    at = driven.index("--driver_class_path")
    assert driven[at + 1] == "components.image_example_gen.driver.Driver"
    gates = [name for name, one in executors.items() if "--must_pass" in one["container"]["args"]]
    assert gates == ["DataGate_executor"]


def test_the_baseline_is_what_is_served_when_the_model_is_there(spec: dict[str, Any]) -> None:
    assert "Trainer" in spec["root"]["dag"]["tasks"]["Baseline"]["dependentTasks"]
