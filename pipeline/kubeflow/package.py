"""Makes what TFX's compiler writes run on open-source Kubeflow Pipelines.

What its backend refuses or ignores is told in docs/kubeflow.md. All of it works on plain data,
since the older of our two stacks has protobuf types that lack what a newer backend reads.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from components.errors import InputError, did_you_mean
from pipeline.config.kubeflow import Kubeflow, Resources
from pipeline.kubeflow.entrypoint import DRIVER_FLAG, MUST_PASS_FLAG, PIPELINE_FLAG
from pipeline.kubeflow.parameters import PARAMETERS

PREFIX = "comp-"  # KFP's own tools cut five characters off a component's name
SCHEMA_VERSION = "2.1.0"
Spec = dict[str, Any]


def package(
    spec: Spec,
    kubeflow: Kubeflow,
    defaults: Mapping[str, Any],
    drivers: Mapping[str, str],
    gates: Collection[str],
    uncached: Collection[str],
) -> bytes:
    """Returns a package of two YAML documents, the same bytes for the same input.

    Args:
        spec: a PipelineSpec as TFX compiles it, as JSON holds it; changed.
        kubeflow: what the pods get.
        defaults: values by name of those of `parameters.PARAMETERS` that runs may override.
        drivers: import path of a driver that runs before a stage's executor, by stage.
        gates: stages that end the run when their verdict is no.
        uncached: stages that look at more than their inputs; `"*"` in it means all.

    Raises:
        InputError: `kubeflow.stages` names no stage.
    """
    _refuse_what_cannot_run(spec)
    spec["schemaVersion"] = SCHEMA_VERSION
    if kubeflow.pipeline_root:  # for runs that are started from the user interface too
        spec["defaultPipelineRoot"] = kubeflow.pipeline_root
    for stage, task in spec["root"]["dag"]["tasks"].items():
        container = _container(spec, stage)
        container.pop("lifecycle", None)
        container["args"] += [PIPELINE_FLAG, spec["pipelineInfo"]["name"]]
        if stage in drivers:
            container["args"] += [DRIVER_FLAG, drivers[stage]]
        if stage in gates:
            container["args"].append(MUST_PASS_FLAG)
        is_cached = stage not in uncached and "*" not in uncached
        task["cachingOptions"] = {"enableCache": is_cached}
    _add_parameters(spec, defaults)
    platform = _dress(spec, kubeflow)
    _rename_components(spec)
    return yaml.safe_dump_all([spec, platform], sort_keys=True, width=100).encode()


def _refuse_what_cannot_run(spec: Spec) -> None:
    """Raises where the backend's compiler would: only containers are written here."""
    executors = spec["deploymentSpec"]["executors"]
    odd = [name for name, executor in executors.items() if "container" not in executor]
    if odd:
        raise ValueError(f"Expected stages in containers alone. Received: {', '.join(odd)}.")


def _container(spec: Spec, stage: str) -> dict[str, Any]:
    label = spec["components"][stage]["executorLabel"]
    container: dict[str, Any] = spec["deploymentSpec"]["executors"][label]["container"]
    return container


def _add_parameters(spec: Spec, defaults: Mapping[str, Any]) -> None:
    """Declares the run's parameters with their defaults, and hands each to its stages."""
    tasks = spec["root"]["dag"]["tasks"]
    declared = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    for parameter in PARAMETERS:
        if parameter.name not in defaults:
            continue
        default = defaults[parameter.name]
        declared[parameter.name] = {
            "parameterType": parameter.kind,
            "defaultValue": default,
            "description": f"The configuration's {parameter.key}.",
            "isOptional": True,
        }
        for stage in parameter.stages:
            if stage in tasks:
                inputs = spec["components"][stage].setdefault("inputDefinitions", {})
                inputs.setdefault("parameters", {})[parameter.name] = {
                    "parameterType": parameter.kind
                }
                given = tasks[stage].setdefault("inputs", {}).setdefault("parameters", {})
                given[parameter.name] = {"componentInputParameter": parameter.name}


