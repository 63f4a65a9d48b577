"""The pre-trained base, frozen and pooled: by name from `keras.applications`, or from a file."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from components import features
from components.errors import InputError
from components.trainer import base_file

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer before weights count as unreachable


POOLINGS = {
    "average": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}


def load_base(base: Mapping[str, Any], size: int) -> keras.Model:
    """Builds the base without its top and loads its weights.

    Args:
        base: `path` of a `.keras` file, or `name` in `keras.applications` with `weights`
            (`"imagenet"`, `"none"` for random ones, or the path of a weights file).
        size: side of the input image, pixels.

    Returns:
        A model from float32 [batch, size, size, 3] to a feature map [batch, height, width,
        channels] or a vector [batch, width].

    Raises:
        InputError: the file, its input, its output or the weights do not fit or cannot be had.
    """
    model = _from_file(base["path"], size) if base.get("path") else _from_name(base, size)
    if len(model.outputs) != 1 or len(model.outputs[0].shape) not in (2, 4):
        shapes = [tuple(output.shape) for output in model.outputs]
        raise InputError(
            "Expected a base whose one output is a feature map (rank 4) or a vector (rank 2). "
            f"Received: output shapes={shapes}. Cut the base at its last feature map."
        )
    return model


def pooled_base(base: keras.Model, size: int, pooling: str) -> keras.Model:
    """Freezes the base and pools its feature map; a base that gives a vector is left as it is.

    Args:
        base: see `load_base`.
        size: side of the input image, pixels.
        pooling: `"average"` or `"max"`.

    Returns:
        A model from float32 [batch, size, size, 3] to float32 [batch, width].
    """
    base.trainable = False
    pixels = keras.Input((size, size, 3), name=features.PIXELS)
    # training=False keeps batch normalisation in inference mode, when fine-tuning too.
    vectors = base(pixels, training=False)
    if len(vectors.shape) == 4:
        vectors = POOLINGS[pooling](name="pooled")(vectors)
    return keras.Model(pixels, vectors, name="pooled_base")


def _from_file(path: str, size: int) -> keras.Model:
    base_file.check_fits(base_file.inspect_base(path), size)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise InputError(
            f"Expected a .keras file that Keras {keras.__version__} can load. Received: "
            f"base.path={path} ({_first_line(error)}). Save it again with this Keras version."
        ) from error


def _from_name(base: Mapping[str, Any], size: int) -> keras.Model:
    name, weights = base["name"], base["weights"]
    build = getattr(keras.applications, name)
    if weights == "imagenet":
        return _with_imagenet(build, name, size)
    model = build(include_top=False, weights=None, input_shape=(size, size, 3))
    if weights != "none":
        _load_weights(model, name, weights)
    return model


def _with_imagenet(build: Any, name: str, size: int) -> keras.Model:
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            return build(include_top=False, weights="imagenet", input_shape=(size, size, 3))
    except Exception as error:
        raise InputError(
            f"Expected the ImageNet weights of {name} to be in Keras's cache or to be reachable. "
            f"Received: base.weights=imagenet ({_first_line(error)}). On a machine with network "
            f"run `keras.applications.{name}(include_top=False).save('{name}.keras')`, copy the "
            f"file here and set base.path to it, or set base.weights to a weights file of {name} "
            "without its top."
        ) from error


def _load_weights(model: keras.Model, name: str, path: str) -> None:
    try:
        model.load_weights(path)
    except Exception as error:
        raise InputError(
            f"Expected a weights file of {name} without its top. Received: base.weights={path} "
            f"({_first_line(error)}). Save it with `model.save_weights('{name}.weights.h5')` from "
            f"`keras.applications.{name}(include_top=False)`."
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
