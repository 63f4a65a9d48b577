"""Inspects a base given as a `.keras` file without Keras, so that a wrong one is told at once.

A `.keras` file is a zip archive whose `config.json` describes the layers. Reading it takes
milliseconds, runs nothing of what it describes, and shows before any photo is decoded whether the
base can be loaded by the trainer and by the server: no code inside, and one image as its input.
"""

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import InputError

SUFFIX = ".keras"
CONFIG = "config.json"
WEIGHTS = "model.weights"  # the archive's member has this name and a suffix of the store
CONVERT = (
    "Convert it where it was made: load it by keras.saving.load_model, save it by "
    'model.save("base.keras").'
)
# The description of the largest base of keras.applications has 0.6 MB; this bounds a zip bomb.
MAX_CONFIG_BYTES = 64 << 20
CODE_CLASSES = ("Lambda", "__lambda__")
# keras.activations; Keras writes these and the author's own functions alike, as of `builtins`.
_FUNCTION_NAMES = (
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh "
    "leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink "
    "softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh "
    "tanh_shrink threshold"
)
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
SCALING_CLASSES = ("Rescaling", "Normalization")
NEAR_INPUT = 4  # layers: padding and reshaping may come before the scaling

Shape = tuple[int | None, int | None, int]


@dataclass(frozen=True)
class BaseFile:
    """What a `.keras` file takes.

    Attributes:
        path: the file.
        input_shape: (height, width, channels) in pixels; None where the file leaves it open.
        scales_input: whether one of its first layers scales the pixels by itself.
    """

    path: Path
    input_shape: Shape
    scales_input: bool = False


def inspect_base(path: str | os.PathLike[str]) -> BaseFile:
    """Reads what a base file takes and checks that it can be trained on and served.

    Losses and metrics that the file was compiled with are not looked at: load it with
    `keras.saving.load_model(path, compile=False)`.

    Args:
        path: a `.keras` file.

    Returns:
        The base's input shape, and whether it scales pixels by itself.

    Raises:
        InputError: no such file; another format; a broken archive; code inside (a Lambda layer,
            a class that is not of Keras); an input that is not one image of 3 channels; more
            than one output.
    """
    path = Path(path)
    _check_format(path)
    model = _read_config(path)
    parts = {key: value for key, value in model.items() if key != "compile_config"}
    for part in _serialized(parts):
        _check_class(path, part)
    shape = _input_shape(path, model)
    _check_outputs(path, model)
    return BaseFile(path, shape, _scales_input(model))


def check_fits(base_file: BaseFile, size: int) -> None:
    """Checks that a base takes square images of a size.

    Args:
        base_file: as returned by `inspect_base`.
        size: height and width of the images, pixels.

    Raises:
        InputError: the base's height or width is fixed and is another one, or it is not square.
    """
    height, width, _ = base_file.input_shape
    if height is not None and width is not None and height != width:
        raise InputError(
            f"Expected a base that takes square images. Received: {base_file.path} with the fixed "
            f"input {height}x{width} pixels. Rebuild it with an open input shape (None, None, 3)."
        )
    fixed = height if height is not None else width
    if fixed is not None and fixed != size:
        raise InputError(
            f"Expected image.size to be the base's fixed input of {fixed} pixels. "
            f"Received: image.size={size} with base.path={base_file.path}. "
            f"Write image.size: {fixed}, or leave image.size out."
        )


def _check_format(path: Path) -> None:
    if path.is_dir():
        raise InputError(
            f"Expected a {SUFFIX} file. Received: the folder {path}. Give a SavedModel's folder by "
            "base.saved_model, a KerasHub preset's by base.preset."
        )
    if path.suffix != SUFFIX:
        raise InputError(
            f"Expected a {SUFFIX} file. Received: {path}. Other formats are refused, because code "
            f"in them may run when they are loaded. {CONVERT}"
        )
    if not path.is_file():
        raise InputError(
            f"Expected an existing {SUFFIX} file. Received: {path}, which does not exist. "
            "Correct base.path, or put the file there."
        )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if CONFIG not in members:
                raise _broken(path, f"an archive without {CONFIG}")
            if not any(member.startswith(WEIGHTS) for member in members):
                raise _broken(path, "an archive without weights")
            if archive.getinfo(CONFIG).file_size > MAX_CONFIG_BYTES:
                raise _broken(path, f"a {CONFIG} of more than {MAX_CONFIG_BYTES >> 20} MiB")
            model = json.loads(archive.read(CONFIG))
    except (zipfile.BadZipFile, EOFError) as error:
        raise _broken(path, _zip_fault(path)) from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"a {CONFIG} that is not JSON") from error
    except OSError as error:
        raise InputError(
            f"Expected a readable {SUFFIX} file. Received: {path}: {error.strerror or error}. "
            "Correct the file's permissions or its disk."
        ) from error
    if not isinstance(model, dict) or not isinstance(model.get("config"), dict):
        raise _broken(path, f"a {CONFIG} that describes no model")
    return model


def _broken(path: Path, received: str) -> InputError:
    return InputError(
        f"Expected an archive that Keras has saved. Received: {path}, {received}. "
        "Copy the file again in full, or save the model again."
    )


