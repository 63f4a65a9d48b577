"""Bases from SavedModel folders, as TensorFlow Hub's: found, checked and wrapped as a Keras model.

A SavedModel has neither layers nor a stated preprocessing; one that gives a feature vector or map
for one image can be used frozen. It is a program: take it only from whom you trust.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from components.bases import GRAPH_FILE
from components.errors import InputError, first_line

SIGNATURE = "serving_default"
CALL = "__call__"
ENDPOINTS = (SIGNATURE, CALL)  # in the order in which they are tried


@dataclass(frozen=True)
class SavedModelBase:
    """What a SavedModel takes and gives.

    Attributes:
        path: its folder.
        endpoint: the signature or method that is called.
        sides: height and width of the image, pixels; None where it takes any.
        output_key: the name of its output; None where that has none.
    """

    path: Path
    endpoint: str
    sides: tuple[int | None, int | None]
    output_key: str | None

    @property
    def size(self) -> int | None:
        """Height and width in pixels where they are fixed and equal."""
        height, width = self.sides
        return height if height is not None and height == width else None


def inspect_saved_model(path: str | os.PathLike[str]) -> SavedModelBase:
    """Finds what of a SavedModel can be called with images; loads it for that.

    Args:
        path: the folder with `saved_model.pb`.

    Raises:
        InputError: no SavedModel, or one without `serving_default` or `__call__` that takes one
            float32 [batch, height, width, 3] and gives one float32 of rank 2 or 4.
    """
    path = Path(path)
    model = _load(path)
    faults = []
    for endpoint in ENDPOINTS:
        for function in _functions(model, endpoint):
            fault = _fault(function)
            if not fault:
                return _describe(path, endpoint, function)
            faults.append(f"{endpoint} with {fault}")
    names = ", ".join(getattr(model, "signatures", {})) or "none"
    received = "; ".join(faults) or f"neither of them (its signatures: {names})"
    raise InputError(
        f"Expected a SavedModel whose {SIGNATURE} or {CALL} gives features: from one float32 "
        "(batch, height, width, 3) to one float32 vector or feature map. Received: "
        f"base.saved_model={path}: {received}. Export the part of the model up to its features: "
        "keras.Model(inputs, features).export(FOLDER)."
    )


def load_saved_model(path: str | os.PathLike[str], size: int) -> keras.Model:
    """Wraps a SavedModel as a Keras model that is always frozen.

    Args:
        path: the folder with `saved_model.pb`.
        size: side of the input image, pixels.

    Returns:
        A model from float32 [batch, size, size, 3] to a feature map or a vector.

    Raises:
        InputError: as `inspect_saved_model`; it takes another size; it fails at this one.
    """
    found = inspect_saved_model(path)
    _check_fits(found, size)
    pixels = keras.Input((size, size, 3), name="image")
    layer = keras.layers.TFSMLayer(
        str(found.path), call_endpoint=found.endpoint, trainable=False, name="saved_model"
    )
    try:
        outputs = layer(pixels)
    except Exception as error:
        raise InputError(
            f"Expected a SavedModel that takes images of image.size={size} pixels. Received: "
            f"base.saved_model={path} ({first_line(error)}). Set image.size to what it was made "
            "for."
        ) from error
    vectors = outputs if found.output_key is None else outputs[found.output_key]
    return keras.Model(pixels, vectors, name="saved_model_base")


def _load(path: Path) -> Any:
    if not (path / GRAPH_FILE).is_file():
        raise InputError(
            f"Expected the folder of a SavedModel. Received: base.saved_model={path} without "
            f"{GRAPH_FILE}. Unpack the model there; a .keras file is given by base.path."
        )
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:
        raise InputError(
            f"Expected a SavedModel that TensorFlow {tf.__version__} can load. Received: "
            f"base.saved_model={path} ({first_line(error)}). Copy the folder again in full, or "
            "export the model again."
        ) from error


def _functions(model: Any, endpoint: str) -> Iterator[Any]:
    """Yields the concrete functions of an endpoint; those that only training uses last."""
    if endpoint == SIGNATURE:
        signature = getattr(model, "signatures", {}).get(SIGNATURE)
        yield from [] if signature is None else [signature]
    else:
        functions = getattr(getattr(model, CALL, None), "concrete_functions", None) or []
        yield from sorted(functions, key=_is_training)


def _describe(path: Path, endpoint: str, function: Any) -> SavedModelBase:
    inputs, outputs = _ends(function)
    height, width = inputs[0].shape[1:3]
    key = next(iter(outputs))
    # A method may give a dictionary too; the names of its entries are text.
    return SavedModelBase(path, endpoint, (height, width), key if isinstance(key, str) else None)


def _is_training(function: Any) -> bool:
    arguments, named = function.structured_input_signature
    return any(value is True for value in (*arguments, *named.values()))


def _ends(function: Any) -> tuple[list[Any], dict[Any, Any]]:
    """Returns a function's input specifications, and its outputs by name."""
    inputs = tf.nest.flatten(function.structured_input_signature)
    outputs = function.structured_outputs
    if not isinstance(outputs, dict):
        outputs = dict(enumerate(tf.nest.flatten(outputs)))
    return [spec for spec in inputs if isinstance(spec, tf.TensorSpec)], outputs


def _fault(function: Any) -> str:
    """Returns what keeps a function from being a base; empty where nothing does."""
    inputs, outputs = _ends(function)
    if len(inputs) != 1:
        return f"{len(inputs)} inputs"
    image = inputs[0]
    if image.dtype != tf.float32:
        kind = "text or encoded images" if image.dtype == tf.string else "numbers"
        return f"an input of {image.dtype.name} ({kind})"
    if image.shape.rank != 4 or image.shape[3] != 3:
        return f"an input of shape {image.shape}"
    if image.shape[0] is not None:
        return f"a fixed batch of {image.shape[0]}"
    if len(outputs) != 1:
        return f"the {len(outputs)} outputs {', '.join(map(str, outputs))}"
    output = next(iter(outputs.values()))
    if getattr(output, "dtype", None) != tf.float32:
        return f"an output of {getattr(getattr(output, 'dtype', None), 'name', 'no tensor')}"
    if output.shape.rank not in (2, 4) or output.shape[-1] is None:
        return f"an output of shape {output.shape}"
    return ""


def _check_fits(found: SavedModelBase, size: int) -> None:
    if any(side not in (None, size) for side in found.sides):
        shown = "x".join(str(side) for side in found.sides)
        raise InputError(
            f"Expected image.size to be the SavedModel's fixed input of {shown} pixels. Received: "
            f"image.size={size} with base.saved_model={found.path}. Write that size, or leave "
            "image.size out."
        )
