"""Statistics of what each served model learned from, kept beside the versions.

Drift is told against the data of the model that is served. Kept by the model's digest they are
found after a rollback too, and where no metadata of the run that made it can be asked.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from components.atomic import publish, written_aside

FOLDER = "statistics"  # TF Serving looks at folders that are numbers alone


def keep(directory: str | Path, model_digest: str, statistics: str | Path) -> None:
    """Copies statistics beside the versions, whole or not at all, unless they are there.

    Args:
        directory: the folder that TF Serving watches.
        model_digest: of the model that learned from these images.
        statistics: folder of `standard_artifacts.ExampleStatistics`.
    """
    target = Path(directory, FOLDER, model_digest)
    if target.is_dir():
        return
    with written_aside(target.parent) as aside:
        shutil.copytree(statistics, aside, dirs_exist_ok=True)
        publish(aside, target)


def find(directory: str | Path, model_digest: str) -> Path | None:
    """Returns the folder of the statistics of a model, None where none were kept."""
    target = Path(directory, FOLDER, model_digest)
    return target if model_digest and target.is_dir() else None


def prune(directory: str | Path, model_digests: Collection[str]) -> None:
    """Removes the statistics of models that no version holds any more."""
    folder = Path(directory, FOLDER)
    for kept in folder.iterdir() if folder.is_dir() else ():
        if kept.name not in model_digests:
            shutil.rmtree(kept, ignore_errors=True)
