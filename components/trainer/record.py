"""What a training leaves behind for people: figures, curves, notes, beside the model; no Keras."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD_FILE = "training.json"
CURVES_FILE = "curves.svg"
SAMPLES_FILE = "augmented.html"
TENSORBOARD = "tensorboard"  # folder of the logs
SHOWN = (RECORD_FILE, CURVES_FILE, SAMPLES_FILE)  # what is copied to the run's report


def read_record(folder: Path) -> dict[str, Any]:
    """Returns the record of a training; empty where there is none, as of an older version."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        return record
    except (OSError, ValueError):
        return {}


def summarize(record: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Returns what a run's summary tells of its training; None without a record.

    Args:
        record: see `read_record`.
        folder: where the training's files are.

    Returns:
        `stages` (by name: `epochs`, `best_epoch`, `ended`), `kept` (the stage that is served),
        `features` (images whose features were `computed` and `reused`), `tuned` (values by key),
        `notes` (sentences) and `tensorboard` (a folder).
    """
    if not record:
        return None
    return {
        "stages": {
            name: {key: stage[key] for key in ("epochs", "best_epoch", "ended")}
            for name, stage in record["stages"].items()
        },
        **{key: record[key] for key in ("kept", "features", "tuned", "notes")},
        "tensorboard": str(folder / TENSORBOARD),
    }


def copy_shown(folder: Path, report: Path) -> None:
    """Copies record, curves and samples to a run's report, those that there are."""
    for name in SHOWN:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, report / name)
