"""The head and its loss, on inputs of a few numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_graph import random_ops

keras = pytest.importorskip("keras")
import tensorflow as tf  # noqa: E402

from components.errors import InputError  # noqa: E402
from components.trainer.head import new_head, new_loss  # noqa: E402

WIDTH = 6


@pytest.fixture
def mixed_precision() -> Iterator[Callable[[], None]]:
    """Makes float16 the dtype that layers compute in, until the test ends."""
    yield lambda: keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_dtype_policy("float32")


def section(**changed: Any) -> dict[str, Any]:
    return {
        "pooling": "average",
        "hidden": [5],
        "activation": "relu",
        "batch_normalization": False,
        "dropout": 0.5,
        "l2": 0.0,
        "label_smoothing": 0.0,
        "binary": False,
        **changed,
    }


def vectors(count: int = 9) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, WIDTH)).astype(np.float32)


def names(head: Any) -> list[str]:
    return [layer.name for layer in head.layers if not isinstance(layer, keras.layers.InputLayer)]


def with_logit(logits: list[float]) -> tuple[Any, np.ndarray]:
    """Returns a binary head whose logit is its one input, and inputs with these logits."""
    head = new_head(1, 2, section(hidden=[], dropout=0.0, binary=True))
    head.get_layer("logit").set_weights([np.ones((1, 1)), np.zeros(1)])
    return head, np.array(logits, np.float32)[:, None]


def test_layers_stand_in_order_under_names_that_stay() -> None:
    head = new_head(WIDTH, 3, section(hidden=[5, 4], batch_normalization=True))
    assert names(head) == [
        "hidden_0_dropout",
        "hidden_0",
        "hidden_0_normalization",
        "hidden_0_activation",
        "hidden_1_dropout",
        "hidden_1",
        "hidden_1_normalization",
        "hidden_1_activation",
        "output_dropout",
        "probabilities",
    ]
    assert head.get_layer("hidden_1").units == 4
    assert [head.get_layer(name).use_bias for name in ("hidden_0", "probabilities")] == [
        False,
        True,
    ]


def test_a_hidden_layer_without_batch_normalisation_has_a_bias() -> None:
    head = new_head(WIDTH, 3, section())
    assert "hidden_0_normalization" not in names(head)
    assert head.get_layer("hidden_0").use_bias


def test_no_hidden_layers_leave_a_linear_classifier() -> None:
    head = new_head(WIDTH, 3, section(hidden=[]))
    kernel, bias = head.get_layer("probabilities").get_weights()
    exponents = np.exp(vectors() @ kernel + bias)
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head(vectors()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "activation", ["relu", "gelu", "elu", "selu", "silu", "tanh", "leaky_relu"]
)
def test_every_activation_is_keras_own(activation: str) -> None:
    head = new_head(WIDTH, 3, section(activation=activation))
    assert head.get_layer("hidden_0_activation").activation is keras.activations.get(activation)
    np.testing.assert_allclose(np.sum(head(vectors()), axis=1), 1, rtol=1e-6)


def test_the_penalty_is_on_every_kernel_and_on_nothing_else() -> None:
    head = new_head(WIDTH, 3, section(hidden=[5, 4], l2=0.1, batch_normalization=True))
    kernels = [weight for weight in head.trainable_weights if weight.path.endswith("kernel")]
    assert len(kernels) == 3
    expected = 0.1 * sum(float(np.sum(np.square(kernel.numpy()))) for kernel in kernels)
    assert float(sum(head.losses)) == pytest.approx(expected, rel=1e-5)
    assert not new_head(WIDTH, 3, section()).losses


def test_the_same_seed_gives_the_same_weights_and_dropouts() -> None:
    one, two, other = (new_head(WIDTH, 3, section(), seed) for seed in (7, 7, 8))
    for left, right in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])
    first = [np.array(one(vectors(), training=True)) for _ in range(2)]
    second = [np.array(two(vectors(), training=True)) for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_no_two_layers_share_a_seed() -> None:
    head = new_head(WIDTH, WIDTH, section(hidden=[WIDTH, WIDTH]), seed=3)
    kernels = [weight.numpy() for weight in head.weights if weight.path.endswith("kernel")]
    assert not np.array_equal(kernels[0], kernels[1])
    seeds = [layer.seed for layer in head.layers if isinstance(layer, keras.layers.Dropout)]
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("binary", [False, True])
def test_probabilities_are_float32_under_mixed_precision(
    mixed_precision: Callable[[], None], binary: bool
) -> None:
    mixed_precision()
    head = new_head(WIDTH, 2, section(binary=binary))
    assert head.get_layer("hidden_0").compute_dtype == "float16"
    last_dense = head.get_layer("logit" if binary else "probabilities")
    assert last_dense.compute_dtype == head.get_layer("probabilities").compute_dtype == "float32"
    assert head(vectors()).dtype == tf.float32


def test_a_binary_head_gives_the_sigmoid_as_the_second_class() -> None:
    logits = [-3.0, 0.0, 0.5, 20.0]
    head, inputs = with_logit(logits)
    second = 1 / (1 + np.exp(-np.array(logits)))
    np.testing.assert_allclose(head(inputs), np.stack([1 - second, second], 1), atol=1e-7)
    # 1 - sigmoid(20) is 0 in float32; the probability of the first class is not.
    assert float(head(inputs)[3, 0]) == pytest.approx(np.exp(-20), rel=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_binary_head_is_the_binary_cross_entropy(smoothing: float) -> None:
    logits = np.array([-100.0, -30.0, -2.0, 0.0, 1.0, 30.0, 100.0])
    head, inputs = with_logit(list(logits))
    loss = new_loss(smoothing, 2)
    # In a graph, as in training, where Keras goes back to the logits.
    per_image = tf.function(lambda labels: loss.call(labels, head(inputs)))
    for label in (0, 1):
        target = label * (1 - smoothing) + smoothing / 2
        # The cross-entropy by the logit z: log(1 + e^z) - target * z.
        expected = np.logaddexp(0, logits) - target * logits
        losses = per_image(tf.fill([len(logits)], label))
        np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=1e-6)


def test_a_saturated_binary_head_that_is_wrong_still_learns() -> None:
    head, inputs = with_logit([40.0])
    head.compile(keras.optimizers.SGD(1.0), new_loss(0.0, 2), jit_compile=False)
    head.train_on_batch(inputs, np.array([0]))
    assert head.get_layer("logit").get_weights()[0].item() == pytest.approx(1 - 40)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_binary_head_is_for_two_classes(classes: int) -> None:
    with pytest.raises(InputError, match=rf"head\.binary=true with {classes} classes\. Take"):
        new_head(WIDTH, classes, section(binary=True))


def test_a_binary_head_learns_what_tells_two_classes_apart() -> None:
    inputs = vectors(64)
    labels = (inputs[:, 0] > 0).astype(int)
    head = new_head(WIDTH, 2, section(binary=True, dropout=0.0))
    head.compile(keras.optimizers.Adam(0.1), new_loss(0.0, 2), jit_compile=False)
    for _ in range(30):
        head.train_on_batch(inputs, labels)
    assert (np.argmax(head(inputs), axis=1) == labels).mean() > 0.95


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_without_smoothing_the_loss_is_the_sparse_cross_entropy(shape: tuple[int, ...]) -> None:
    probabilities = np.array([[0.7, 0.2, 0.1]] * 4, np.float32)
    labels = np.array([0, 1, 2, 0]).reshape(shape)
    loss = float(new_loss(0.0, 3)(labels, probabilities))
    assert loss == pytest.approx(-np.log([0.7, 0.2, 0.1, 0.7]).mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_with_smoothing_the_loss_is_that_of_softened_labels(
    shape: tuple[int, ...], dtype: str
) -> None:
    probabilities = np.array([[0.7, 0.2, 0.1]] * 4, np.float32)
    labels = np.array([0, 1, 2, 0])
    loss = float(new_loss(0.3, 3)(labels.reshape(shape).astype(dtype), probabilities))
    softened = np.eye(3)[labels] * 0.7 + 0.1
    assert loss == pytest.approx(-(softened * np.log(probabilities)).sum(1).mean(), rel=1e-6)
    of_keras = keras.losses.categorical_crossentropy(
        np.eye(3)[labels], probabilities, label_smoothing=0.3
    )
    assert loss == pytest.approx(float(np.mean(of_keras)), rel=1e-6)


def test_images_may_weigh_differently_under_either_loss() -> None:
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    for smoothing in (0.0, 0.2):
        loss = new_loss(smoothing, 2)
        single = [float(loss(np.array([0]), row[None])) for row in probabilities]
        weighted = float(loss(np.array([0, 0]), probabilities, sample_weight=np.array([3.0, 1.0])))
        assert weighted == pytest.approx((3 * single[0] + single[1]) / 2, rel=1e-6)


@pytest.mark.parametrize("binary", [False, True])
def test_an_exported_head_needs_no_code_and_draws_nothing(tmp_path: Path, binary: bool) -> None:
    head = new_head(WIDTH, 2, section(binary=binary, batch_normalization=True))
    module = tf.Module()
    module.head = head
    module.serve = tf.function(
        lambda inputs: head(inputs, training=False),
        input_signature=[tf.TensorSpec([None, WIDTH], tf.float32)],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    [served] = serve(tf.constant(vectors())).values()
    np.testing.assert_allclose(served, head(vectors(), training=False), atol=1e-6)
    assert random_ops(tmp_path) == set()


def test_random_operations_of_an_export_are_found(tmp_path: Path) -> None:
    module = tf.Module()
    module.serve = tf.function(
        lambda inputs: inputs + tf.random.stateless_uniform([], [1, 2]),
        input_signature=[tf.TensorSpec([None], tf.float32)],
    )
    tf.saved_model.save(module, str(tmp_path))
    assert "StatelessRandomUniformV2" in random_ops(tmp_path)


def test_a_head_is_saved_and_read_by_keras_without_custom_code(tmp_path: Path) -> None:
    head = new_head(WIDTH, 2, section(binary=True, batch_normalization=True, l2=0.1))
    head.save(tmp_path / "head.keras")
    read = keras.models.load_model(tmp_path / "head.keras")
    np.testing.assert_array_equal(read(vectors()), head(vectors()))
