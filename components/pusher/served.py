"""The folder that TF Serving watches: its versions, what each one is, and adding one atomically.

Knows nothing of TFX, so that the command line can ask what is served without importing it.
"""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.atomic import publish, remove, write_text, written_aside
from components.digests import folder_digest
from components.errors import InputError
from components.features import LABEL_VOCABULARY
from components.pusher.manifest import (
    MANIFEST,
    SIGNATURE,
    Manifest,
    find_faults,
    is_signed_by,
    list_files,
    read_manifest,
    write_manifest,
)

SAVED_MODEL = "saved_model.pb"
MODELS_CONFIG = "models.config"


def versions(directory: str | Path) -> list[int]:
    """Returns the versions that a server can load, ascending; empty where the folder is missing."""
    directory = Path(directory)
    if not os.path.isdir(directory):
        return []
    return sorted(
        int(entry.name)
        for entry in directory.iterdir()
        if _is_version(entry.name) and (entry / SAVED_MODEL).is_file()
    )


def newest(directory: str | Path) -> Manifest | None:
    """Returns the manifest of the highest version, which is the one that TF Serving serves.

    A version that something else than Graft pushed has no manifest and gives one with empty fields.
    """
    found = versions(directory)
    return read(directory, found[-1]) if found else None


def read(directory: str | Path, version: int) -> Manifest:
    """Returns the manifest of a version, with empty fields for a foreign one."""
    found = read_manifest(Path(directory) / str(version))
    return found or Manifest(version, "", "", "", 0.0)


def labels(directory: str | Path, manifest: Manifest) -> list[str]:
    """Returns the classes of a served version; empty where it does not tell them."""
    return read_labels(Path(directory) / str(manifest.version))


def read_labels(model: Path) -> list[str]:
    """Returns the classes of a SavedModel; empty where it does not tell them."""
    try:
        text = (model / "assets" / LABEL_VOCABULARY).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    # Not by splitlines, which splits within names at further characters.
    return [line for line in text.split("\n") if line]


def withdrawn(directory: str | Path) -> tuple[str, ...]:
    """Returns the digests of models that rollbacks took away, by our newest readable manifest."""
    for version in reversed(versions(directory)):
        found = read_manifest(Path(directory) / str(version))
        if found:
            return found.withdrawn
    return ()


def model_digests(directory: str | Path) -> set[str]:
    """Returns the digests of the models that any version holds."""
    return {read(directory, version).model_digest for version in versions(directory)}


def holds(directory: str | Path, manifest: Manifest, model_digest: str) -> bool:
    """Says whether a served version is, file by file, the model of a digest."""
    version = Path(directory) / str(manifest.version)
    return folder_digest(version, leaving_out=(MANIFEST, SIGNATURE)) == model_digest


def push(
    model: str | Path,
    directory: str | Path,
    model_digest: str,
    model_uri: str,
    baseline_uri: str,
    facts: Mapping[str, Any] | None = None,
    signing_key: Path | None = None,
) -> Manifest:
    """Copies a SavedModel into a new version: aside, flushed to disk, then renamed.

    Whenever it is killed, the folder shows the new version whole or not at all.

    Args:
        model: folder of the SavedModel.
        directory: the folder that TF Serving watches; made if missing.
        model_digest: see `Manifest`.
        model_uri: see `Manifest`.
        baseline_uri: see `Manifest`.
        facts: see `Manifest`. Default: none.
        signing_key: see `manifest.write_manifest`. Default: not signed.

    Returns:
        The manifest of the new version, whose number is above all others even if clocks jump back.
    """
    manifest = Manifest(
        version=0,
        model_digest=model_digest,
        model_uri=model_uri,
        baseline_uri=baseline_uri,
        pushed_at=time.time(),
        labels=tuple(read_labels(Path(model))),
        facts=facts or {},
        withdrawn=withdrawn(directory),
    )
    return _add_version(Path(model), Path(directory), manifest, signing_key)


