"""What Kubeflow Pipelines' backend does with a package, restated.

From kubeflow/pipelines at `backend/src/v2`: what a package must be to be taken (`compiler/
argocompiler`), how a task's inputs become an ExecutorInput (`driver/{resolve,container}.go`), when
a result is reused (`cacheutils/cache.go`), and what is done around a task's process
(`component/launcher_v2.go`). Pods have nothing in common but the object store and claims: see
`pod.py`. Loops, conditions, nested pipelines and importers, which no package of ours has, are
refused.
"""

import copy
import hashlib
import itertools
import json
import shutil
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from pod import run_pod

PODS = 2  # at a time; each takes about a core and a gigabyte
OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"
LOCAL_ROOTS = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}
# KubernetesExecutorConfig of kfp-kubernetes 2.16, which the compatible stack does not have.
POD_KEYS = {
    "secretAsVolume",
    "secretAsEnv",
    "pvcMount",
    "nodeSelector",
    "podMetadata",
    "imagePullSecret",
    "imagePullPolicy",
    "configMapAsVolume",
    "configMapAsEnv",
    "activeDeadlineSeconds",
    "fieldPathAsEnv",
    "tolerations",
    "genericEphemeralVolume",
    "nodeAffinity",
    "podAffinity",
    "enabledSharedMemory",
    "emptyDirMounts",
}
Json = dict[str, Any]


class RefusedPackageError(Exception):
    """The backend's compiler does not take the package."""


class TaskError(Exception):
    """A driver or launcher fails its task."""


@dataclass
class Task:
    """One task of a run: `SUCCEEDED`, `CACHED`, `FAILED` or `SKIPPED`, and what it left."""

    state: str
    log: str = ""
    parameters: Json = field(default_factory=dict)
    inputs: dict[str, Json] = field(default_factory=dict)
    outputs: dict[str, Json] = field(default_factory=dict)


class Backend:
    """A backend with its object store, artifacts and cache in a folder.

    Args:
        folder: where the object store is.
        claims: folder by name of a claim.
        environment: of every pod, beside what the package asks for.
        root: where artifacts go.
    """

    def __init__(
        self,
        folder: Path,
        claims: Mapping[str, Path],
        environment: Mapping[str, str],
        root: str = "minio://mlpipeline/v2/artifacts",
    ):
        self.store = folder / "store"
        self._pods = folder / "pods"
        self._claims, self._environment, self._root = claims, environment, root
        self._cache: dict[str, dict[str, Json]] = {}
        self._artifacts = itertools.count(1)
        self._slots = threading.Semaphore(PODS)
        self._runs = 0

    def run(self, package: Path, parameters: Mapping[str, Any] | None = None) -> dict[str, Task]:
        """Runs a package; the tasks by name, in the order in which they ran.

        Raises:
            RefusedPackageError: the compiler refuses it.
        """
        spec, pods = read_package(package)
        values = root_parameters(spec, parameters or {})
        self._runs += 1
        run_id = str(uuid.UUID(int=self._runs))
        running: dict[str, Future[Task]] = {}

        def run_task(name: str) -> Task:
            upstream = spec["root"]["dag"]["tasks"][name].get("dependentTasks", [])
            done = {one: running[one].result() for one in upstream}
            if any(task.state in ("FAILED", "SKIPPED") for task in done.values()):
                return Task("SKIPPED")
            with self._slots:
                return self._run_task(spec, pods, name, values, done, run_id)

        names = in_order(spec)
        with ThreadPoolExecutor(len(names)) as pool:
            for name in names:
                running[name] = pool.submit(run_task, name)
        return {name: task.result() for name, task in running.items()}

    def _run_task(
        self, spec: Json, pods: Json, name: str, values: Json, tasks: dict[str, Task], run_id: str
    ) -> Task:
        task = spec["root"]["dag"]["tasks"][name]
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        pod = pods.get(component["executorLabel"], {})
        done = Task("FAILED")
        try:
            done.parameters = resolve_parameters(task, component, values)
            done.inputs = resolve_artifacts(task, tasks)
            key = fingerprint(container, component, pod, done)
            is_cached = task.get("cachingOptions", {}).get("enableCache", False)
            if is_cached and key in self._cache:
                done.state, done.outputs = "CACHED", copy.deepcopy(self._cache[key])
                return done
            done.outputs = self._provision(spec, component, name, run_id)
            self._launch(container, pod, done)
            done.state = "SUCCEEDED"
            if is_cached:
                self._cache[key] = copy.deepcopy(done.outputs)
        except TaskError as error:
            done.log += f"\n{error}"
        return done

    def _provision(self, spec: Json, component: Json, name: str, run_id: str) -> dict[str, Json]:
        """Names the outputs, as `provisionOutputs` in driver/driver.go."""
        folder = f"{self._root}/{spec['pipelineInfo']['name']}/{run_id}/{name}/{uuid.uuid4()}"
        defined = component.get("outputDefinitions", {}).get("artifacts", {})
        return {
            key: {
                "uri": f"{folder}/{key}",
                "type": definition["artifactType"],
                "metadata": dict(definition.get("metadata", {})),
            }
            for key, definition in defined.items()
        }

    def _launch(self, container: Json, pod: Json, task: Task) -> None:
        """Fetches inputs, runs the process, stores outputs; `executeV2` in launcher_v2.go."""
        folder = self._pods / uuid.uuid4().hex
        logs = f"{next(iter(task.outputs.values()))['uri']}-logs"
        given = executor_input(task, logs)
        for artifact in task.inputs.values():
            stored = self.store / key_of(artifact["uri"])
            if stored.exists():
                shutil.copytree(stored, inside(folder, artifact["uri"]), dirs_exist_ok=True)
        for artifact in task.outputs.values():
            inside(folder, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(given)
        command = [
            part.replace("{{$}}", text) for part in (*container["command"], *container["args"])
        ]
        status, task.log = run_pod(
            folder,
            command,
            self._mounts(pod),
            {**self._environment, **secret_variables(pod)},
        )
        if status:
            raise TaskError(f"exit status {status}")
        self._collect(folder, task)

    def _mounts(self, pod: Json) -> dict[str, Path]:
        mounts = {}
        for mount in pod.get("pvcMount", []):
            claim = mount["pvcNameParameter"]["runtimeValue"]["constant"]
            if claim not in self._claims:
                raise TaskError(f"persistentvolumeclaim {claim!r} not found")
            mounts[mount["mountPath"]] = self._claims[claim] / mount.get("subPath", "")
        return mounts

    def _collect(self, folder: Path, task: Task) -> None:
        """Merges what the task says of its outputs, and stores them; `uploadOutputArtifacts`."""
        output = read_output(folder / OUTPUT_FILE.lstrip("/"))
        for name, artifact in task.outputs.items():
            for said in output.get("artifacts", {}).get(name, {}).get("artifacts", [])[:1]:
                artifact["uri"] = said.get("uri") or artifact["uri"]
                artifact["metadata"] |= said.get("metadata", {})
            if key_of(artifact["uri"]) is None:
                raise TaskError(f"no storage has the URI {artifact['uri']} of {name}")
            written = inside(folder, artifact["uri"])
            if written.exists():  # components may leave an output out
                self._upload(written, self.store / key_of(artifact["uri"]))
            artifact["name"] = str(next(self._artifacts))

    def _upload(self, written: Path, stored: Path) -> None:
        """Copies files alone: an object store knows no folders."""
        for file in written.rglob("*"):
            if file.is_file():
                target = stored / file.relative_to(written)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)


