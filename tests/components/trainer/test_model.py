"""The head, and base and head joined, on inputs of a few numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from components.errors import GraftError  # noqa: E402
from components.trainer import backbones, model  # noqa: E402

SIDE = 6  # pixels
HEAD = {"hidden": [5], "dropout": 0.5}


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()


def new_base(vector: bool = False) -> Any:
    """Returns layers: input, first, norm, second, and with `vector` pool; 1 kernel, 1 bias each."""
    pixels = keras.Input((SIDE, SIDE, 3))
    outputs = keras.layers.Conv2D(4, 3, name="first")(pixels)
    outputs = keras.layers.BatchNormalization(name="norm")(outputs)
    outputs = keras.layers.Conv2D(4, 3, name="second")(outputs)
    if vector:
        outputs = keras.layers.Flatten(name="pool")(outputs)
    return keras.Model(pixels, outputs)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, SIDE, SIDE, 3)).astype(np.float32)


def separable(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors whose sign is their label."""
    label_index = np.arange(count) % 2
    vectors = np.random.default_rng(0).random((count, 3)) + 0.5
    return (vectors * (2 * label_index - 1)[:, None]).astype(np.float32), label_index


def stage(**changed: Any) -> dict[str, Any]:
    return {"epochs": 30, "learning_rate": 0.05, "batch_size": 8, "patience": 3, **changed}


def test_a_pooled_base_is_frozen() -> None:
    base = new_base()
    pooled = backbones.pooled_base(base, SIDE, "average")
    assert pooled.trainable_weights == base.trainable_weights == []


@pytest.mark.parametrize(("pooling", "reduce"), [("average", np.mean), ("max", np.max)])
def test_a_feature_map_is_pooled_over_its_places(pooling: str, reduce: Any) -> None:
    base = new_base()
    pooled = backbones.pooled_base(base, SIDE, pooling)
    expected = reduce(base.predict(pixels(2), verbose=0), axis=(1, 2))
    assert pooled.output.shape == (None, 4)
    np.testing.assert_allclose(pooled.predict(pixels(2), verbose=0), expected, atol=1e-5)


def test_a_base_that_gives_a_vector_is_left_as_it_is() -> None:
    base = new_base(vector=True)
    pooled = backbones.pooled_base(base, SIDE, "max")
    np.testing.assert_allclose(pooled(pixels(2)), base(pixels(2), training=False), atol=1e-6)


def test_batch_normalisation_of_the_base_keeps_its_statistics_in_training() -> None:
    base = new_base()
    pooled = backbones.pooled_base(base, SIDE, "average")
    np.testing.assert_allclose(
        pooled(pixels(3) * 9, training=True), pooled(pixels(3) * 9, training=False), atol=1e-6
    )


def test_a_head_gives_probabilities_that_add_up_to_one() -> None:
    head = model.new_head(4, 3, HEAD)
    probabilities = head.predict(np.eye(4, dtype=np.float32) * 50, verbose=0)
    assert probabilities.shape == (4, 3)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_head_has_the_layers_that_were_asked_for() -> None:
    head = model.new_head(4, 3, {"hidden": [7, 5], "dropout": 0.3})
    kinds = [type(layer).__name__ for layer in head.layers[1:]]
    assert kinds == ["Dropout", "Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert [tuple(weight.shape) for weight in head.weights[::2]] == [(4, 7), (7, 5), (5, 3)]
    assert {layer.rate for layer in head.layers if hasattr(layer, "rate")} == {0.3}


def test_a_head_without_hidden_layers_is_one_layer() -> None:
    head = model.new_head(4, 3, {"hidden": [], "dropout": 0.0})
    assert [tuple(weight.shape) for weight in head.weights] == [(4, 3), (3,)]


def test_the_joined_model_is_the_head_after_the_base() -> None:
    pooled = backbones.pooled_base(new_base(), SIDE, "average")
    head = model.new_head(4, 3, HEAD)
    expected = head.predict(pooled.predict(pixels(5), verbose=0), verbose=0)
    joined = model.join(pooled, head)
    np.testing.assert_allclose(joined.predict(pixels(5), verbose=0), expected, atol=1e-6)


def test_of_the_joined_model_only_the_head_is_trainable() -> None:
    head = model.new_head(4, 3, HEAD)
    joined = model.join(backbones.pooled_base(new_base(), SIDE, "average"), head)
    assert [id(weight) for weight in joined.trainable_weights] == [
        id(weight) for weight in head.trainable_weights
    ]


@pytest.mark.parametrize(
    ("layers", "trainable"),
    [
        (1, ["second/kernel", "second/bias"]),
        (2, ["second/kernel", "second/bias"]),  # the second last is batch normalisation
        (3, ["first/kernel", "first/bias", "second/kernel", "second/bias"]),
        (99, ["first/kernel", "first/bias", "second/kernel", "second/bias"]),
    ],
)
def test_unfreezing_the_top_leaves_batch_normalisation_frozen(
    layers: int, trainable: list[str]
) -> None:
    base = new_base()
    backbones.pooled_base(base, SIDE, "average")
    assert model.unfreeze_top(base, layers) == len(trainable)
    assert [weight.path for weight in base.trainable_weights] == trainable


def test_batch_normalisation_within_a_nested_model_stays_frozen_too() -> None:
    inner = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *new_base().layers[1:]], name="inner")
    outer_input = keras.Input((SIDE, SIDE, 3))
    base = keras.Model(outer_input, inner(outer_input))
    backbones.pooled_base(base, SIDE, "average")
    assert model.unfreeze_top(base, 1) == 4
    assert not [weight.path for weight in base.trainable_weights if "norm" in weight.path]


