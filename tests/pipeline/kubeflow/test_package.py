"""What TFX's compiler writes becomes what open-source Kubeflow Pipelines takes."""

from typing import Any

import pytest
import yaml

from components.errors import InputError
from pipeline.config import Config
from pipeline.config.kubeflow import Kubeflow, Resources
from pipeline.kubeflow.package import in_units, merged, package
from pipeline.kubeflow.parameters import PARAMETERS, default

CONFIG = Config.model_validate(
    {
        "name": "flowers",
        "data": {"source": "/photos"},
        "base": {"name": "VGG16"},
        "push": {"directory": "/served"},
    }
)
DEFAULTS = {parameter.name: default(parameter, CONFIG) for parameter in PARAMETERS}
IMAGE = "registry.example/graft@sha256:" + "0" * 64


def container(**more: Any) -> dict[str, Any]:
    return {"container": {"image": IMAGE, "command": ["python"], "args": ["{{$}}"], **more}}


def spec() -> dict[str, Any]:
    """A pipeline of two stages as TFX writes it."""
    stages = ("ImageExampleGen", "Trainer")
    return {
        "pipelineInfo": {"name": "flowers"},
        "schemaVersion": "2.0.0",
        "components": {stage: {"executorLabel": f"{stage}_executor"} for stage in stages},
        "deploymentSpec": {
            "executors": {
                "ImageExampleGen_executor": container(lifecycle={"preCacheCheck": {}}),
                "Trainer_executor": container(),
            }
        },
        "root": {"dag": {"tasks": {stage: {"componentRef": {"name": stage}} for stage in stages}}},
    }


def packed(kubeflow: dict[str, Any] | None = None, **given: Any) -> list[dict[str, Any]]:
    arguments: dict[str, Any] = {"drivers": {}, "gates": (), "uncached": (), **given}
    section = Kubeflow.model_validate(kubeflow or {})
    return list(yaml.safe_load_all(package(spec(), section, DEFAULTS, **arguments)))


def executor(documents: list[dict[str, Any]], stage: str) -> dict[str, Any]:
    found: dict[str, Any] = documents[0]["deploymentSpec"]["executors"][f"{stage}_executor"]
    return found["container"]


def pod(documents: list[dict[str, Any]], stage: str) -> dict[str, Any]:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found: dict[str, Any] = executors[f"{stage}_executor"]
    return found


def test_the_schema_version_is_the_one_that_backends_read() -> None:
    assert packed()[0]["schemaVersion"] == "2.1.0"


def test_the_root_of_artifacts_is_in_the_package_where_it_is_given() -> None:
    root = "gs://bucket/graft"
    assert packed({"pipeline_root": root})[0]["defaultPipelineRoot"] == root
    assert "defaultPipelineRoot" not in packed()[0]


def test_a_hook_that_backends_ignore_becomes_a_flag_for_the_entry_point() -> None:
    documents = packed(drivers={"ImageExampleGen": "some.Driver"})
    found = executor(documents, "ImageExampleGen")
    assert "lifecycle" not in found
    assert found["args"] == [
        "{{$}}",
        "--pipeline_name",
        "flowers",
        "--driver_class_path",
        "some.Driver",
    ]
    assert "--driver_class_path" not in executor(documents, "Trainer")["args"]


def test_a_gate_is_told_to_end_the_run() -> None:
    documents = packed(gates=("Trainer",))
    assert "--must_pass" in executor(documents, "Trainer")["args"]
    assert "--must_pass" not in executor(documents, "ImageExampleGen")["args"]


def test_stages_that_look_outside_are_never_cached() -> None:
    tasks = packed(uncached=("ImageExampleGen",))[0]["root"]["dag"]["tasks"]
    assert tasks["ImageExampleGen"]["cachingOptions"] == {"enableCache": False}
    assert tasks["Trainer"]["cachingOptions"] == {"enableCache": True}


def test_nothing_is_cached_where_the_image_may_change() -> None:
    tasks = packed(uncached=("*",))[0]["root"]["dag"]["tasks"]
    assert all(task["cachingOptions"] == {"enableCache": False} for task in tasks.values())


def test_a_resolver_is_refused_as_the_backend_would() -> None:
    given = spec()
    given["deploymentSpec"]["executors"]["Trainer_executor"] = {"resolver": {}}
    with pytest.raises(ValueError, match="Trainer_executor"):
        package(given, Kubeflow(), DEFAULTS, {}, (), ())


