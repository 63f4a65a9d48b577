"""What can be known to fail before the first stage runs: folders, disk, photos and base."""

import shutil
import tempfile
from pathlib import Path

from components.errors import InputError
from components.image_example_gen.sources import check_source
from pipeline.config import Config

SPACE_FACTOR = 3  # examples, their temporary copies while they are written, features and models
SPACE_BASE = 300_000_000  # bytes: metadata, logs and two copies of a model


def check_folders(config: Config) -> None:
    """Checks that photos can be read and that outputs can be written.

    Raises:
        InputError: naming the value and the mend.
    """
    listing = check_source(config.data.source)
    _check_writable(config.home, "runtime.root")
    _check_writable(config.push.directory, "push.directory")
    total = sum(candidate.size for candidate in listing.candidates)
    _check_space(config.home, SPACE_FACTOR * total + SPACE_BASE)


def check_base(config: Config) -> None:
    """Loads the base once, so that a wrong file or unreachable weights end the run at its start.

    Raises:
        InputError: naming the value and the mend.
    """
    import keras

    from components.trainer.backbones import load_base

    load_base(config.base.model_dump(mode="json"), config.resolved_image_size)
    keras.backend.clear_session()


def _check_writable(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise InputError(
            f"Expected a folder that can be written. Received: {key}={folder} "
            f"({error.strerror}). Choose another folder, or mend its permissions or free space."
        ) from error


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"Expected about {needed / 1e6:,.0f} MB of free space for this run. Received: "
            f"runtime.root={folder} with {free / 1e6:,.0f} MB. Free space or set runtime.root."
        )