def read_package(package: Path) -> tuple[Json, Json]:
    """Returns a PipelineSpec and what pods are asked for, by executor.

    Raises:
        RefusedPackageError: either is not what the backend's compiler takes.
    """
    spec, *rest = yaml.safe_load_all(package.read_text())
    if spec.get("schemaVersion") != "2.1.0":
        raise RefusedPackageError(f"schema version {spec.get('schemaVersion')} is not supported")
    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(
            _known_resources(spec["deploymentSpec"]),
            pipeline_spec_pb2.PipelineDeploymentConfig(),
        )
    except json_format.ParseError as error:
        raise RefusedPackageError(str(error)) from error
    if any("container" not in one for one in spec["deploymentSpec"]["executors"].values()):
        raise RefusedPackageError("non-container and non-importer executor not implemented")
    for task in spec["root"]["dag"]["tasks"].values():
        component = spec["components"].get(task["componentRef"]["name"])
        executor = component and spec["deploymentSpec"]["executors"].get(component["executorLabel"])
        if not executor:
            raise RefusedPackageError(f"no executor for {task['componentRef']['name']}")
        container = executor["container"]
        if not container.get("image") or not container.get("command"):
            raise RefusedPackageError("container has no image, or no command for the launcher")
    pods = {}
    for platform in rest:
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, pod in pods.items():
        if set(pod) - POD_KEYS or label not in spec["deploymentSpec"]["executors"]:
            raise RefusedPackageError(f"unknown field for {label}: {set(pod) - POD_KEYS}")
    return spec, pods


def _known_resources(deployment: Json) -> Json:
    """Leaves out resources as text, where the installed protocol is older than they are."""
    resources = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
    if "resource_cpu_limit" in resources.DESCRIPTOR.fields_by_name:
        return deployment
    deployment = copy.deepcopy(deployment)
    for executor in deployment["executors"].values():
        executor.get("container", {}).pop("resources", None)
    return deployment


def in_order(spec: Json) -> list[str]:
    """Returns the tasks so that each follows those that it depends on."""
    tasks, ordered = spec["root"]["dag"]["tasks"], []
    while len(ordered) < len(tasks):
        ready = [
            name
            for name, task in tasks.items()
            if name not in ordered and set(task.get("dependentTasks", [])) <= set(ordered)
        ]
        if not ready:
            raise RefusedPackageError("the tasks depend on each other in a circle")
        ordered += ready
    return ordered


