"""The folder that TF Serving watches: its versions, what each one is, and adding one atomically.

Knows nothing of TFX, so that the command line can ask what is served without importing it.
"""

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

MANIFEST = "graft.json"
ASIDE_PREFIX = ".graft-"  # TF Serving looks only at names that are numbers
SAVED_MODEL = "saved_model.pb"


@dataclass(frozen=True)
class Manifest:
    """What a served version is.

    Attributes:
        version: name of the version's folder.
        model_digest: `digests.folder_digest` of the SavedModel.
        model_uri: the Model artifact it was copied from.
        baseline_uri: the Model artifact it was compared with; empty where there was none.
        pushed_at: seconds since the epoch.
    """

    version: int
    model_digest: str
    model_uri: str
    baseline_uri: str
    pushed_at: float


def versions(directory: str | Path) -> list[int]:
    """Returns the versions that a server can load, ascending; empty where the folder is missing."""
    directory = Path(directory)
    if not directory.is_dir():
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
    if not found:
        return None
    try:
        record = json.loads((Path(directory) / str(found[-1]) / MANIFEST).read_text())
        # The folder's name counts: a version may have been copied by hand.
        return Manifest(**{**record, "version": found[-1]})
    except (OSError, ValueError, TypeError):
        return Manifest(found[-1], "", "", "", 0.0)


def push(
    model: str | Path, directory: str | Path, model_digest: str, model_uri: str, baseline_uri: str
) -> Manifest:
    """Copies a SavedModel into a new version: aside, flushed to disk, then renamed.

    Whenever it is killed, the folder shows the new version whole or not at all.

    Args:
        model: folder of the SavedModel.
        directory: the folder that TF Serving watches; made if missing.
        model_digest: see `Manifest`.
        model_uri: see `Manifest`.
        baseline_uri: see `Manifest`.

    Returns:
        The manifest of the new version, whose number is above all others even if clocks jump back.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    remove_leftovers(directory)
    aside = Path(tempfile.mkdtemp(prefix=ASIDE_PREFIX, dir=directory))
    try:
        shutil.copytree(model, aside / "model")
        version = _next_version(directory)
        manifest = Manifest(version, model_digest, model_uri, baseline_uri, time.time())
        (aside / "model" / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")
        _flush(aside / "model")
        os.rename(aside / "model", directory / str(version))
        _flush_folder(directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return manifest


def remove_leftovers(directory: Path) -> None:
    """Deletes what a killed push left aside; the run lock keeps other pushes away."""
    for leftover in directory.glob(f"{ASIDE_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _is_version(name: str) -> bool:
    """Says whether a name is a number as TF Serving writes it, such as 7 but not 007."""
    return name.isdecimal() and name == str(int(name))


def _next_version(directory: Path) -> int:
    numbers = [int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal()]
    return max(int(time.time()), max(numbers, default=0) + 1)


def _flush(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        _flush_folder(parent)


def _flush_folder(folder: str | Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