def _zip_fault(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    if not start:
        return "an empty file"
    return "an archive that is truncated or damaged" if start == b"PK\x03\x04" else "no zip archive"


def _serialized(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every serialized object of a configuration, at any depth."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_class(path: Path, part: dict[str, Any]) -> None:
    name = part["class_name"]
    label = _name(part) or "without a name"
    if name in CODE_CLASSES:
        raise InputError(
            f"Expected a base without code inside. Received: {path} with a Lambda layer ({label}), "
            "whose code would run when the base is loaded. Replace it by a Keras layer, such as "
            "Rescaling for x / 127.5 - 1, and save the base again."
        )
    if name.startswith("__") or "module" not in part:
        return  # a tensor, a slice or the like, which Keras writes without a module
    own = _own_code(part)
    if own:
        raise InputError(
            f"Expected a base made of Keras's own layers. Received: {path} with the custom {own} "
            f"({label}), whose code the server does not have. Rebuild that part from Keras layers "
            "and save the base again."
        )


def _own_code(part: dict[str, Any]) -> str:
    """Returns the author's own class or function that a part names; empty for one of Keras."""
    name, module = part["class_name"], part.get("module")
    if name == "function" and module == "builtins":
        function = str(part.get("config"))
        return "" if function in FUNCTIONS else f"function {function}"
    package = str(part.get("registered_name") or "").rpartition(">")[0]
    known = isinstance(module, str) and module.split(".")[0] in ("keras", "builtins")
    if known and (not package or package.split(".")[0] == "keras"):
        return ""
    return f"class {package or module or 'unknown'}>{name}"


def _name(part: dict[str, Any]) -> str:
    inner = part.get("config")
    name = inner.get("name") if isinstance(inner, dict) else part.get("name")
    return name if isinstance(name, str) else ""


def _layers(model: dict[str, Any]) -> list[dict[str, Any]]:
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    return [layer for layer in layers or [] if isinstance(layer, dict)]


def _input_shape(path: Path, model: dict[str, Any]) -> Shape:
    shapes = _batch_shapes(model)
    if len(shapes) != 1:
        raise _wrong_input(path, f"{len(shapes) or 'no known'} inputs")
    shape = shapes[0]
    if len(shape) != 4 or shape[3] != 3 or not all(_is_extent(extent) for extent in shape):
        raise _wrong_input(path, f"an input of shape {_shown(shape)}")
    if shape[0] is not None:
        raise _wrong_input(path, f"a fixed batch of {shape[0]} in its input {_shown(shape)}")
    return shape[1], shape[2], 3


def _check_outputs(path: Path, model: dict[str, Any]) -> None:
    outputs = list(_input_names(model["config"].get("output_layers")))
    if len(outputs) > 1:
        raise InputError(
            "Expected a base with one output, a feature map or a vector. Received: "
            f"base.path={path} with the {len(outputs)} outputs {', '.join(outputs)}. Cut it at its "
            "last feature map: keras.Model(base.input, base.get_layer(NAME).output)."
        )


def _is_extent(extent: Any) -> bool:
    return extent is None or (isinstance(extent, int) and extent > 0)


def _wrong_input(path: Path, received: str) -> InputError:
    return InputError(
        "Expected a base whose input is one image of 3 channels, (batch, height, width, 3). "
        f"Received: {path} with {received}. Rebuild the base with one such input."
    )


def _shown(shape: list[Any]) -> str:
    return "(" + ", ".join("None" if extent is None else str(extent) for extent in shape) + ")"


def _batch_shapes(model: dict[str, Any]) -> list[list[Any]]:
    """Returns the shape of each input of a Functional or Sequential model, batch included."""
    config, layers = model["config"], _layers(model)
    names = list(_input_names(config.get("input_layers")))
    if names:
        by_name = {_name(layer): layer for layer in layers}
        found = [_layer_shape(by_name[name]) for name in names if name in by_name]
        return [shape for shape in found if shape]
    first = layers[0] if layers else {}
    if _layers(first):
        return _batch_shapes(first)
    build = model.get("build_config")
    shape = (
        _layer_shape(first)
        or config.get("build_input_shape")
        or (build.get("input_shape") if isinstance(build, dict) else None)
    )
    return [shape] if isinstance(shape, list) else []


def _layer_shape(layer: dict[str, Any]) -> list[Any] | None:
    config = layer.get("config")
    if not isinstance(config, dict):
        return None
    shape = config.get("batch_shape") or config.get("batch_input_shape")  # Keras 3; Keras 2
    return shape if isinstance(shape, list) else None


def _input_names(inputs: Any) -> Iterator[str]:
    """Yields the layer of each ["layer", node, tensor] in a list, dictionary or nest of them."""
    if isinstance(inputs, dict):
        inputs = list(inputs.values())
    if not isinstance(inputs, list):
        return
    if len(inputs) == 3 and isinstance(inputs[0], str):
        yield inputs[0]
        return
    for item in inputs:
        yield from _input_names(item)


def _scales_input(model: dict[str, Any]) -> bool:
    near = []
    for layer in _flatten(model):
        if layer.get("class_name") != "InputLayer":
            near.append(layer.get("class_name"))
        if len(near) == NEAR_INPUT:
            break
    return any(name in SCALING_CLASSES for name in near)


def _flatten(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for layer in _layers(model):
        if _layers(layer):
            yield from _flatten(layer)
        else:
            yield layer
