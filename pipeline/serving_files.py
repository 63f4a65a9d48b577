"""`graft serving`: files to serve a model with, with the real names and paths in them.

None of them was run where this was written, which has no container engine. They are checked against
Kubernetes' schemas and TF Serving's own messages in tests.
"""

import shlex
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from components.atomic import write_text
from components.errors import InputError
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
    contents = render(config.name, Path(config.push.directory).resolve(), folder.resolve())
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


def render(name: str, directory: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Returns by file name what a file is for, and its text.

    Args:
        name: of the pipeline, and of the model.
        directory: `push.directory`, absolute.
        folder: where the files will stand, absolute.
    """
    image = f"tensorflow/serving:{metadata.version('tensorflow')}"
    arguments = _arguments(name)
    return {
        "docker-run.sh": ("one server on this machine", _docker(name, image, directory, folder)),
        "compose.yaml": (
            "the same by Docker Compose",
            _to_yaml(_compose(name, image, directory, folder)),
        ),
        "kubernetes.yaml": (
            "volume claim, batching, deployment, service and autoscaler for Kubernetes",
            "---\n".join(_to_yaml(one) for one in _kubernetes(name, image, arguments)),
        ),
        "kserve.yaml": ("an InferenceService for KServe", _to_yaml(_kserve(name))),
        BATCHING: ("how TF Serving puts requests together", _batching()),
    }


def _arguments(name: str) -> list[str]:
    return [
        f"--model_config_file=/models/{name}/{served.MODELS_CONFIG}",
        f"--model_config_file_poll_wait_seconds={POLL}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file=/serving/{BATCHING}",
    ]


def _docker(name: str, image: str, directory: Path, folder: Path) -> str:
    lines = [
        f"exec docker run --rm --name {name} -p {GRPC}:{GRPC} -p {REST}:{REST}",
        f"  -v {shlex.quote(f'{directory}:/models/{name}:ro')}",
        f"  -v {shlex.quote(f'{folder}:/serving:ro')}",
        f"  {image}",
        *(f"  {argument}" for argument in _arguments(name)),
    ]
    return "#!/bin/sh\n" + " \\\n".join(lines) + "\n"


def _compose(name: str, image: str, directory: Path, folder: Path) -> dict[str, Any]:
    # Compose takes a dollar sign for a variable, doubled for itself.
    places = [str(place).replace("$", "$$") for place in (directory, folder)]
    service = {
        "image": image,
        "command": _arguments(name),
        "ports": [f"{GRPC}:{GRPC}", f"{REST}:{REST}"],
        "volumes": [
            {"type": "bind", "source": place, "target": target, "read_only": True}
            for place, target in zip(places, (f"/models/{name}", "/serving"), strict=True)
        ],
        "restart": "unless-stopped",
    }
    return {"name": f"{name}-serving", "services": {name: service}}


def _kubernetes(name: str, image: str, arguments: list[str]) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "serving"}

    def meta(kind: str) -> dict[str, Any]:
        return {"name": f"{name}-{kind}", "labels": labels}

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
                "spec": _pod(name, image, arguments),
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
    return [claim, batching, deployment, service, scaler]


def _pod(name: str, image: str, arguments: list[str]) -> dict[str, Any]:
    # TF Serving answers so only when a version of the model is loaded.
    status = {"httpGet": {"path": f"/v1/models/{name}", "port": "rest"}}
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
        "volumeMounts": [
            {"name": "models", "mountPath": f"/models/{name}", "readOnly": True},
            {"name": "batching", "mountPath": "/serving", "readOnly": True},
        ],
    }
    volumes = [
        {
            "name": "models",
            "persistentVolumeClaim": {"claimName": f"{name}-models", "readOnly": True},
        },
        {"name": "batching", "configMap": {"name": f"{name}-batching"}},
    ]
    return {"containers": [container], "volumes": volumes}


def _scaling(name: str) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": LOAD}
    return {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": f"{name}-serving",
        },
        "minReplicas": REPLICAS,
        "maxReplicas": MOST_REPLICAS,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }


def _kserve(name: str) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": "tensorflow"},
        "storageUri": f"pvc://{name}-models",
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
