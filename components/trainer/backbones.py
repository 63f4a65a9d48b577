"""The pre-trained base, frozen and pooled.

It comes by name from `keras.applications`, from a `.keras` file, from a KerasHub preset or from a
SavedModel folder.
"""

from collections.abc import Mapping
from typing import Any

import keras

from components import features
from components.bases import BASES
from components.errors import InputError, first_line
from components.trainer import base_file, preset_base, saved_model_base
from components.trainer.downloads import download_timeout

POOLINGS = {
    "average": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
    "flatten": keras.layers.Flatten,
}


def load_base(base: Mapping[str, Any], size: int) -> keras.Model:
    """Loads the base, or builds it without its top and loads its weights.

    Args:
        base: one of `path` of a `.keras` file; `name` in `keras.applications` with `weights`
            (`"imagenet"`, `"none"` for random ones, or the path of a weights file); `preset`, a
            KerasHub preset's name, URI or folder; `saved_model`, a SavedModel's folder, which
            stays frozen.
        size: side of the input image, pixels.

    Returns:
        A model from float32 [batch, size, size, 3] to a feature map [batch, height, width,
        channels] or a vector [batch, width].

    Raises:
        InputError: the base, its input, its output or the weights do not fit or cannot be had.
    """
    if base.get("path"):
        model = _from_file(base["path"], size)
    elif base.get("preset"):
        model = preset_base.load_preset(base["preset"], size)
    elif base.get("saved_model"):
        model = saved_model_base.load_saved_model(base["saved_model"], size)
    else:
        model = _from_name(base, size)
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4):
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
        pooling: `"average"`, `"max"`, or `"flatten"`, which keeps every position: the vector has
            height times width times channels numbers.

    Returns:
        A model from float32 [batch, size, size, 3] to float32 [batch, width].

    Raises:
        InputError: the base does not take images of this size, or nothing is left of them.
    """
    base.trainable = False
    pixels = keras.Input((size, size, 3), name=features.PIXELS)
    try:
        # training=False keeps batch normalisation in inference mode, when fine-tuning too.
        (vectors,) = keras.tree.flatten(base(pixels, training=False))
    except Exception as error:
        raise _too_small(base, size, first_line(error)) from error
    if 0 in vectors.shape:
        raise _too_small(base, size, f"an output of shape {tuple(vectors.shape)}")
    if len(vectors.shape) == 4:
        vectors = POOLINGS[pooling](name="pooled")(vectors)
    return keras.Model(pixels, vectors, name="pooled_base")


def _too_small(base: keras.Model, size: int, received: str) -> InputError:
    return InputError(
        f"Expected a base that takes images of image.size={size} pixels and leaves something of "
        f"them. Received: the base {base.name} ({received}). Write a larger image.size, such as "
        "the one that the base was trained on."
    )


def _from_file(path: str, size: int) -> keras.Model:
    base_file.check_fits(base_file.inspect_base(path), size)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise InputError(
            f"Expected a .keras file that Keras {keras.__version__} can load. Received: "
            f"base.path={path} ({first_line(error)}). Save it again with this Keras version."
        ) from error


def _from_name(base: Mapping[str, Any], size: int) -> keras.Model:
    name, weights = base["name"], base["weights"]
    if size < BASES[name].min_size:
        raise InputError(
            f"Expected image.size to be at least {BASES[name].min_size} pixels, the least that "
            f"{name} takes. Received: image.size={size}. Write image.size: {BASES[name].size}, or "
            "choose another base."
        )
    build = getattr(keras.applications, name)
    if weights == "imagenet":
        return _with_imagenet(build, name, size)
    model = build(include_top=False, weights=None, input_shape=(size, size, 3))
    if weights != "none":
        _load_weights(model, name, weights)
    return model


def _with_imagenet(build: Any, name: str, size: int) -> keras.Model:
    try:
        with download_timeout():
            return build(include_top=False, weights="imagenet", input_shape=(size, size, 3))
    except Exception as error:
        raise InputError(
            f"Expected the ImageNet weights of {name} to be in Keras's cache or to be reachable. "
            f"Received: base.weights=imagenet ({first_line(error)}). On a machine with network "
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
            f"({first_line(error)}). Save it with `model.save_weights('{name}.weights.h5')` from "
            f"`keras.applications.{name}(include_top=False)`."
        ) from error
