"""Base and head joined, on inputs of a few numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from components.errors import InputError  # noqa: E402
from components.trainer import backbones, model  # noqa: E402
from components.trainer.head import new_head  # noqa: E402

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


def test_the_joined_model_is_the_head_after_the_base() -> None:
    pooled = backbones.pooled_base(new_base(), SIDE, "average")
    head = new_head(4, 3, HEAD)
    expected = head.predict(pooled.predict(pixels(5), verbose=0), verbose=0)
    joined = model.join(pooled, head)
    np.testing.assert_allclose(joined.predict(pixels(5), verbose=0), expected, atol=1e-6)


def test_of_the_joined_model_only_the_head_is_trainable() -> None:
    head = new_head(4, 3, HEAD)
    joined = model.join(backbones.pooled_base(new_base(), SIDE, "average"), head)
    assert [id(weight) for weight in joined.trainable_weights] == [
        id(weight) for weight in head.trainable_weights
    ]


@pytest.mark.parametrize(
    ("first", "trainable"),
    [
        (3, ["second/kernel", "second/bias"]),
        (2, ["second/kernel", "second/bias"]),  # the third layer is batch normalisation
        (1, ["first/kernel", "first/bias", "second/kernel", "second/bias"]),
        (0, ["first/kernel", "first/bias", "second/kernel", "second/bias"]),
    ],
)
def test_unfreezing_leaves_batch_normalisation_frozen(first: int, trainable: list[str]) -> None:
    base = new_base()
    backbones.pooled_base(base, SIDE, "average")
    assert model.unfreeze(base, first) == len(trainable)
    assert [weight.path for weight in base.trainable_weights] == trainable


def test_batch_normalisation_within_a_nested_model_stays_frozen_too() -> None:
    inner = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *new_base().layers[1:]], name="inner")
    outer_input = keras.Input((SIDE, SIDE, 3))
    base = keras.Model(outer_input, inner(outer_input))
    backbones.pooled_base(base, SIDE, "average")
    assert model.unfreeze(base, 1) == 4
    assert not [weight.path for weight in base.trainable_weights if "norm" in weight.path]


def test_unfrozen_layers_are_trained_in_the_joined_model_and_no_others() -> None:
    base = new_base()
    joined = model.join(
        backbones.pooled_base(base, SIDE, "average"), new_head(4, 2, {**HEAD, "dropout": 0.0})
    )
    before = {weight.path: weight.numpy() for weight in base.weights}
    model.unfreeze(base, 3)
    joined.compile("adam", "sparse_categorical_crossentropy")
    joined.fit(pixels(8), np.arange(8) % 2, verbose=0)
    changed = [w.path for w in base.weights if not np.array_equal(before[w.path], w.numpy())]
    assert changed == ["second/kernel", "second/bias"]


def test_in_float32_the_base_is_left_as_it_is() -> None:
    base = new_base()
    assert model.in_precision(base, "float32") is base


@pytest.mark.parametrize(("precision", "dtype"), [("mixed_float16", "float16")])
def test_in_mixed_precision_weights_stay_in_float32(precision: str, dtype: str) -> None:
    base = new_base()
    mixed = model.in_precision(base, precision)
    assert {layer.compute_dtype for layer in mixed.layers[1:]} == {dtype}
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    for one, other in zip(base.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def leaves(layers: list[Any]) -> Iterator[Any]:
    """Yields the layers of models within models, and those that wrappers hold."""
    for layer in layers:
        yield from leaves(layer.layers) if isinstance(layer, keras.Model) else [layer]
        if isinstance(layer, keras.layers.Wrapper):
            yield layer.layer


def nested_base() -> Any:
    """Returns models of models, with branches, a layer used twice and a wrapped one."""
    inside = keras.Input((SIDE, SIDE, 4))
    shared = keras.layers.Conv2D(4, 3, padding="same")
    branches = keras.layers.Add()([shared(inside), shared(keras.layers.Conv2D(4, 1)(inside))])
    innermost = keras.Model(inside, branches, name="innermost")
    inner = keras.Sequential([keras.Input((SIDE, SIDE, 4)), innermost, keras.layers.ReLU()])
    pixels = keras.Input((SIDE, SIDE, 3))
    outputs = inner(keras.layers.Conv2D(4, 1)(pixels))
    outputs = keras.layers.TimeDistributed(keras.layers.Dense(5))(outputs)
    return keras.Model(pixels, outputs)


def test_what_a_layer_has_learnt_of_the_data_is_kept_in_mixed_precision() -> None:
    normalization = keras.layers.Normalization(name="scale")
    normalization.adapt(255 * pixels(20))
    inner = keras.Sequential([keras.Input((SIDE, SIDE, 3)), normalization], name="inner")
    inputs = keras.Input((SIDE, SIDE, 3))
    base = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inner(inputs)))
    mixed = model.in_precision(base, "mixed_bfloat16")
    expected = base.predict(255 * pixels(2), verbose=0)
    found = mixed.predict(255 * pixels(2), verbose=0).astype(np.float32)
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_mixed_precision_reaches_every_layer_of_nested_models() -> None:
    base = nested_base()
    mixed = model.in_precision(base, "mixed_float16")
    converted = [
        layer for layer in leaves(mixed.layers) if not isinstance(layer, keras.layers.InputLayer)
    ]
    assert len(converted) == 7
    assert {layer.compute_dtype for layer in converted} == {"float16"}
    assert [weight.shape for weight in mixed.weights] == [weight.shape for weight in base.weights]
    for one, other in zip(base.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    outputs = mixed(pixels(3))
    assert outputs.dtype == "float16"
    np.testing.assert_allclose(outputs, base(pixels(3)), atol=5e-3)
    assert {layer.compute_dtype for layer in leaves(base.layers)} == {"float32"}


class OneWay(keras.layers.Layer):
    """Writes into its configuration what it does not take back, as KerasHub's ViT does."""

    def call(self, inputs: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "patches": 4}


def test_a_layer_that_cannot_be_built_again_is_told_with_the_mend() -> None:
    inside = keras.Input((SIDE, SIDE, 3))
    inner = keras.Model(inside, OneWay(name="patching")(inside))
    outside = keras.Input((SIDE, SIDE, 3))
    with pytest.raises(InputError) as caught:
        model.in_precision(keras.Model(outside, inner(outside), name="vit"), "mixed_float16")
    assert str(caught.value) == (
        "Expected a base whose layers can be built again in another precision. Received: "
        "train.precision=mixed_float16 with the base vit, whose layer patching (OneWay) cannot. "
        "Write train.precision: float32."
    )


def test_the_last_trainable_layer_is_the_last_with_weights_but_batch_normalisation() -> None:
    base = new_base(vector=True)
    assert base.layers[model.last_trainable(base)].name == "second"
    pixels_alone = keras.Input((SIDE, SIDE, 3))
    norm = keras.layers.BatchNormalization()(pixels_alone)
    assert model.last_trainable(keras.Model(pixels_alone, norm)) is None


def test_a_base_in_mixed_precision_gives_features_in_float32() -> None:
    base = new_base()
    mixed = backbones.pooled_base(model.in_precision(base, "mixed_float16"), SIDE, "average")
    plain = backbones.pooled_base(base, SIDE, "average")
    assert mixed.output.dtype == "float32"
    np.testing.assert_allclose(mixed(pixels(3)), plain(pixels(3)), atol=5e-3)
