"""Base and head joined, in the forms that training and serving need.

Nothing here shapes the kept features; what does stands in `backbones`, `dataset` and
`augmentation`, whose code is part of their key.
"""

import keras

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


def in_precision(base: keras.Model, precision: str) -> keras.Model:
    """Returns the base computing in another precision, with the same weights.

    Layers of a file carry their own precision, so that Keras's global one does not reach them.

    Args:
        base: see `backbones.load_base`.
        precision: `"float32"` returns it as it is; `"mixed_float16"` or `"mixed_bfloat16"` keep
            weights in float32 and compute in 16 bits.
    """
    if precision == FLOAT32:
        return base

    def convert(layer: keras.Layer) -> keras.Layer:
        return layer.__class__.from_config({**layer.get_config(), "dtype": precision})

    copy = keras.models.clone_model(base, clone_function=convert)
    copy.set_weights(base.get_weights())
    return copy


def _freeze_batch_normalization(model: keras.Model) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _freeze_batch_normalization(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
