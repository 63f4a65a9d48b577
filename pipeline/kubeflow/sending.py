"""What is sent to a server: a checked package with the parameters of its runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import InputError, did_you_mean
from pipeline.config import Config
from pipeline.kubeflow.claims import check_claims
from pipeline.kubeflow.client import Access, Sent, Server, Times, version_name
from pipeline.kubeflow.images import check_image, unpinned_warning
from pipeline.kubeflow.package import SCHEMA_VERSION
from pipeline.kubeflow.parameters import BY_NAME, INTEGER, STRING, check, known_names
from pipeline.kubeflow.placement import notes, place
from pipeline.noise import quiet

SOURCE = "data_source"
MEND = "Make it with graft kubeflow compile."


@dataclass(frozen=True)
class Order:
    """What is to be sent, and where.

    Attributes:
        config: the loaded configuration.
        access: how to reach the server.
        packed: the package.
        claims: that its pods mount.
        parameters: the run's own, by name.
        notes: what the user should know.
    """

    config: Config
    access: Access
    packed: bytes
    claims: Sequence[str]
    parameters: Mapping[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns what is sent, as `--dry-run` prints it."""
        kubeflow = self.config.kubeflow
        return {
            "host": self.access.host,
            "namespace": kubeflow.namespace,
            "experiment": kubeflow.experiment or self.config.name,
            "pipeline": self.config.name,
            "version": version_name(self.config.name, self.packed),
            "bytes": len(self.packed),
            "parameters": dict(self.parameters),
            "pipeline_root": kubeflow.pipeline_root,
            "service_account": kubeflow.service_account,
        }


def make_order(
    config: Config,
    access: Access,
    package: Path | None,
    image: str | None,
    parameters: Sequence[str],
) -> Order:
    """Checks all that can be checked without the server.

    Args:
        config: the loaded configuration.
        access: how to reach the server.
        package: a compiled package; None to compile one now.
        image: the image to compile with; None for the configuration's.
        parameters: `NAME=VALUE` each.

    Raises:
        InputError: a wrong package, image or parameter.
    """
    if package is not None and image is not None:
        raise InputError(
            "Expected --package or --image. Received: both, though a package names its image "
            "already. Compile it again with --image."
        )
    if package is None:
        packed, told = _compile(config, image or config.kubeflow.image)
        documents = list(yaml.safe_load_all(packed))
    else:
        packed, documents = _read(package)
        told = _check_package(documents, package, config.name)
    given = read_parameters(parameters, documents[0])
    if SOURCE in given:
        placed = config.data.model_copy(update={"source": given[SOURCE]})
        place(config.model_copy(update={"data": placed}))
    return Order(config, access, packed, claims_of(documents[1:]), given, tuple(told))


def submit(order: Order, dry_run: bool) -> dict[str, Any]:
    """Sends the package and starts a run; with `dry_run` only says what would be sent."""
    result = {**order.to_dict(), "notes": list(order.notes), "dry_run": dry_run}
    if dry_run:
        return result
    server, sent, facts = _send(order)
    run_id = server.start(order.config.name, sent, order.parameters)
    return {**result, **facts, "run_id": run_id}


def schedule(order: Order, times: Times, dry_run: bool) -> dict[str, Any]:
    """Sends the package and makes its recurring run what is asked for; or only says so."""
    result = {**order.to_dict(), **asdict(times), "notes": list(order.notes), "dry_run": dry_run}
    if dry_run:
        return result
    server, sent, facts = _send(order)
    made, is_changed = server.schedule(order.config.name, sent, times, order.parameters)
    return {**result, **facts, "recurring_run_id": made, "is_changed": is_changed}


def _send(order: Order) -> tuple[Server, Sent, dict[str, Any]]:
    """Looks for the claims before anything is sent, then sends; returns what is to be told too."""
    kubeflow = order.config.kubeflow
    unchecked = check_claims(order.claims, kubeflow.namespace, order.access.host)
    server = Server(order.access, kubeflow)
    sent = server.send(order.config.name, order.packed)
    return server, sent, {"notes": [*order.notes, *unchecked], "is_new_version": sent.is_new}


def claims_of(platforms: Sequence[Any]) -> list[str]:
    """Returns the names of the claims that pods mount, of a package's documents after the first."""
    return sorted(
        {
            mount["constant"]
            for platform in platforms
            for pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
            for mount in pod.get("pvcMount", [])
        }
    )


def _compile(config: Config, image: str | None) -> tuple[bytes, list[str]]:
    told = notes(config, image)
    with quiet(Path(os.devnull)):
        from pipeline.kubeflow.compiler import compile_package

        return compile_package(config, image), told


def _read(package: Path) -> tuple[bytes, list[Any]]:
    """Returns a package from a file, and its documents."""
    try:
        packed = package.read_bytes()
        return packed, list(yaml.safe_load_all(packed))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"Expected a package. Received: --package {package}: {str(error).splitlines()[0]}. "
            f"{MEND}"
        ) from error


def _check_package(documents: Sequence[Any], package: Path, name: str) -> list[str]:
    """Raises `InputError` for what is no package of the pipeline; returns notes on its image."""
    spec = documents[0] if documents and isinstance(documents[0], dict) else {}
    version = spec.get("schemaVersion")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"Expected a package of schema version {SCHEMA_VERSION}. Received: --package {package} "
            f"with {version or 'none'}. {MEND}"
        )
    try:
        found = spec["pipelineInfo"]["name"]
        executors = spec["deploymentSpec"]["executors"].values()
        images = sorted({one["container"]["image"] for one in executors if "container" in one})
        claims_of(documents[1:])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"Expected a whole package. Received: --package {package}, in which {error} is missing "
            f"or wrong. {MEND}"
        ) from error
    if found != name:
        raise InputError(
            f"Expected the package of {name}. Received: --package {package} of {found}. Give the "
            "configuration that it was compiled from."
        )
    return [unpinned_warning(image) for image in images if not check_image(image)]


def read_parameters(given: Sequence[str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a run, typed as the package declares them.

    Raises:
        InputError: no `NAME=VALUE`, a name that the package does not have, or a wrong value.
    """
    known = known_names(spec)
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(
                f"Expected --parameter NAME=VALUE. Received: --parameter '{text}'. For example: "
                "--parameter train_epochs=5."
            )
        if name not in known:
            raise InputError(
                f"Expected a parameter of the package. Received: --parameter {text}. "
                f"{did_you_mean(name, known)}There are: {', '.join(known)}."
            )
        values[name] = _typed(name, value, known[name]["parameterType"])
    return values


def _typed(name: str, text: str, kind: str) -> Any:
    if kind == STRING:
        return text
    try:
        value = int(text) if kind == INTEGER else float(text)
    except ValueError as error:
        raise InputError(
            f"Expected a {'whole ' if kind == INTEGER else ''}number. Received: --parameter "
            f"{name}={text}. Correct it."
        ) from error
    return check(BY_NAME[name], value) if name in BY_NAME else value