def roll_back(directory: str | Path, to: int | None, signing_key: Path | None = None) -> Manifest:
    """Serves an earlier version again, as a new version on top, since servers take the highest.

    The model that was served is withdrawn: it is not pushed again until a rollback returns to it.

    Args:
        directory: the folder that TF Serving watches.
        to: the version; None for the last one before that is another model.
        signing_key: see `manifest.write_manifest`. Default: not signed.

    Returns:
        The manifest of the new version.

    Raises:
        InputError: there is no such version, or its files are not those that were pushed.
    """
    directory = Path(directory)
    found = versions(directory)
    current = newest(directory)
    if current is None:
        raise InputError(
            f"Expected a served model. Received: no version in {directory}. Call graft run."
        )
    target = _choose(directory, found, current, to)
    folder = directory / str(target.version)
    faults = find_faults(folder)
    is_same = target.model_digest == current.model_digest
    if is_same and not find_faults(directory / str(current.version)):
        raise InputError(
            f"Expected a version of another model. Received: {target.version}, whose model is "
            f"served already, as {current.version}."
        )
    # A copy would be signed anew, so only what was signed by the same key may be copied.
    if signing_key and not faults and not is_signed_by(folder, signing_key):
        faults = [f"{SIGNATURE} is missing or is not of push.signing_key."]
    if faults:
        others = ", ".join(str(one) for one in found if one != target.version)
        raise InputError(
            f"Expected version {target.version} as it was pushed. Received: {' '.join(faults)} "
            f"Choose another by --to: {others}."
        )
    gone = {*target.withdrawn, *withdrawn(directory), current.model_digest}
    manifest = replace(
        target,
        pushed_at=time.time(),
        copy_of=target.origin,
        withdrawn=tuple(sorted(gone - {target.model_digest, ""})),
    )
    return _add_version(directory / str(target.version), directory, manifest, signing_key)


def prune(directory: str | Path, keep: int) -> list[int]:
    """Removes Graft's oldest versions, each out of sight at once; returns those that went.

    Args:
        directory: the folder that TF Serving watches.
        keep: how many of the newest stay, at least 1. Versions of others are left alone.
    """
    directory = Path(directory)
    ours = [one for one in versions(directory) if read_manifest(directory / str(one))]
    for version in ours[:-keep]:
        remove(directory / str(version))
    return ours[:-keep]


def write_models_config(directory: str | Path, name: str) -> None:
    """Writes a configuration of TF Serving in which the versions to ask for have labels.

    `stable` is what is served, and `previous` the last other model.

    Source: https://www.tensorflow.org/tfx/serving/serving_config, `ModelServerConfig` as text.

    Args:
        directory: the folder that TF Serving watches.
        name: the model's, under which it is asked for; the server finds it at `/models/NAME`.
    """
    found = versions(directory)
    if not found:
        return
    current = read(directory, found[-1])
    others = [one for one in found if read(directory, one).model_digest != current.model_digest]
    labelled = {"stable": found[-1], **({"previous": others[-1]} if others else {})}
    loaded = "".join(f" versions: {version}" for version in sorted(set(labelled.values())))
    marks = "\n".join(
        f'    version_labels {{ key: "{key}" value: {value} }}' for key, value in labelled.items()
    )
    text = (
        "model_config_list {\n  config {\n"
        f'    name: "{name}"\n    base_path: "/models/{name}"\n    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{{loaded} }} }}\n{marks}\n  }}\n}}\n"
    )
    write_text(Path(directory) / MODELS_CONFIG, text)


def _add_version(
    model: Path, directory: Path, manifest: Manifest, signing_key: Path | None
) -> Manifest:
    with written_aside(directory) as aside:
        shutil.copytree(model, aside, dirs_exist_ok=True)
        version = _next_version(directory)
        manifest = replace(manifest, version=version, files=list_files(aside))
        write_manifest(aside, manifest, signing_key)
        publish(aside, directory / str(version))
    return manifest


def _choose(directory: Path, found: list[int], current: Manifest, to: int | None) -> Manifest:
    listed = ", ".join(map(str, found))
    if to is not None:
        if to == current.version:
            raise InputError(
                f"Expected an earlier version. Received: --to {to}, which is served. There are: "
                f"{listed}."
            )
        if to not in found:
            raise InputError(
                f"Expected a version of {directory}. Received: --to {to}. There are: {listed}."
            )
        return read(directory, to)
    taken_back = withdrawn(directory)
    for version in reversed(found[:-1]):
        earlier = read(directory, version)
        # A version of others has no digest, and cannot be verified.
        is_other = earlier.model_digest not in ("", current.model_digest)
        if is_other and earlier.model_digest not in taken_back:
            return earlier
    gone = [one for one in found if read(directory, one).model_digest in taken_back]
    back = f", of which {', '.join(map(str, gone))} were taken back" if gone else ""
    raise InputError(
        f"Expected an earlier version of another model. Received: {listed} in {directory}{back}. "
        "Name one by --to, or push another."
    )


def _is_version(name: str) -> bool:
    """Says whether a name is a number as TF Serving writes it, such as 7 but not 007."""
    return name.isdecimal() and name == str(int(name))


def _next_version(directory: Path) -> int:
    numbers = [int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal()]
    return max(int(time.time()), max(numbers, default=0) + 1)
