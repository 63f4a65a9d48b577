"""Statistics of what each served model learned from, kept beside the versions.

Drift is told against the data of the model that is served. Kept by the model's digest they are
found after a rollback too, and where no metadata of the run that made it can be asked.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from components.atomic import publish, remove, written_aside
from components.places import ASIDE_PREFIX, Place, RemotePath, copy_folder, to_place

FOLDER = "statistics"  # TF Serving looks at folders that are numbers alone
WHOLE = "WHOLE"  # written last where a folder cannot appear at once


def keep(directory: str | Place, model_digest: str, statistics: str | Path) -> None:
    """Copies statistics beside the versions, whole or not at all, unless they are there.

    Args:
        directory: the folder that TF Serving watches.
        model_digest: of the model that learned from these images.
        statistics: folder of `standard_artifacts.ExampleStatistics`.
    """
    target = to_place(directory) / FOLDER / model_digest
    if find(directory, model_digest):
        return
    if isinstance(target, RemotePath):
        copy_folder(Path(statistics), target)
        (target / WHOLE).write_text("")
        return
    with written_aside(target.parent) as aside:
        shutil.copytree(statistics, aside, dirs_exist_ok=True)
        try:
            publish(aside, target)
        except OSError:
            if not target.is_dir():  # else another push of this model was faster
                raise


def find(directory: str | Place, model_digest: str) -> Place | None:
    """Returns the folder of the statistics of a model, None where none were kept."""
    if not model_digest:
        return None
    target = to_place(directory) / FOLDER / model_digest
    is_whole = (target / WHOLE).is_file() if isinstance(target, RemotePath) else target.is_dir()
    return target if is_whole else None


def copy_to(kept: Place, folder: str | Path) -> None:
    """Copies kept statistics into a folder of this machine, as `keep` was given them."""
    copy_folder(kept, Path(folder), leaving_out=(WHOLE,))


def prune(directory: str | Place, model_digests: Collection[str]) -> None:
    """Removes the statistics of models that no version holds any more."""
    folder = to_place(directory) / FOLDER
    found: list[Place] = list(folder.iterdir()) if folder.is_dir() else []
    for kept in found:
        if kept.name in model_digests or kept.name.startswith(ASIDE_PREFIX):
            continue  # the latter is being written by another push
        if isinstance(kept, RemotePath):
            kept.remove_folder()
        else:
            remove(kept)
