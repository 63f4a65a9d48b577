"""Whether a cluster's pods can reach what the configuration names, and where their files go."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from components.errors import InputError
from pipeline.config import Config
from pipeline.config.kubeflow import Volume
from pipeline.kubeflow.images import check_image, unpinned_warning

IMAGE_FOLDER = "/opt/graft"  # where the image keeps this project, and bases that were added to it
POD_FOLDER = "/tmp/graft"  # gone with the pod
# What is in the image, and what the launcher writes to.
TAKEN = ("/bin", "/dev", "/etc", "/gcs", "/lib", "/minio", IMAGE_FOLDER, "/proc", "/s3", "/usr")
# What TensorFlow opens by itself; s3:// and minio:// it does not.
READABLE = ("gs://",)


def place(config: Config) -> Config:
    """Returns the configuration as pods can work by it.

    Without a volume under `runtime.root` each pod keeps features and trainings for itself alone.

    Raises:
        InputError: pods cannot reach something; all that is wrong, a line each.
    """
    faults = list(_faults(config))
    if faults:
        raise InputError("\n".join(faults))
    if _is_on(config.runtime.root, config.kubeflow.volumes):
        return config
    runtime = config.runtime.model_copy(update={"root": Path(POD_FOLDER)})
    return config.model_copy(update={"runtime": runtime})


def notes(config: Config, image: str | None) -> list[str]:
    """Returns what the user of a package should know, a sentence or two each.

    Raises:
        InputError: no registry takes the image's name.
    """
    told = [] if check_image(image) else [unpinned_warning(str(image))]
    if not _is_on(config.runtime.root, config.kubeflow.volumes):
        told.append(
            "runtime.root is on none of kubeflow.volumes: features of the base and the state of a "
            "training are not kept from one pod to the next, so every run extracts them anew."
        )
    if config.push.infra_validator != "none":
        told.append(
            f"push.infra_validator={config.push.infra_validator} is left out, as TFX cannot "
            "compile it for Kubeflow; the serving gate asks the model all the same."
        )
    return told


def _faults(config: Config) -> Iterator[str]:
    volumes = config.kubeflow.volumes
    if not config.name[-1].isalnum():
        yield (
            f"Expected name to end in a letter or digit on Kubeflow. Received: name={config.name}. "
            "Take the last dash away."
        )
    paths = [volume.path for volume in volumes]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield (
            f"Expected one claim for each path. Received: kubeflow.volumes with path={path} twice. "
            "Give one of them another path."
        )
    claims = [volume.claim for volume in volumes]
    for claim in sorted({claim for claim in claims if claims.count(claim) > 1}):
        # A pod names a volume by its claim, and takes a name once.
        yield (
            f"Expected each claim once. Received: kubeflow.volumes with claim={claim} twice. Mount "
            "it once, above both folders."
        )
    for path in paths:
        if any(_is_below(path, taken) or _is_below(taken, path) for taken in TAKEN):
            yield (
                f"Expected a free path for a claim. Received: kubeflow.volumes with path={path}, "
                "which hides what pods need. Choose one below /mnt."
            )
    for key, value in _shared_paths(config):
        if not _is_on(value, volumes):
            yield _not_shared(key, value, volumes, "")
    for key, value in _readable_paths(config):
        if not _is_on(value, volumes) and not _is_below(value, IMAGE_FOLDER):
            yield _not_shared(key, value, volumes, f", or below {IMAGE_FOLDER} in the image")


def _shared_paths(config: Config) -> Iterator[tuple[str, str]]:
    """Yields what stages of one run must see alike."""
    source = config.data.source
    if not source.startswith(READABLE):
        yield "data.source", source
    directory = str(config.push.directory)
    if not directory.startswith(READABLE):
        yield "push.directory", directory
    if config.push.signing_key:
        yield "push.signing_key", str(config.push.signing_key)


def _readable_paths(config: Config) -> Iterator[tuple[str, str]]:
    """Yields what stages only read."""
    base = config.base
    preset = base.preset if base.preset and os.path.isabs(str(base.preset)) else None
    weights = base.weights if isinstance(base.weights, Path) else None
    for key, value in (
        ("path", base.path),
        ("saved_model", base.saved_model),
        ("preset", preset),
        ("weights", weights),
    ):
        if value is not None:
            yield f"base.{key}", str(value)


def _not_shared(key: str, value: str, volumes: Sequence[Volume], besides: str) -> str:
    known = ", ".join(f"{one.path} ({one.claim})" for one in volumes)
    where = f"one of {known}" if known else "one of kubeflow.volumes, of which there are none"
    return (
        f"Expected {key} where every pod of the cluster finds it: below {where}{besides}. "
        f"Received: {key}={value}. Give its absolute path in the pods, and the claim that holds it "
        f"by kubeflow.volumes: [{{claim: NAME, path: {PurePosixPath(value).parent}}}]."
    )


def _is_on(path: str | Path, volumes: Sequence[Volume]) -> bool:
    return any(_is_below(path, volume.path) for volume in volumes)


def _is_below(path: str | Path, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)
