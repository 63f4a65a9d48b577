"""`graft serving`: files to serve a model with, with the real names and paths in them.

None of them was run where this was written, which has no container engine. They are checked against
Kubernetes' schemas and TF Serving's own messages in tests.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.atomic import write_text
from components.digests import parts_digest
from components.errors import InputError
from components.places import Place, to_local
from components.pusher import served
from pipeline.config import Config

REST, GRPC = 8501, 8500  # ports of TF Serving
POLL = 30  # seconds after which a server looks for new versions
BATCHING = "batching.conf"
# Larger batches make a CPU no faster, and each photo of one waits for the last.
BATCH, WAIT = 32, 2000  # photos, microseconds
CPU, MEMORY = "1", "2Gi"  # asked of a cluster; twice as much is the limit
REPLICAS, MOST_REPLICAS, LOAD = 2, 10, 70  # the last in per cent of the CPU that is asked for
STORAGE = "10Gi"
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names, RFC 1035 label names.
MAX_NAME = 63
DIGEST = 6  # characters


def write_files(config: Config, folder: Path | None) -> dict[str, Any]:
    """Writes the files; those of an earlier call are replaced.

    Args:
        config: of the pipeline.
        folder: where to; None for `serving` beside the pipeline's metadata.

    Returns:
        `folder` and `files`, by name what each is for.

    Raises:
        InputError: nothing is served yet, or the folder cannot be written.
    """
    if not served.versions(config.push.directory):
        raise InputError(
            f"Expected a served model. Received: no version in {config.push.directory}. Call graft "
            "run first."
        )
    folder = folder or config.home / "serving"
    contents = render(config.name, config.push.directory, folder.resolve(), config.serving_image)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (_, text) in contents.items():
            write_text(folder / name, text)
    except OSError as error:
        raise InputError(
            f"Expected a folder that can be written. Received: {folder} ({error.strerror}). Choose "
            "another by --output."
        ) from error
    files = {name: purpose for name, (purpose, _) in contents.items()}
    return {"folder": str(folder), "files": files}


def render(name: str, directory: Place, folder: Path, image: str) -> dict[str, tuple[str, str]]:
    """Returns by file name what a file is for, and its text.

    Args:
        name: of the pipeline, and of the model.
        directory: `push.directory`. A server reads one on an object store itself, so that nothing
            is mounted.
        folder: where the files will stand, absolute.
        image: of TF Serving.
    """
    arguments = _arguments(served.base_path(directory, name))
    local = to_local(directory)
    mounts = {str(local.resolve()): f"/models/{name}"} if local else {}
    mounts[str(folder)] = "/serving"
    remote = None if local else str(directory)
    return {
        "docker-run.sh": ("one server on this machine", _docker(name, image, arguments, mounts)),
        "compose.yaml": (
            "the same by Docker Compose",
            _to_yaml(_compose(name, image, arguments, mounts)),
        ),
        "kubernetes.yaml": (
            "volume claim, batching, deployment, service and autoscaler for Kubernetes"
            if local
            else "batching, deployment, service and autoscaler for Kubernetes",
            "---\n".join(
                _to_yaml(one) for one in _kubernetes(name, image, arguments, local is not None)
            ),
        ),
        "kserve.yaml": ("an InferenceService for KServe", _to_yaml(_kserve(name, remote))),
        BATCHING: ("how TF Serving puts requests together", _batching()),
    }


def _arguments(base_path: str) -> list[str]:
    return [
        f"--model_config_file={base_path}/{served.MODELS_CONFIG}",
        f"--model_config_file_poll_wait_seconds={POLL}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file=/serving/{BATCHING}",
    ]


def _docker(name: str, image: str, arguments: list[str], mounts: Mapping[str, str]) -> str:
    lines = [
        f"exec docker run --rm --name {name} -p {GRPC}:{GRPC} -p {REST}:{REST}",
        *(f"  -v {shlex.quote(f'{place}:{target}:ro')}" for place, target in mounts.items()),
        f"  {image}",
        *(f"  {shlex.quote(argument)}" for argument in arguments),
    ]
    return "#!/bin/sh\n" + " \\\n".join(lines) + "\n"


def _compose(
    name: str, image: str, arguments: list[str], mounts: Mapping[str, str]
) -> dict[str, Any]:
    # Compose takes a dollar sign for a variable, doubled for itself.
    service = {
        "image": image,
        "command": [argument.replace("$", "$$") for argument in arguments],
        "ports": [f"{GRPC}:{GRPC}", f"{REST}:{REST}"],
        "volumes": [
            {
                "type": "bind",
                "source": place.replace("$", "$$"),
                "target": target,
                "read_only": True,
            }
            for place, target in mounts.items()
        ],
        "restart": "unless-stopped",
    }
    return {"name": f"{name}-serving", "services": {name: service}}


def _kubernetes(
    name: str, image: str, arguments: list[str], is_mounted: bool
) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "serving"}

    def meta(kind: str) -> dict[str, Any]:
        return {"name": _resource(name, kind), "labels": labels}

    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta("models"),
        # The pipeline writes it while servers read it.
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": STORAGE}},
        },
    }
    batching = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta("batching"),
        "data": {BATCHING: _batching()},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta("serving"),
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(name, image, arguments, is_mounted),
            },
        },
    }
    ports = [
        {"name": "grpc", "port": GRPC, "targetPort": "grpc"},
        {"name": "rest", "port": REST, "targetPort": "rest"},
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta("serving"),
        "spec": {"selector": labels, "ports": ports},
    }
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta("serving"),
        "spec": _scaling(name),
    }
    return [*([claim] if is_mounted else []), batching, deployment, service, scaler]


def _resource(name: str, kind: str) -> str:
    """Returns the name of a resource, of at most 63 characters, as that of a Service may be.

    A pipeline's name that is too long is cut, and a digest of it keeps it apart from its like.
    """
    whole = f"{name}-{kind}"
    if len(whole) <= MAX_NAME:
        return whole
    digest = parts_digest([name])[:DIGEST]
    return f"{name[: MAX_NAME - len(kind) - DIGEST - 2].rstrip('-')}-{digest}-{kind}"


def _pod(name: str, image: str, arguments: list[str], is_mounted: bool) -> dict[str, Any]:
    # TF Serving answers so only when a version of the model is loaded.
    status = {"httpGet": {"path": f"/v1/models/{name}", "port": "rest"}}
    mounts = [{"name": "batching", "mountPath": "/serving", "readOnly": True}]
    volumes: list[dict[str, Any]] = [
        {"name": "batching", "configMap": {"name": _resource(name, "batching")}}
    ]
    if is_mounted:
        mounts.insert(0, {"name": "models", "mountPath": f"/models/{name}", "readOnly": True})
        claim = {"claimName": _resource(name, "models"), "readOnly": True}
        volumes.insert(0, {"name": "models", "persistentVolumeClaim": claim})
    container = {
        "name": "serving",
        "image": image,
        "args": arguments,
        "ports": [
            {"name": "grpc", "containerPort": GRPC},
            {"name": "rest", "containerPort": REST},
        ],
        "startupProbe": {**status, "periodSeconds": 5, "failureThreshold": 60},
        "readinessProbe": {**status, "periodSeconds": 10, "timeoutSeconds": 5},
        "livenessProbe": {"tcpSocket": {"port": "grpc"}, "periodSeconds": 20},
        "resources": {
            "requests": {"cpu": CPU, "memory": MEMORY},
            "limits": {"cpu": "2", "memory": "4Gi"},
        },
        "volumeMounts": mounts,
    }
    return {"containers": [container], "volumes": volumes}


def _scaling(name: str) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": LOAD}
    return {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": _resource(name, "serving"),
        },
        "minReplicas": REPLICAS,
        "maxReplicas": MOST_REPLICAS,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }


def _kserve(name: str, remote: str | None) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": "tensorflow"},
        "storageUri": remote or f"pvc://{_resource(name, 'models')}",
        "resources": {
            "requests": {"cpu": CPU, "memory": MEMORY},
            "limits": {"cpu": "2", "memory": "4Gi"},
        },
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "predictor": {"minReplicas": REPLICAS, "maxReplicas": MOST_REPLICAS, "model": model}
        },
    }


def _batching() -> str:
    values = {
        "max_batch_size": BATCH,
        "batch_timeout_micros": WAIT,
        "max_enqueued_batches": 100,
        "num_batch_threads": 2,
    }
    return "".join(f"{key} {{ value: {value} }}\n" for key, value in values.items())


def _to_yaml(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
