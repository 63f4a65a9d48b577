"""The folder that TF Serving watches: its versions, what each one is, and adding one.

On this machine's file systems a version appears by a rename, whole or not at all. On others, such
as `gs://`, where no folder can be renamed at once, it counts from the moment its `saved_model.pb`
is there, which is copied last and removed first: without that file TF Serving cannot load a
version, goes on with what it has and tries again (`LoaderHarness::Load` and
`AvailabilityPreservingPolicy` in its `core`).

Knows nothing of TFX, so that the command line can ask what is served without importing it.
"""

import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.atomic import publish, remove, write_text, written_aside
from components.digests import folder_digest
from components.errors import InputError
from components.features import LABEL_VOCABULARY
from components.places import (
    ASIDE_PREFIX,
    Place,
    RemotePath,
    copy_file,
    copy_folder,
    to_local,
    to_place,
)
from components.pusher.manifest import (
    MANIFEST,
    SIGNATURE,
    Manifest,
    find_faults,
    find_serving_faults,
    is_ours,
    list_files,
    read_manifest,
    write_manifest,
)

SAVED_MODEL = "saved_model.pb"
MODELS_CONFIG = "models.config"


def versions(directory: str | Place) -> list[int]:
    """Returns the versions that a server can load, ascending; empty where the folder is missing.

    Raises:
        InputError: the folder is on another file system, which cannot be asked.
    """
    entries = _entries(to_place(directory))
    return sorted(
        int(entry.name)
        for entry in entries
        if _is_version(entry.name) and (entry / SAVED_MODEL).is_file()
    )


def _entries(directory: Place) -> list[Place]:
    """Returns what is in the folder; nothing where it is missing."""
    if isinstance(directory, Path):
        return list(directory.iterdir()) if os.path.isdir(directory) else []
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"Expected push.directory to be a folder that can be read. Received: {directory} "
            f"({error.strerror}). Correct it, or mend credentials and network."
        ) from error


def newest(directory: str | Place) -> Manifest | None:
    """Returns the manifest of the highest version, which is the one that TF Serving serves.

    A version that something else than Graft pushed has no manifest and gives one with empty fields.
    """
    found = versions(directory)
    return read(directory, found[-1]) if found else None


def read(directory: str | Place, version: int) -> Manifest:
    """Returns the manifest of a version, with empty fields for a foreign one."""
    found = read_manifest(to_place(directory) / str(version))
    return found or Manifest(version, "", "", "", 0.0)


def labels(directory: str | Place, manifest: Manifest) -> list[str]:
    """Returns the classes of a served version; empty where it does not tell them."""
    return read_labels(to_place(directory) / str(manifest.version))


def read_labels(model: Place) -> list[str]:
    """Returns the classes of a SavedModel; empty where it does not tell them."""
    try:
        text = (model / "assets" / LABEL_VOCABULARY).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    # Not by splitlines, which splits within names at further characters.
    return [line for line in text.split("\n") if line]


def withdrawn(directory: str | Place) -> tuple[str, ...]:
    """Returns the digests of models that rollbacks took away, by our newest readable manifest."""
    for version in reversed(versions(directory)):
        found = read_manifest(to_place(directory) / str(version))
        if found:
            return found.withdrawn
    return ()


def model_digests(directory: str | Place) -> set[str]:
    """Returns the digests of the models that any version holds."""
    return {read(directory, version).model_digest for version in versions(directory)}


def holds(directory: str | Place, manifest: Manifest, model_digest: str) -> bool:
    """Says whether a served version is, file by file, the model of a digest."""
    version = to_place(directory) / str(manifest.version)
    return folder_digest(version, leaving_out=(MANIFEST, SIGNATURE)) == model_digest


