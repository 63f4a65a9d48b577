"""Bases from KerasHub presets: what one takes, and loading it.

A preset is a folder that KerasHub wrote (`config.json`, weights, mostly `image_converter.json`), or
a name or URI under which KerasHub downloads one. A folder's description is read as JSON, without
Keras, so that a configuration is checked in milliseconds; that of a name is asked from KerasHub.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.bases import IMAGENET_MEAN_STD, NONE, RESCALE_0_1, RESCALE_1_1
from components.digests import folder_digest
from components.errors import InputError, did_you_mean, first_line
from components.trainer.downloads import download_timeout
from components.transform import affine

if TYPE_CHECKING:
    import keras

PACKAGE = "keras_hub"
DISTRIBUTION = "keras-hub"
CONFIG = "config.json"
CONVERTER = "image_converter.json"
MAX_JSON_BYTES = 64 << 20
BRIGHTEST = 255.0
TOLERANCE = 1e-4  # in what a base sees; factors that agree so far are the same preprocessing
# keras.applications.imagenet_utils, mode "torch".
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NAMED = {
    NONE: ((1.0,) * 3, (0.0,) * 3),
    RESCALE_0_1: ((1 / 255,) * 3, (0.0,) * 3),
    RESCALE_1_1: ((1 / 127.5,) * 3, (-1.0,) * 3),
    IMAGENET_MEAN_STD: (
        tuple(1 / (255 * deviation) for deviation in _DEVIATIONS),
        tuple(-mean / deviation for mean, deviation in zip(_MEANS, _DEVIATIONS, strict=True)),
    ),
}


@dataclass(frozen=True)
class Preset:
    """What a preset says of the images that it takes.

    Attributes:
        name: the folder, name or URI.
        size: height and width, pixels; None where it does not say.
        preprocessing: as `image_ops.scale` takes it; None without an image converter.
    """

    name: str
    size: int | None
    preprocessing: str | None


def is_folder(preset: str) -> bool:
    """Returns whether a preset is a local folder, and not a name or URI."""
    return Path(preset).is_dir()


def check_installed() -> None:
    """Checks that keras-hub is installed, without importing it.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise InputError(
            "Expected keras-hub to be installed for base.preset. Received: no module named "
            f"{PACKAGE}. Install it: pip install keras-hub."
        )


def preset_digest(preset: str) -> str:
    """Identifies a preset: a folder by its content, else by name; and the KerasHub that builds it.

    Args:
        preset: see `describe_preset`.

    Raises:
        InputError: keras-hub is missing.
    """
    check_installed()
    content = folder_digest(preset) if is_folder(preset) else f"preset:{preset}"
    return f"{content} by {DISTRIBUTION}=={metadata.version(DISTRIBUTION)}"


def describe_preset(preset: str) -> Preset:
    """Returns what a preset says of its images.

    Args:
        preset: a local folder, which is read without Keras; or a name or URI, for which KerasHub
            is imported and may download two small files.

    Raises:
        InputError: keras-hub is missing, or the preset is unknown, unreachable, broken, or says
            what cannot be followed.
    """
    return _describe_folder(Path(preset)) if is_folder(preset) else _describe_named(preset)


def load_preset(preset: str, size: int) -> keras.Model:
    """Loads the backbone of a preset with its weights.

    Args:
        preset: see `describe_preset`.
        size: side of the input image, pixels.

    Returns:
        A model from float32 [batch, size, size, 3] to a feature map [batch, height, width,
        channels] or a vector; a transformer's tokens are a map [batch, tokens, 1, width].

    Raises:
        InputError: as `describe_preset`; no image backbone; `size` is not the one that it takes.
    """
    if is_folder(preset):
        _describe_folder(Path(preset))
    backbone_class = _import_hub(preset).models.Backbone
    try:
        with download_timeout():
            backbone = backbone_class.from_preset(preset)
    except Exception as error:
        raise _not_loaded(preset, error) from error
    _check_inputs(preset, backbone)
    _check_fits(preset, tuple(backbone.inputs[0].shape[1:3]), size)
    return _as_map(backbone)


def _describe_folder(folder: Path) -> Preset:
    config = _read_json(folder / CONFIG)
    if config is None or "registered_name" not in config:
        raise InputError(
            f"Expected a preset folder of KerasHub. Received: base.preset={folder} "
            + (f"without {CONFIG}" if config is None else f"whose {CONFIG} names no class")
            + ". Make one by backbone.save_to_preset(FOLDER); a .keras file is given by base.path, "
            "a SavedModel by base.saved_model."
        )
    registered = str(config["registered_name"])
    if registered.split(">")[0] != PACKAGE:
        raise InputError(
            "Expected a preset of one of KerasHub's own backbones, as the server has no other "
            f"code. Received: base.preset={folder} of the class {registered}. Save such a model "
            "as a .keras file and give it by base.path."
        )
    shape = _section(config).get("image_shape")
    fixed = shape[:2] if isinstance(shape, list) and len(shape) == 3 else [None, None]
    return _describe(str(folder), _read_converter(folder), fixed)


@functools.lru_cache
def _describe_named(preset: str) -> Preset:
    converter_class = _import_hub(preset).layers.ImageConverter
    try:
        with download_timeout():
            converter = converter_class.from_preset(preset).get_config()
    except FileNotFoundError:
        converter = None
    except Exception as error:
        raise _not_loaded(preset, error) from error
    return _describe(preset, converter, [None, None])