def test_unfrozen_layers_are_trained_in_the_joined_model_and_no_others() -> None:
    base = new_base()
    joined = model.join(
        backbones.pooled_base(base, SIDE, "average"), model.new_head(4, 2, {**HEAD, "dropout": 0.0})
    )
    before = {weight.path: weight.numpy() for weight in base.weights}
    model.unfreeze_top(base, 1)
    data = (pixels(8), np.arange(8) % 2)
    model.fit(joined, data, data, stage(epochs=1))
    changed = [w.path for w in base.weights if not np.array_equal(before[w.path], w.numpy())]
    assert changed == ["second/kernel", "second/bias"]


def test_a_head_learns_what_can_be_told_apart() -> None:
    head = model.new_head(3, 2, {"hidden": [4], "dropout": 0.0})
    curves = model.fit(head, separable(), separable(10), stage(patience=30))
    assert set(curves) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert curves["val_accuracy"][-1] == 1.0
    assert curves["loss"][-1] < 0.2 < curves["loss"][0]


def test_training_stops_when_the_watched_loss_no_longer_falls_and_keeps_the_best() -> None:
    vectors, label_index = separable()
    head = model.new_head(3, 2, {"hidden": [], "dropout": 0.0})
    # Watched labels are the wrong way round, so that learning raises the watched loss.
    curves = model.fit(head, (vectors, label_index), (vectors, 1 - label_index), stage(patience=2))
    best = int(np.argmin(curves["val_loss"]))
    assert len(curves["val_loss"]) == best + 1 + 2
    kept = head.evaluate(vectors, 1 - label_index, verbose=0)[0]
    assert kept == pytest.approx(min(curves["val_loss"]), abs=1e-5)


def test_training_takes_a_dataset_too() -> None:
    tf = pytest.importorskip("tensorflow")
    head = model.new_head(3, 2, {"hidden": [4], "dropout": 0.0})
    training, watched = (tf.data.Dataset.from_tensor_slices(separable(n)).batch(8) for n in (40, 8))
    curves = model.fit(head, training, watched, {"epochs": 2, "learning_rate": 0.01, "patience": 3})
    assert len(curves["loss"]) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_training_loss_that_is_not_finite_ends_with_the_epoch_and_the_mend(bad: float) -> None:
    vectors, label_index = separable()
    head = model.new_head(3, 2, {"hidden": [], "dropout": 0.0})
    broken = np.where(np.arange(40)[:, None] == 0, bad, vectors).astype(np.float32)
    with pytest.raises(GraftError, match=r"nan in epoch 1 with learning_rate=0\.05\. Lower"):
        model.fit(head, (broken, label_index), separable(8), stage())


def test_a_model_that_diverges_in_the_last_step_is_no_model() -> None:
    data = separable(8)
    head = model.new_head(3, 2, {"hidden": [4], "dropout": 0.0})
    with pytest.raises(GraftError, match=r"(nan|inf) in epoch 1 with learning_rate=1e\+30"):
        model.fit(head, data, data, stage(epochs=1, learning_rate=1e30))