def test_every_parameter_has_its_default_and_reaches_its_stages() -> None:
    root = packed()[0]["root"]
    given = root["inputDefinitions"]["parameters"]
    assert {name: one["defaultValue"] for name, one in given.items()} == DEFAULTS
    assert given["train_epochs"]["parameterType"] == "NUMBER_INTEGER"
    tasks = root["dag"]["tasks"]
    assert set(tasks["ImageExampleGen"]["inputs"]["parameters"]) == {"data_source"}
    assert tasks["Trainer"]["inputs"]["parameters"]["train_epochs"] == {
        "componentInputParameter": "train_epochs"
    }


def test_components_are_named_as_kfps_tools_expect() -> None:
    document = packed()[0]
    assert set(document["components"]) == {"comp-ImageExampleGen", "comp-Trainer"}
    assert document["root"]["dag"]["tasks"]["Trainer"]["componentRef"]["name"] == "comp-Trainer"


def test_resources_of_a_stage_stand_over_those_for_all() -> None:
    documents = packed(
        {
            "resources": {"cpu_limit": "2", "memory_limit": "4Gi"},
            "stages": {"Trainer": {"memory_limit": "16Gi", "accelerator": {"count": 2}}},
        }
    )
    assert executor(documents, "Trainer")["resources"] == {
        "resourceCpuLimit": "2",
        "cpuLimit": 2.0,
        "resourceMemoryLimit": "16Gi",
        "memoryLimit": 17.179869184,
        "accelerator": {
            "resourceType": "nvidia.com/gpu",
            "resourceCount": "2",
            "type": "nvidia.com/gpu",
            "count": "2",
        },
    }
    assert executor(documents, "ImageExampleGen")["resources"]["resourceMemoryLimit"] == "4Gi"


def test_pods_get_claims_secrets_nodes_and_memory() -> None:
    documents = packed(
        {
            "volumes": [{"claim": "photos", "path": "/mnt/photos", "sub_path": "flowers"}],
            "secrets": [{"name": "storage", "keys": {"accesskey": "AWS_ACCESS_KEY_ID"}}],
            "shared_memory": "2Gi",
            "image_pull_policy": "Always",
            "resources": {"node_selector": {"disk": "ssd"}},
            "stages": {"Trainer": {"tolerations": [{"key": "gpu", "effect": "NoSchedule"}]}},
        }
    )
    common = {
        "pvcMount": [
            {
                "constant": "photos",
                "mountPath": "/mnt/photos",
                "subPath": "flowers",
                "pvcNameParameter": {"runtimeValue": {"constant": "photos"}},
            }
        ],
        "secretAsEnv": [
            {
                "secretName": "storage",
                "secretNameParameter": {"runtimeValue": {"constant": "storage"}},
                "keyToEnv": [{"secretKey": "accesskey", "envVar": "AWS_ACCESS_KEY_ID"}],
            }
        ],
        "nodeSelector": {"labels": {"disk": "ssd"}},
        "emptyDirMounts": [
            {
                "volumeName": "graft-shm",
                "mountPath": "/dev/shm",
                "medium": "Memory",
                "sizeLimit": "2Gi",
            }
        ],
        "imagePullPolicy": "Always",
    }
    assert pod(documents, "ImageExampleGen") == common
    tolerated = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod(documents, "Trainer") == {**common, "tolerations": tolerated}


def test_an_unknown_stage_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"kubeflow.stages.Traner. Did you mean Trainer\?"):
        packed({"stages": {"Traner": {}}})


def test_the_same_input_gives_the_same_bytes() -> None:
    once = package(spec(), Kubeflow(), DEFAULTS, {}, (), ())
    assert once == package(spec(), Kubeflow(), dict(reversed(DEFAULTS.items())), {}, (), ())


def test_what_is_not_given_for_a_stage_is_taken_from_all() -> None:
    common = Resources(cpu_limit="2", memory_limit="4Gi")
    own = Resources(memory_limit="8Gi")
    assert merged(common, own) == Resources(cpu_limit="2", memory_limit="8Gi")
    assert merged(common, None) == common


@pytest.mark.parametrize(
    ("quantity", "gigabytes", "number"),
    [("500m", False, 0.5), ("4", False, 4.0), ("1G", True, 1.0), ("1Gi", True, 1.073741824)],
)
def test_quantities_become_numbers(quantity: str, gigabytes: bool, number: float) -> None:
    assert in_units(quantity, gigabytes) == pytest.approx(number)