def _describe(name: str, converter: Mapping[str, Any] | None, fixed: Sequence[Any]) -> Preset:
    if converter is None:
        return Preset(name, _side(fixed), None)
    wanted = converter.get("image_size") or [converter.get("height"), converter.get("width")]
    # What the backbone is built for holds, whatever the converter would resize to.
    return Preset(name, _side(fixed) or _side(wanted), _preprocessing(name, converter))


def _side(extents: Sequence[Any]) -> int | None:
    height, width = extents
    return int(height) if height is not None and height == width else None


def _preprocessing(name: str, converter: Mapping[str, Any]) -> str:
    """Returns a converter's x * scale + offset as one of the named ways, or as text."""
    try:
        scale, offset = converter.get("scale"), converter.get("offset")
        scales = _three(1.0 if scale is None else scale)
        offsets = _three(0.0 if offset is None else offset)
        if converter.get("variance") is not None and converter.get("mean") is not None:
            # As KerasHub reads what its first versions wrote.
            deviations = [math.sqrt(variance) for variance in _three(converter["variance"])]
            pairs = list(zip(_three(converter["mean"]), deviations, strict=True))
            scales = tuple(s / d for s, d in zip(scales, deviations, strict=True))
            offsets = tuple(-mean / deviation for mean, deviation in pairs)
        text = affine.to_text(scales, offsets)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            "Expected a preset whose image converter scales three channels. Received: "
            f"base.preset={name} with scale={converter.get('scale')!r} and "
            f"offset={converter.get('offset')!r}. Save its image converter again."
        ) from error
    return next((way for way, known in _NAMED.items() if _same((scales, offsets), known)), text)


def _three(value: Any) -> affine.Factors:
    values = value if isinstance(value, list | tuple) else [value] * affine.CHANNELS
    return tuple(float(x) for x in values)


def _same(one: tuple[affine.Factors, ...], other: tuple[affine.Factors, ...]) -> bool:
    """Returns whether two pairs of factors and summands give the same for all pixels."""
    return all(
        abs(a - b) * weight < TOLERANCE
        for ours, theirs, weight in zip(one, other, (BRIGHTEST, 1.0), strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def _read_converter(folder: Path) -> Mapping[str, Any] | None:
    converter = _read_json(folder / CONVERTER)
    return None if converter is None else _section(converter)


def _section(described: Mapping[str, Any]) -> Mapping[str, Any]:
    config = described.get("config")
    return config if isinstance(config, dict) else {}


def _read_json(path: Path) -> dict[str, Any] | None:
    """Returns the object in a file, None where there is no such file."""
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            value = json.loads(file.read(MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"Expected a preset folder that can be read. Received: base.preset={path.parent}, "
            f"whose {path.name} is damaged or may not be read ({first_line(error)}). Copy the "
            "folder again in full."
        ) from error
    return value if isinstance(value, dict) else {}


def _import_hub(preset: str) -> Any:
    check_installed()
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"Expected keras-hub to work here. Received: base.preset={preset}, and importing "
            f"{PACKAGE} ends in: {first_line(error)}. Install one that fits: pip install keras-hub."
        ) from error
    return keras_hub


def _not_loaded(preset: str, error: Exception) -> InputError:
    hub = _import_hub(preset)
    known = list(hub.models.Backbone.presets)
    if isinstance(error, ValueError) and "nknown preset" in str(error):
        return InputError(
            "Expected the name of a KerasHub preset, or an existing preset folder. Received: "
            f"base.preset={preset}. {did_you_mean(preset, known)}The names "
            "are on https://keras.io/keras_hub/presets."
        )
    if is_folder(preset):
        return InputError(
            f"Expected a preset folder that KerasHub {hub.__version__} can load. Received: "
            f"base.preset={preset} ({first_line(error)}). Copy it in full, or save it again by "
            "backbone.save_to_preset."
        )
    return InputError(
        f"Expected the preset to be an image backbone that is reachable. Received: base.preset="
        f"{preset} ({first_line(error)}). On a machine with network run "
        f"`keras_hub.models.Backbone.from_preset('{preset}').save_to_preset('preset')` and "
        f"`keras_hub.layers.ImageConverter.from_preset('{preset}').save_to_preset('preset')`, copy "
        "the folder here and set base.preset to it."
    )


def _check_inputs(preset: str, backbone: keras.Model) -> None:
    shapes = {tensor.name: tuple(tensor.shape) for tensor in backbone.inputs}
    shape = next(iter(shapes.values()))
    if len(shapes) != 1 or len(shape) != 4 or shape[-1] != 3:
        raise InputError(
            "Expected a preset of an image backbone, whose one input is (batch, height, width, 3). "
            f"Received: base.preset={preset} with the inputs {shapes}. Choose a preset for image "
            "classification."
        )


def _check_fits(preset: str, fixed: tuple[int | None, ...], size: int) -> None:
    if any(extent not in (None, size) for extent in fixed):
        shown = "x".join(str(extent) for extent in fixed)
        raise InputError(
            f"Expected image.size to be the preset's fixed input of {shown} pixels. Received: "
            f"image.size={size} with base.preset={preset}. Write that size, or leave image.size "
            "out."
        )


def _as_map(backbone: keras.Model) -> keras.Model:
    """Gives a transformer's tokens, [batch, tokens, width], the rank of a feature map."""
    import keras

    shape: tuple[Any, ...] = getattr(backbone.output, "shape", ())
    if len(shape) != 3 or None in shape[1:]:
        return backbone
    tokens = keras.layers.Reshape((shape[1], 1, shape[2]), name="token_map")(backbone.output)
    return keras.Model(backbone.input, tokens, name=backbone.name)
