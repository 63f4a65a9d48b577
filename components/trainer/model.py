"""The head, and base and head joined: how they are built, trained and fine-tuned.

Nothing here shapes the cached features; what does stands in `backbones`, `dataset` and
`feature_cache`, whose code is part of their key.
"""

import math
from collections.abc import Mapping
from typing import Any

import keras

from components.errors import GraftError


def new_head(width: int, classes: int, head: Mapping[str, Any]) -> keras.Model:
    """Builds the classifier that is trained on the pooled features.

    Args:
        width: length of one feature vector.
        classes: number of classes.
        head: `hidden` (widths of ReLU layers) and `dropout` (share in [0, 1) before each Dense).

    Returns:
        A model from float32 [batch, width] to probabilities float32 [batch, classes].
    """
    vectors = keras.Input((width,), name="features")
    outputs = vectors
    for units in head["hidden"]:
        outputs = keras.layers.Dropout(head["dropout"])(outputs)
        outputs = keras.layers.Dense(units, activation="relu")(outputs)
    outputs = keras.layers.Dropout(head["dropout"])(outputs)
    outputs = keras.layers.Dense(classes, activation="softmax", name="probabilities")(outputs)
    return keras.Model(vectors, outputs, name="head")


def join(pooled: keras.Model, head: keras.Model) -> keras.Model:
    """Joins base and head: float32 [batch, size, size, 3] to probabilities [batch, classes]."""
    return keras.Model(pooled.input, head(pooled.output), name="classifier")


def unfreeze_top(base: keras.Model, layers: int) -> int:
    """Makes the last layers of the base trainable, all but batch normalisation.

    Args:
        base: the base, in which everything is frozen.
        layers: number of layers, counted from the output; more than there are means all.

    Returns:
        The number of weights (tensors) that are trainable now.
    """
    base.trainable = True
    for index, layer in enumerate(base.layers):
        top = index >= len(base.layers) - layers
        layer.trainable = top
    _freeze_batch_normalization(base)
    return len(base.trainable_weights)


def fit(
    model: keras.Model, training: Any, watched: Any, stage: Mapping[str, Any]
) -> dict[str, list[float]]:
    """Trains until the watched loss stops falling, and keeps the best weights.

    Args:
        model: what to train.
        training: `(inputs, label_index)` arrays with `batch_size` in `stage`, or a dataset.
        watched: the same, of the images that early stopping watches.
        stage: `epochs`, `learning_rate`, `patience` (epochs without improvement before stopping)
            and, for arrays, `batch_size`.

    Returns:
        The learning curves, one value an epoch: loss, accuracy, val_loss, val_accuracy.

    Raises:
        GraftError: the training or the watched loss became infinite or NaN.
    """
    model.compile(
        keras.optimizers.Adam(stage["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    callbacks = [
        keras.callbacks.EarlyStopping(
            "val_loss", patience=stage["patience"], restore_best_weights=True
        ),
        keras.callbacks.TerminateOnNaN(),
    ]
    arguments = {"epochs": stage["epochs"], "callbacks": callbacks, "verbose": 2}
    if isinstance(training, tuple):
        history = model.fit(
            *training, validation_data=watched, batch_size=stage["batch_size"], **arguments
        )
    else:
        history = model.fit(training, validation_data=watched, **arguments)
    curves = {name: [float(x) for x in values] for name, values in history.history.items()}
    _check_finite(curves, stage["learning_rate"])
    return curves


def _check_finite(curves: Mapping[str, list[float]], learning_rate: float) -> None:
    for epoch, losses in enumerate(zip(curves["loss"], curves["val_loss"], strict=True), start=1):
        for loss in losses:
            if not math.isfinite(loss):
                raise GraftError(
                    f"Expected a finite loss. Received: {loss} in epoch {epoch} with "
                    f"learning_rate={learning_rate}. Lower the learning rate."
                )


def _freeze_batch_normalization(model: keras.Model) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _freeze_batch_normalization(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
