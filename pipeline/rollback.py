"""`graft rollback` and `graft verify`: what is served is taken back, and checked file by file."""

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.places import Place
from components.pusher import served
from components.pusher.manifest import find_faults
from pipeline.config import Config
from pipeline.lock import run_lock

ROLLBACKS = "rollbacks.jsonl"  # beside the metadata; one a line


def roll_back(config: Config, to: int | None) -> dict[str, Any]:
    """Serves an earlier version again, and writes that down.

    Args:
        config: of the pipeline.
        to: the version; None for the last one before that is another model.

    Returns:
        `from`, the version that was served; `to`, the one whose model is served again; `version`,
        its new number; `served`, its folder; `seconds`.

    Raises:
        InputError: see `served.roll_back`.
        GraftError: a run is under way.
    """
    begun = time.monotonic()
    directory = config.push.directory
    if not config.metadata_path.is_file():
        # Elsewhere nobody would find what was done written down.
        raise InputError(
            f"Expected a pipeline that has run. Received: no {config.metadata_path}. Correct "
            "runtime.root, or call graft run."
        )
    with run_lock(config.lock_path):
        before = served.newest(directory)
        manifest = served.roll_back(directory, to, config.push.signing_key)
        served.write_models_config(directory, config.name)
        assert before is not None
        told = {"from": before.version, "to": manifest.origin, "version": manifest.version}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        config.home.mkdir(parents=True, exist_ok=True)
        with open(config.home / ROLLBACKS, "a", encoding="utf-8") as file:
            file.write(json.dumps({"at": now, **told}) + "\n")
    folder = str(directory / str(manifest.version))
    return {**told, "served": folder, "seconds": round(time.monotonic() - begun, 3)}


def read_rollbacks(home: Path) -> list[dict[str, Any]]:
    """Returns the rollbacks of a pipeline, oldest first: `at`, `from`, `to`, `version`."""
    try:
        lines = (home / ROLLBACKS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def verify(folder: Place, public_key: Path | None) -> dict[str, Any]:
    """Compares a served version with what was pushed.

    Args:
        folder: of a version, or the folder of versions, of which the highest is meant.
        public_key: see `manifest.find_faults`.

    Returns:
        `version` (its folder), `faults` (sentences, empty where it is as it was pushed), `files`,
        their number, and `signed`, whether a signature was asked for.

    Raises:
        InputError: there is no version, or the key cannot be used.
    """
    found = served.versions(folder)
    if found:
        folder = folder / str(found[-1])
    if not (folder / served.SAVED_MODEL).is_file():
        raise InputError(
            f"Expected the folder of a served version. Received: {folder}, which has no "
            f"{served.SAVED_MODEL}. Name push.directory or a version in it."
        )
    manifest = served.read_manifest(folder)
    return {
        "version": str(folder),
        "faults": find_faults(folder, public_key),
        "files": len(manifest.files) if manifest else 0,
        "signed": public_key is not None,
    }
