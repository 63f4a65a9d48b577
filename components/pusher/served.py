"""The folder that TF Serving watches: its versions, what each one is, and adding one atomically.

Knows nothing of TFX, so that the command line can ask what is served without importing it.
"""

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from components.atomic import publish, written_aside
from components.digests import folder_digest
from components.features import LABEL_VOCABULARY

MANIFEST = "graft.json"
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
    if not found:
        return None
    try:
        record = json.loads((Path(directory) / str(found[-1]) / MANIFEST).read_text())
        # The folder's name counts: a version may have been copied by hand.
        return Manifest(**{**record, "version": found[-1]})
    except (OSError, ValueError, TypeError):
        return Manifest(found[-1], "", "", "", 0.0)


def labels(directory: str | Path, manifest: Manifest) -> list[str]:
    """Returns the classes of a served version; empty where it does not tell them."""
    path = Path(directory) / str(manifest.version) / "assets" / LABEL_VOCABULARY
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def holds(directory: str | Path, manifest: Manifest, model_digest: str) -> bool:
    """Says whether a served version is, file by file, the model of a digest."""
    version = Path(directory) / str(manifest.version)
    return folder_digest(version, leaving_out=MANIFEST) == model_digest


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
    with written_aside(directory) as aside:
        shutil.copytree(model, aside, dirs_exist_ok=True)
        version = _next_version(directory)
        manifest = Manifest(version, model_digest, model_uri, baseline_uri, time.time())
        (aside / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")
        publish(aside, directory / str(version))
    return manifest


def _is_version(name: str) -> bool:
    """Says whether a name is a number as TF Serving writes it, such as 7 but not 007."""
    return name.isdecimal() and name == str(int(name))


def _next_version(directory: Path) -> int:
    numbers = [int(entry.name) for entry in directory.iterdir() if entry.name.isdecimal()]
    return max(int(time.time()), max(numbers, default=0) + 1)
