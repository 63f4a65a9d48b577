"""Base and head joined, in the forms that training and serving need.

Nothing here shapes the kept features; what does stands in `backbones`, `dataset` and
`augmentation`, whose code is part of their key.
"""

import functools
from typing import Any

import keras

from components.errors import InputError

FLOAT32 = "float32"


def join(pooled: keras.Model, head: keras.Model) -> keras.Model:
    """Joins base and head: float32 [batch, size, size, 3] to probabilities [batch, classes]."""
    return keras.Model(pooled.input, head(pooled.output), name="classifier")


def unfreeze(base: keras.Model, first: int) -> int:
    """Makes the last layers of the base trainable, all but batch normalisation.

    Args:
        base: the base, in which everything is frozen.
        first: index of the first of its layers that is trained.

    Returns:
        The number of weights (tensors) that are trainable now.
    """
    base.trainable = True
    for index, layer in enumerate(base.layers):
        layer.trainable = index >= first
    _freeze_batch_normalization(base)
    return len(base.trainable_weights)


def last_trainable(base: keras.Model) -> int | None:
    """Finds the last layer with weights that `unfreeze` trains; None where there is none.

    What is trainable is afterwards as the last `unfreeze` of the search left it.

    Args:
        base: see `unfreeze`.

    Returns:
        An index into `base.layers`.
    """
    backwards = reversed(range(len(base.layers)))
    return next((index for index in backwards if unfreeze(base, index)), None)


def in_precision(base: keras.Model, precision: str) -> keras.Model:
    """Returns the base computing in another precision, with the same weights.

    Layers of a file carry their own precision, so that Keras's global one does not reach them.
    Models and layers within it are converted too.

    Args:
        base: see `backbones.load_base`; not one of a SavedModel, which computes as it was saved.
        precision: `"float32"` returns it as it is; `"mixed_float16"` or `"mixed_bfloat16"` keep
            weights in float32 and compute in 16 bits.

    Raises:
        InputError: a layer of the base cannot be built again, as some of KerasHub's cannot.
    """
    if precision == FLOAT32:
        return base

    @functools.cache  # a layer that is used twice stays one layer
    def convert(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            # A model has no precision but that of its layers.
            return keras.models.clone_model(layer, clone_function=convert)
        try:
            config = _with_precision(layer.get_config(), precision)
            return layer.__class__.from_config({**config, "dtype": precision})
        except Exception as error:
            raise InputError(
                "Expected a base whose layers can be built again in another precision. Received: "
                f"train.precision={precision} with the base {base.name}, whose layer {layer.name} "
                f"({type(layer).__name__}) cannot. Write train.precision: {FLOAT32}."
            ) from error

    copy = keras.models.clone_model(base, clone_function=convert)
    copy.set_weights(base.get_weights())
    for layer in copy._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with what it made of its weights when built
    return copy


def _with_precision(config: Any, precision: str) -> Any:
    """Returns a layer's configuration with the precision in that of every layer within it."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return precision
        return {key: _with_precision(value, precision) for key, value in config.items()}
    if isinstance(config, list):
        return [_with_precision(value, precision) for value in config]
    return config


def _freeze_batch_normalization(model: keras.Model) -> None:
    """Freezes it within nested models and composite layers too."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
