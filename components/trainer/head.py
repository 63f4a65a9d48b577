"""The head: the layers that are trained on top of the base, and the loss that trains them."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from components.trainer.labels import check_binary

OUTPUT = "probabilities"  # name of the last layer
LOGIT = "logit"  # name of the one output of a binary head, that of the second class


def new_head(width: int, classes: int, head: Mapping[str, Any], seed: int = 0) -> keras.Model:
    """Builds the classifier that is trained on the pooled features.

    Before each Dense layer stands a dropout; a hidden one is followed by its batch normalisation,
    if any, and its activation. Names do not depend on what else is built: `hidden_0_dropout`,
    `hidden_0` (Dense), `hidden_0_normalization`, `hidden_0_activation`, …, `output_dropout` and
    `probabilities`; with `binary`, the last Dense is `logit`. The first weights and the dropouts
    follow from `seed`.

    Args:
        width: length of one feature vector, at least 1.
        classes: number of classes, at least 1.
        head: `hidden` (widths of the hidden layers), `activation` (Keras's name; default relu),
            `batch_normalization` (default False), `dropout` (share in [0, 1), default 0), `l2`
            (factor of the penalty on all Dense kernels, default 0) and `binary` (default False):
            one unit whose sigmoid is the probability of the second class.
        seed: of everything random, at least 0. Default: 0.

    Returns:
        A model from float32 [batch, width] to probabilities float32 [batch, classes]; the last
        layers compute in float32 under every policy.

    Raises:
        InputError: `binary` with another number of classes than two.
    """
    check_binary(head.get("binary", False), classes)
    seeds = _seeds(seed)
    vectors = keras.Input((width,), name="features")
    outputs = vectors
    for index, units in enumerate(head["hidden"]):
        outputs = _add_hidden(outputs, units, head, f"hidden_{index}", seeds)
    outputs = _dropout(head, "output_dropout", next(seeds))(outputs)
    outputs = _add_output(outputs, classes, head, next(seeds))
    return keras.Model(vectors, outputs, name="head")


def new_loss(label_smoothing: float, classes: int) -> keras.losses.Loss:
    """Returns the cross-entropy of label indices, int [batch], and probabilities [batch, classes].

    With `binary` it is the binary cross-entropy, as the head gives both probabilities.

    Args:
        label_smoothing: share of certainty in [0, 1) that is taken from the true class and spread
            evenly over all of them, itself included (Szegedy et al. 2016, section 7).
        classes: number of classes.
    """
    if not label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy()
    return SmoothedCrossentropy(label_smoothing, classes)


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of label indices with label smoothing, which Keras offers for one-hot only.

    Args:
        label_smoothing: share of certainty that is spread, in [0, 1).
        classes: number of classes.
    """

    def __init__(self, label_smoothing: float, classes: int):
        super().__init__(name="smoothed_crossentropy")
        self.label_smoothing = label_smoothing
        self.classes = classes

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns float32 [batch]."""
        one_hot = keras.ops.one_hot(keras.ops.reshape(y_true, (-1,)), self.classes)
        return keras.losses.categorical_crossentropy(
            one_hot, y_pred, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor takes."""
        return {"label_smoothing": self.label_smoothing, "classes": self.classes}


def _seeds(seed: int) -> Iterator[int]:
    root = np.random.SeedSequence(seed)
    while True:
        yield int(root.spawn(1)[0].generate_state(1)[0])


def _add_hidden(
    inputs: Any, units: int, head: Mapping[str, Any], name: str, seeds: Iterator[int]
) -> Any:
    normalize = head.get("batch_normalization", False)
    outputs = _dropout(head, f"{name}_dropout", next(seeds))(inputs)
    # The offset of a batch normalisation makes a bias before it useless.
    outputs = _dense(units, head, name, next(seeds), use_bias=not normalize)(outputs)
    if normalize:
        outputs = keras.layers.BatchNormalization(name=f"{name}_normalization")(outputs)
    activation = head.get("activation", "relu")
    return keras.layers.Activation(activation, name=f"{name}_activation")(outputs)


def _add_output(inputs: Any, classes: int, head: Mapping[str, Any], seed: int) -> Any:
    if not head.get("binary", False):
        options = {"activation": "softmax", "dtype": "float32"}
        return _dense(classes, head, OUTPUT, seed, **options)(inputs)
    logit = _dense(1, head, LOGIT, seed, dtype="float32")(inputs)
    # The softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)), without the loss of digits of 1 - p;
    # and Keras's losses, which look for the logits of a softmax, find the right ones.
    logits = keras.ops.pad(logit, ((0, 0), (1, 0)))
    return keras.layers.Activation("softmax", dtype="float32", name=OUTPUT)(logits)


def _dense(units: int, head: Mapping[str, Any], name: str, seed: int, **options: Any) -> Any:
    l2 = head.get("l2", 0.0)
    return keras.layers.Dense(
        units,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        name=name,
        **options,
    )


def _dropout(head: Mapping[str, Any], name: str, seed: int) -> Any:
    return keras.layers.Dropout(head.get("dropout", 0.0), seed=seed, name=name)
