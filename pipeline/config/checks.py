"""What holds between the keys of a configuration, and between them and the files they name.

Each check yields `Fault`s: the key that is wrong and what to say of it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from components.bases import BASES, GRAPH_FILE
from components.errors import InputError
from components.image_example_gen.sources import (
    LOCAL,
    PATTERN_MARKS,
    compile_group,
    why_missing,
)
from components.places import Place, to_local, to_place
from components.pusher.manifest import load_signing_key
from components.trainer.base_file import SUFFIX, check_fits, inspect_base
from components.trainer.preset_base import check_installed, is_folder
from pipeline.config.document import show
from pipeline.config.messages import Fault
from pipeline.config.model import Config, Splits
from pipeline.config.training import IMAGENET, NO_WEIGHTS, Base, Preprocessing

SHARE_TOLERANCE = 1e-6
FLOAT32 = "float32"
KINDS = ("name", "path", "preset", "saved_model")
# What does not tell how pixels are scaled, and what is known of it all the same.
UNKNOWN_SCALING = {
    "path": "",
    "saved_model": "; TensorFlow Hub's take rescale_0_1",
}


def check_keys(config: Config) -> Iterator[Fault]:
    """Yields what is wrong between keys, looking at no file's content."""
    yield from _check_splits(config.data.splits)
    yield from _check_group(config.data.group)
    yield from _check_base(config.base)
    yield from _check_frozen(config)
    yield from _check_size(config)
    yield from _check_outputs(config)


def check_inputs_exist(config: Config) -> Iterator[Fault]:
    """Yields what is wrong with the files that the configuration names."""
    source = config.data.source
    missing = "" if "://" in source else why_missing(source)
    if missing and not LOCAL.matches(source):
        yield (
            ("data", "source"),
            f"Expected data.source to exist. Received: data.source='{source}', which {missing}. "
            "Correct the path: a folder of class folders, a table, an archive or a pattern of "
            "TFRecord files.",
        )
    if config.push.signing_key:
        # Before hours of training, not after them.
        try:
            load_signing_key(config.push.signing_key)
        except InputError as error:
            yield ("push", "signing_key"), str(error)
    weights = config.base.weights
    if isinstance(weights, Path) and not os.path.isfile(weights):
        yield (
            ("base", "weights"),
            f"Expected base.weights to be an existing file, {IMAGENET} or {NO_WEIGHTS}. Received: "
            f"base.weights='{weights}', which {why_missing(weights) or 'is no file'}. Correct the "
            "path, or put the file there.",
        )
    if config.base.path is not None:
        yield from _check_base_file(config)
    if config.base.preset is not None:
        yield from _check_preset(config)
    folder = config.base.saved_model
    if folder is not None and not os.path.isfile(folder / GRAPH_FILE):
        what = why_missing(folder) or f"has no {GRAPH_FILE}"
        yield (
            ("base", "saved_model"),
            "Expected base.saved_model to be the folder of a SavedModel. Received: "
            f"base.saved_model='{folder}', which {what}. Correct the path, or put the model there.",
        )


def _check_splits(splits: Splits) -> Iterator[Fault]:
    shares = splits.shares()
    total = sum(shares.values())
    if abs(total - 1) > SHARE_TOLERANCE:
        parts = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        yield (
            ("data", "splits"),
            f"Expected the shares in data.splits to add up to 1. Received: {parts}, which add "
            f"up to {total:g}. Change one of them by {1 - total:+g}.",
        )


def _check_group(pattern: str | None) -> Iterator[Fault]:
    try:
        compile_group(pattern or "()")
    except InputError as error:
        yield ("data", "group"), str(error)


def _check_base(base: Base) -> Iterator[Fault]:
    given = {key: value for key in KINDS if (value := getattr(base, key)) is not None}
    if len(given) != 1:
        received = " and ".join(f"base.{key}='{value}'" for key, value in given.items())
        yield (
            ("base",),
            "Expected exactly one of base.name, base.path, base.preset and base.saved_model. "
            f"Received: {received or 'none of them'}. Write base: {{name: MobileNetV2}}, base: "
            f"{{path: FILE{SUFFIX}, preprocessing: …}}, base: {{preset: NAME_OR_FOLDER}} or base: "
            "{saved_model: FOLDER, preprocessing: …}.",
        )
        return
    ((kind, value),) = given.items()
    if kind == "name" and base.preprocessing is not None:
        yield (
            ("base", "preprocessing"),
            "Expected no base.preprocessing with base.name, whose own is "
            f"{BASES[value].preprocessing}. Received: "
            f"base.preprocessing='{base.preprocessing}'. Take the key out.",
        )
    if kind != "name" and base.weights is not None:
        yield (
            ("base", "weights"),
            f"Expected no base.weights with base.{kind}, which holds its weights. "
            f"Received: base.weights='{base.weights}'. Take the key out.",
        )
    if kind in UNKNOWN_SCALING and base.preprocessing is None:
        yield (
            ("base",),
            f"Expected base.preprocessing with base.{kind}: one of "
            f"{', '.join(get_args(Preprocessing))}. Received: none given with base.{kind}='{value}'"
            f". Add how the base's images were scaled when it was trained{UNKNOWN_SCALING[kind]}.",
        )