def root_parameters(spec: Json, given: Mapping[str, Any]) -> Json:
    """Returns the run's parameters with defaults; unknown names are refused by the API server."""
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    if set(given) - set(defined):
        raise RefusedPackageError(f"unknown parameters {set(given) - set(defined)}")
    missing = [
        name for name, one in defined.items() if "defaultValue" not in one and name not in given
    ]
    if missing:
        raise RefusedPackageError(f"no value for {missing}")
    return {name: given.get(name, one.get("defaultValue")) for name, one in defined.items()}


def resolve_parameters(task: Json, component: Json, values: Json) -> Json:
    """Returns a task's parameters; `resolveInputs` in driver/resolve.go. Numbers become doubles."""
    defined = component.get("inputDefinitions", {}).get("parameters", {})
    resolved = {}
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        if name not in defined:
            raise TaskError(f"parameter {name} is not defined by the component")
        if "runtimeValue" in source:
            value = source["runtimeValue"]["constant"]
        elif "componentInputParameter" in source:
            value = values[source["componentInputParameter"]]
        else:
            raise TaskError(f"parameter {name} from {sorted(source)}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number != defined[name]["parameterType"].startswith("NUMBER"):
            raise TaskError(f"parameter {name} is no {defined[name]['parameterType']}")
        resolved[name] = float(value) if is_number else value
    return resolved


def resolve_artifacts(task: Json, tasks: Mapping[str, Task]) -> dict[str, Json]:
    """Returns a task's input artifacts, with the empty type that the metadata store gives."""
    resolved = {}
    for name, source in task.get("inputs", {}).get("artifacts", {}).items():
        produced = source["taskOutputArtifact"]
        if produced["producerTask"] not in task.get("dependentTasks", []):
            raise TaskError(f"{produced['producerTask']} is no dependency")
        found = tasks[produced["producerTask"]].outputs[produced["outputArtifactKey"]]
        resolved[name] = {**copy.deepcopy(found), "type": {"instanceSchema": ""}}
    return resolved


def fingerprint(container: Json, component: Json, pod: Json, task: Task) -> str:
    """Returns what a cached result is found by; `GenerateCacheKey` in cacheutils/cache.go."""
    claims = sorted(mount["constant"] for mount in pod.get("pvcMount", []))
    parts = [
        container["image"],
        container["command"],
        container["args"],
        task.parameters,
        {name: artifact["name"] for name, artifact in task.inputs.items()},
        component.get("outputDefinitions", {}),
        claims,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def executor_input(task: Task, logs: str) -> Json:
    """Returns the ExecutorInput that replaces `{{$}}`, the injected output for logs in it."""
    outputs = {name: {"artifacts": [one]} for name, one in task.outputs.items()}
    log = {"uri": logs, "type": {"schemaTitle": "system.Artifact"}, "name": "executor-logs"}
    given = {
        "inputs": {
            "parameterValues": task.parameters,
            "artifacts": {name: {"artifacts": [one]} for name, one in task.inputs.items()},
        },
        "outputs": {
            "artifacts": {**outputs, "executor-logs": {"artifacts": [log]}},
            "outputFile": OUTPUT_FILE,
        },
    }
    message = json_format.ParseDict(given, pipeline_spec_pb2.ExecutorInput())
    return json_format.MessageToDict(message)


def secret_variables(pod: Json) -> dict[str, str]:
    """Returns the variables of a pod's secrets, each with its secret's name as value."""
    return {
        one["envVar"]: secret["secretNameParameter"]["runtimeValue"]["constant"]
        for secret in pod.get("secretAsEnv", [])
        for one in secret["keyToEnv"]
    }


def read_output(path: Path) -> Json:
    """Returns a task's ExecutorOutput, strictly; without a file an empty one.

    The metadata store has no value for null, so that a task that writes one fails.
    """
    if not path.exists():
        return {}
    output: Json = json.loads(path.read_text())
    try:
        json_format.ParseDict(output, pipeline_spec_pb2.ExecutorOutput())
    except json_format.ParseError as error:
        raise TaskError(f"failed to unmarshal ExecutorOutput: {error}") from error
    if has_null(output):
        raise TaskError("unknown type of value: null")
    return output


def has_null(value: Any) -> bool:
    """Says whether there is a null anywhere in JSON."""
    if isinstance(value, dict):
        return any(map(has_null, value.values()))
    return any(map(has_null, value)) if isinstance(value, list) else value is None


def key_of(uri: str) -> str | None:
    """Returns the place of a URI in the object store; None where no storage has it."""
    for scheme in LOCAL_ROOTS:
        if uri.startswith(scheme):
            return uri.replace("://", "/", 1)
    return None


def inside(folder: Path, uri: str) -> Path:
    """Returns where an artifact lies among a pod's folders, seen from outside of it."""
    scheme = next(scheme for scheme in LOCAL_ROOTS if uri.startswith(scheme))
    return folder / LOCAL_ROOTS[scheme].strip("/") / uri.removeprefix(scheme)