def push(
    model: str | Place,
    directory: str | Place,
    model_digest: str,
    model_uri: str,
    baseline_uri: str,
    facts: Mapping[str, Any] | None = None,
    signing_key: Path | None = None,
) -> Manifest:
    """Copies a SavedModel into a new version, which appears whole or not at all; see the module.

    What a push that was killed has left behind is removed first.

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
        labels=tuple(read_labels(to_place(model))),
        facts=facts or {},
        withdrawn=withdrawn(directory),
    )
    return _add_version(to_place(model), to_place(directory), manifest, signing_key)


def roll_back(directory: str | Place, to: int | None, signing_key: Path | None = None) -> Manifest:
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
    directory = to_place(directory)
    found = versions(directory)
    current = newest(directory)
    if current is None:
        raise InputError(
            f"Expected a served model. Received: no version in {directory}. Call graft run."
        )
    target = _choose(directory, found, current, to)
    folder = directory / str(target.version)
    # A copy is signed anew, so only what was signed by the same key may be copied.
    faults = find_serving_faults(folder, signing_key) if signing_key else find_faults(folder)
    is_same = target.model_digest == current.model_digest
    if is_same and not find_faults(directory / str(current.version)):
        raise InputError(
            f"Expected a version of another model. Received: {target.version}, whose model is "
            f"served already, as {current.version}."
        )
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


def prune(directory: str | Place, keep: int) -> list[int]:
    """Removes Graft's oldest versions, each out of sight at once; returns those that went.

    What counts are models: of each of the last ones stay the newest version, and those that it was
    pushed as; other copies, which rollbacks made, go.

    Args:
        directory: the folder that TF Serving watches.
        keep: how many of the last models stay, at least 1. Versions of others are left alone.
    """
    directory = to_place(directory)
    _remove_leftovers(directory)
    found = {one: read_manifest(directory / str(one)) for one in versions(directory)}
    ours = {version: manifest for version, manifest in found.items() if manifest}
    newest_of = {manifest.model_digest: version for version, manifest in ours.items()}
    kept = sorted(newest_of.values())[-keep:]
    gone = [
        version
        for version, manifest in ours.items()
        if newest_of[manifest.model_digest] not in kept
        or (version not in kept and manifest.copy_of is not None)
    ]
    for version in gone:
        _remove(directory / str(version))
    return gone


def write_models_config(directory: str | Place, name: str) -> None:
    """Writes a configuration of TF Serving in which the versions to ask for have labels.

    `stable` is what is served, and `previous` the last other model.

    Source: https://www.tensorflow.org/tfx/serving/serving_config, `ModelServerConfig` as text.

    Args:
        directory: the folder that TF Serving watches.
        name: the model's, under which it is asked for; see `base_path`.
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
    base = base_path(directory, name)
    text = (
        "model_config_list {\n  config {\n"
        f'    name: "{name}"\n    base_path: "{base}"\n    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{{loaded} }} }}\n{marks}\n  }}\n}}\n"
    )
    write_text(to_place(directory) / MODELS_CONFIG, text)


def base_path(directory: str | Place, name: str) -> str:
    """Returns where a server finds the folder: `/models/NAME`, or the URI that it reads itself."""
    place = to_place(directory)
    return f"/models/{name}" if to_local(place) else str(place)


def _add_version(
    model: Place, directory: Place, manifest: Manifest, signing_key: Path | None
) -> Manifest:
    if isinstance(directory, RemotePath):
        return _add_remotely(model, directory, manifest, signing_key)
    with written_aside(directory) as aside:
        if isinstance(model, Path):
            shutil.copytree(model, aside, dirs_exist_ok=True)
        else:
            copy_folder(model, aside)
        version = _next_version(directory)
        manifest = replace(manifest, version=version, files=list_files(aside))
        write_manifest(aside, manifest, signing_key)
        publish(aside, directory / str(version))
    return manifest


def _add_remotely(
    model: Place, directory: RemotePath, manifest: Manifest, signing_key: Path | None
) -> Manifest:
    """Copies the manifest first, by which what a kill leaves is known, and the graph last."""
    _remove_leftovers(directory)
    directory.mkdir()
    version = _next_version(directory)
    folder = directory / str(version)
    manifest = replace(manifest, version=version, files=list_files(model))
    # Renamed from here, as not every file system shows a file only when it is whole.
    graph = directory / f"{ASIDE_PREFIX}{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        write_manifest(folder, manifest, signing_key)
        copy_folder(model, folder, leaving_out=(SAVED_MODEL, MANIFEST, SIGNATURE))
        copy_file(model / SAVED_MODEL, graph)
        graph.rename(folder / SAVED_MODEL)
    except BaseException:
        with suppress(OSError):
            _remove(folder)
        with suppress(OSError):
            graph.unlink()
        raise
    return manifest


def _remove(version: Place) -> None:
    """Removes a version so that nobody sees half of it as one."""
    if isinstance(version, Path):
        remove(version)
        return
    (version / SAVED_MODEL).unlink(missing_ok=True)
    version.remove_folder()


def _remove_leftovers(directory: Place) -> None:
    """Removes what killed pushes left on a file system without renames of folders.

    On this machine `written_aside` does it. There are no locks there, so only one pipeline at a
    time may push into a folder. What others are copying has no manifest of ours and stays.
    """
    if isinstance(directory, Path):
        return
    for entry in _entries(directory):
        with suppress(OSError):
            if entry.name.startswith(ASIDE_PREFIX):
                entry.unlink()
            elif _is_version(entry.name) and _is_half_pushed(entry):
                _remove(entry)


def _is_half_pushed(version: Place) -> bool:
    names = [entry.name for entry in version.iterdir()]
    begun = all(is_ours(name) or name.startswith(ASIDE_PREFIX) for name in names)
    return SAVED_MODEL not in names and (MANIFEST in names or begun)


def _choose(directory: Place, found: list[int], current: Manifest, to: int | None) -> Manifest:
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


def _next_version(directory: Place) -> int:
    numbers = [int(entry.name) for entry in _entries(directory) if entry.name.isdecimal()]
    return max(int(time.time()), max(numbers, default=0) + 1)