def _rename_components(spec: Spec) -> None:
    spec["components"] = {PREFIX + name: one for name, one in spec["components"].items()}
    for task in spec["root"]["dag"]["tasks"].values():
        task["componentRef"]["name"] = PREFIX + task["componentRef"]["name"]


def _dress(spec: Spec, kubeflow: Kubeflow) -> Spec:
    """Gives every stage its resources, and returns the document with all else of its pods."""
    tasks = list(spec["root"]["dag"]["tasks"])
    for stage in kubeflow.stages:
        if stage not in tasks:
            raise InputError(
                f"Expected kubeflow.stages to name stages of this pipeline. Received: "
                f"kubeflow.stages.{stage}. {did_you_mean(stage, tasks)}There are: "
                f"{', '.join(tasks)}."
            )
    pods = {}
    for stage in tasks:
        resources = merged(kubeflow.resources, kubeflow.stages.get(stage))
        asked = dict(_resource_fields(resources))
        if asked:
            _container(spec, stage)["resources"] = asked
        label = spec["components"][stage]["executorLabel"]
        pods[label] = dict(_pod_fields(kubeflow, resources))
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}}


def merged(common: Resources, own: Resources | None) -> Resources:
    """Returns a stage's resources: its own keys over those for all."""
    return common.model_copy(
        update={name: getattr(own, name) for name in own.model_fields_set} if own else {}
    )


def _resource_fields(resources: Resources) -> Iterator[tuple[str, Any]]:
    """Yields the fields of `ResourceSpec`; the numeric ones are what older backends read."""
    for name, field, number in (
        ("cpu_limit", "resourceCpuLimit", "cpuLimit"),
        ("cpu_request", "resourceCpuRequest", "cpuRequest"),
        ("memory_limit", "resourceMemoryLimit", "memoryLimit"),
        ("memory_request", "resourceMemoryRequest", "memoryRequest"),
    ):
        value = getattr(resources, name)
        if value is not None:
            yield field, value
            yield number, in_units(value, gigabytes=name.startswith("memory"))
    if resources.accelerator:
        kind, count = resources.accelerator.type, resources.accelerator.count
        yield (
            "accelerator",
            {"resourceType": kind, "resourceCount": str(count), "type": kind, "count": str(count)},
        )


_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def in_units(quantity: str, gigabytes: bool) -> float:
    """Returns a quantity of Kubernetes as a number: CPUs, or gigabytes of 10^9 bytes."""
    number = quantity.rstrip("mkKMGTi")
    value = float(number) * _UNITS[quantity[len(number) :]]
    return value / 1e9 if gigabytes else value


def _pod_fields(kubeflow: Kubeflow, resources: Resources) -> Iterator[tuple[str, Any]]:
    """Yields the fields of `KubernetesExecutorConfig`, names of claims and secrets in both forms.

    Newer backends read the form of a parameter, older ones the constant.
    """
    if kubeflow.volumes:
        yield (
            "pvcMount",
            [
                {
                    "constant": volume.claim,
                    "mountPath": volume.path,
                    "pvcNameParameter": _constant(volume.claim),
                    **({"subPath": volume.sub_path} if volume.sub_path else {}),
                }
                for volume in kubeflow.volumes
            ],
        )
    if kubeflow.secrets:
        yield (
            "secretAsEnv",
            [
                {
                    "secretName": secret.name,
                    "secretNameParameter": _constant(secret.name),
                    "keyToEnv": [
                        {"secretKey": key, "envVar": variable}
                        for key, variable in secret.keys.items()
                    ],
                }
                for secret in kubeflow.secrets
            ],
        )
    if resources.node_selector:
        yield "nodeSelector", {"labels": dict(resources.node_selector)}
    if resources.tolerations:
        yield (
            "tolerations",
            [
                {name: value for name, value in one.model_dump().items() if value}
                for one in resources.tolerations
            ],
        )
    if kubeflow.shared_memory:
        yield (
            "emptyDirMounts",
            [
                {
                    "volumeName": "graft-shm",
                    "mountPath": "/dev/shm",
                    "medium": "Memory",
                    "sizeLimit": kubeflow.shared_memory,
                }
            ],
        )
    yield "imagePullPolicy", kubeflow.image_pull_policy


def _constant(value: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}