def _check_frozen(config: Config) -> Iterator[Fault]:
    """Yields what a SavedModel cannot do: it has no layers to train or to convert."""
    if config.base.saved_model is None:
        return
    tuned = {
        ("fine_tune", "layers"): config.fine_tune.layers,
        ("tune", "space", "fine_tune_layers"): list(config.tune.space.fine_tune_layers),
    }
    for key, value in tuned.items():
        if value:
            nothing = "[]" if isinstance(value, list) else "0"
            yield (
                key,
                f"Expected {'.'.join(key)} to be {nothing} with base.saved_model, which is frozen "
                f"only: a SavedModel has no layers that could be trained. Received: "
                f"{'.'.join(key)}={show(value)}. Write {nothing}, or give the base by name, path "
                "or preset.",
            )
    precision = config.train.precision
    if precision != FLOAT32:
        yield (
            ("train", "precision"),
            f"Expected train.precision to be {FLOAT32} with base.saved_model: a SavedModel "
            f"computes as it was saved. Received: train.precision={show(precision)}. Write "
            f"{FLOAT32}, or give the base by name, path or preset.",
        )


def _check_size(config: Config) -> Iterator[Fault]:
    size, name = config.image.size, config.base.name
    if name is not None and size is not None and size < BASES[name].min_size:
        yield (
            ("image", "size"),
            f"Expected image.size to be at least {BASES[name].min_size} pixels, the least that "
            f"{name} takes. Received: image.size={size}. Write image.size: {BASES[name].size}, or "
            "choose another base.",
        )


def _check_outputs(config: Config) -> Iterator[Fault]:
    """Yields outputs that stand among the photos, or where other outputs stand."""
    source, directory, root = config.data.source, config.push.directory, config.runtime.root
    photos = _resolve(to_place(source))
    for section, key, folder in (("push", "directory", directory), ("runtime", "root", root)):
        place = _resolve(folder)
        if place == photos or place.startswith(f"{photos.rstrip('/')}/"):
            where = "equal to" if place == photos else "in"
            yield (
                (section, key),
                f"Expected {section}.{key} outside data.source, where what a run writes would be "
                f"taken for photos. Received: {section}.{key}='{folder}', {where} data.source="
                f"'{source}'. Choose a folder beside the photos.",
            )
    marks = sorted(mark for mark in PATTERN_MARKS if mark in str(root))
    if marks:
        yield (
            ("runtime", "root"),
            "Expected runtime.root without the marks of a pattern, by which TFX finds its files. "
            f"Received: runtime.root='{root}' with {' and '.join(marks)}. Choose another folder.",
        )
    for name, folder in (("runtime.root", root), ("runtime.root/name", config.home)):
        if _resolve(directory) == _resolve(folder):
            yield (
                ("push", "directory"),
                "Expected push.directory to be a folder of its own. Received: push.directory="
                f"'{directory}', equal to {name}. Choose another, such as served/{config.name}.",
            )


def _resolve(place: Place) -> str:
    """Returns a place on this machine without links, and any other as it is."""
    local = to_local(place)
    return str(local.resolve() if local else place)


def _check_base_file(config: Config) -> Iterator[Fault]:
    key = ("base", "path")
    try:
        base_file = inspect_base(str(config.base.path))
        key = key if config.image.size is None else ("image", "size")
        check_fits(base_file, config.resolved_image_size)
    except InputError as error:
        yield key, f"{'.'.join(key)}: {error}"


def _check_preset(config: Config) -> Iterator[Fault]:
    key = ("base", "preset")
    try:
        check_installed()
        if is_folder(str(config.base.preset)):
            # Of a name nothing is known here: a run asks KerasHub for it at its start.
            _ = config.resolved_image_size, config.resolved_preprocessing
    except InputError as error:
        yield key, f"{'.'.join(key)}: {error}"
