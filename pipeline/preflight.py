"""What can be known to fail before the first stage runs: folders, disk, photos and base."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import InputError
from components.image_example_gen.listing import Listing
from components.image_example_gen.quarantine import path_text
from components.image_example_gen.sources import check_source
from components.places import ASIDE_PREFIX, RemotePath
from components.trainer.labels import check_binary
from pipeline.config import Config
from pipeline.infra_validation import check_engine

if TYPE_CHECKING:
    import keras

SPACE_FACTOR = 3  # examples, their temporary copies while they are written, features and models
SPACE_BASE = 300_000_000  # bytes: metadata, logs and two copies of a model


def check_folders(config: Config) -> Listing:
    """Checks that photos can be read and that outputs can be written.

    Returns:
        The source's listing, so that a large source is not listed once more.

    Raises:
        InputError: naming the value and the mend.
    """
    check_engine(config)
    # Before the source, because an archive is unpacked below runtime.root when it is listed.
    _check_writable(config.home, "runtime.root")
    if isinstance(config.push.directory, RemotePath):
        _check_remote(config.push.directory)
    else:
        _check_writable(config.push.directory, "push.directory")
    listing = check_source(config.source_settings)
    _check_classes(config, listing)
    total = sum(candidate.size for candidate in listing.candidates)
    if not config.metadata_path.is_file():
        # A later run may need next to nothing, as a stage that is cached writes nothing.
        _check_space(config.runtime.root, SPACE_FACTOR * total + SPACE_BASE)
    return listing


def check_base(config: Config) -> None:
    """Loads the base once, so that a wrong one ends the run at its start.

    Found are a wrong file or preset, unreachable weights, a size or precision that the base does
    not take, and a block to fine-tune from that it does not have, or one after which nothing could
    be trained.

    Raises:
        InputError: naming the value and the mend.
    """
    import keras

    from components.trainer.backbones import load_base, pooled_base
    from components.trainer.model import in_precision

    _ = config.resolved_preprocessing  # a preset by name is asked for it here
    settings = config.base.model_dump(mode="json")
    size = config.resolved_image_size
    base = in_precision(load_base(settings, size), config.train.precision)
    pooled_base(base, size, config.head.pooling)
    _check_trainable(base, settings, "fine_tune.layers", config.fine_tune.layers)
    for layers in config.tune.space.fine_tune_layers:
        _check_trainable(base, settings, "tune.space.fine_tune_layers", layers)
    keras.backend.clear_session()


def _check_trainable(
    base: keras.Model, settings: Mapping[str, Any], key: str, layers: int | str
) -> None:
    """Checks that fine-tuning of these layers trains something of the base, unless they are 0."""
    from components.trainer.blocks import first_trainable
    from components.trainer.model import last_trainable, unfreeze

    first = first_trainable(base, settings, layers, key)
    is_trained = layers == 0 or unfreeze(base, first) > 0
    last = None if is_trained else last_trainable(base)
    base.trainable = False
    if is_trained:
        return
    if last is None:
        raise InputError(
            "Expected a base with weights that can be trained; batch normalisation stays as it "
            f"is. Received: {key}={layers} with the base {base.name}, which has none. Write 0."
        )
    count = len(base.layers) - last
    raise InputError(
        f"Expected {key} to reach a layer whose weights can be trained; batch normalisation stays "
        f"as it is. Received: {key}={layers}, the layers of the base {base.name} from "
        f"{base.layers[first].name} on. Its last layer with such weights is "
        f"{base.layers[last].name}: write {count} (layers from the end) or more."
    )


def _check_classes(config: Config, listing: Listing) -> None:
    classes = sorted({candidate.label for candidate in listing.candidates})
    check_binary(config.head.binary, len(classes), classes)
    if config.evaluate.min_recall or config.evaluate.min_precision:
        from components.model_gate.gate import check_classes
        from components.model_gate.limits import Limits

        named = sorted(path_text(label) for label in classes)
        check_classes(Limits.from_json(config.evaluate.limits), named)


def _check_writable(folder: Path, key: str) -> None:
    """Tries to write where the folder stands or will stand, and leaves nothing behind."""
    existing = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise InputError(
            f"Expected a folder that can be written. Received: {key}={folder} "
            f"({existing}: {error.strerror}). Choose another folder, or mend its permissions or "
            "free space."
        ) from error


def _check_remote(folder: RemotePath) -> None:
    """Writes a small file there and removes it."""
    trial = folder / f"{ASIDE_PREFIX}{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        trial.write_bytes(b"\0" * 4096)
        trial.unlink()
    except OSError as error:
        raise InputError(
            f"Expected a folder that can be written. Received: push.directory={folder} "
            f"({error.strerror}). Choose another folder, or mend credentials and network."
        ) from error


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise InputError(
            f"Expected about {needed / 1e6:,.0f} MB of free space for a run. Received: "
            f"runtime.root={folder} with {free / 1e6:,.0f} MB. Free space or set runtime.root."
        )


def _existing(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))
