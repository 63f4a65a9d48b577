"""Bases as Keras loads them, and what is told of those that it does not."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from components.bases import BASES  # noqa: E402
from components.errors import InputError  # noqa: E402
from components.trainer.backbones import load_base, pooled_base  # noqa: E402
from components.trainer.blocks import block_starts, first_trainable  # noqa: E402
from components.trainer.model import unfreeze  # noqa: E402


def new_model(*outputs: str, size: int | None = 8) -> Any:
    """Returns a model whose outputs are a feature "map", a "vector" or a "sequence"."""
    pixels = keras.Input((size, size, 3))
    features = keras.layers.Conv2D(4, 3, name="convolution")(pixels)
    kinds = {
        "map": lambda: features,
        "vector": lambda: keras.layers.GlobalAveragePooling2D()(features),
        "sequence": lambda: keras.layers.Reshape((-1, 4))(features),
    }
    return keras.Model(pixels, [kinds[kind]() for kind in outputs], name="tiny")


def saved(path: Path, *outputs: str) -> Any:
    model = new_model(*outputs)
    model.save(path)
    return model


def named(weights: Any, name: str = "MobileNetV2") -> dict[str, Any]:
    return {"name": name, "weights": weights, "path": None}


def from_file(path: Path) -> dict[str, Any]:
    return {"path": str(path), "preprocessing": "none", "name": None}


def refusal(base: dict[str, Any], size: int) -> str:
    with pytest.raises(InputError) as caught:
        load_base(base, size)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "shape"), [("map", (2, 6, 6, 4)), ("vector", (2, 4))])
def test_a_keras_file_gives_what_it_gave_when_it_was_saved(
    tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    original = saved(tmp_path / "base.keras", kind)
    base = load_base(from_file(tmp_path / "base.keras"), 8)
    pixels = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    assert base(pixels).shape == shape
    np.testing.assert_array_equal(base(pixels), original(pixels))


def test_a_compiled_file_is_loaded_without_its_optimizer(tmp_path: Path) -> None:
    model = new_model("vector")
    model.compile("adam", loss="mse")
    model.save(tmp_path / "base.keras")
    assert not load_base(from_file(tmp_path / "base.keras"), 8).compiled


@pytest.mark.parametrize(
    ("outputs", "shown"),
    [(("sequence",), "(None, 36, 4)"), (("map", "vector"), "with the 2 outputs")],
)
def test_a_base_without_one_map_or_vector_is_refused(
    tmp_path: Path, outputs: tuple[str, ...], shown: str
) -> None:
    saved(tmp_path / "base.keras", *outputs)
    message = refusal(from_file(tmp_path / "base.keras"), 8)
    assert message.startswith("Expected a base w")
    assert shown in message


def test_a_base_that_takes_another_size_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path / "base.keras", "map")
    assert "Received: image.size=16" in refusal(from_file(tmp_path / "base.keras"), 16)


def test_a_file_that_keras_cannot_load_is_told_with_keras_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "base.keras", "map")

    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("Unknown layer: 'Newer'.\nMore lines.")

    monkeypatch.setattr(keras.saving, "load_model", fails)
    message = refusal(from_file(tmp_path / "base.keras"), 8)
    assert f"a .keras file that Keras {keras.__version__} can load" in message
    assert "base.keras (Unknown layer: 'Newer'.). Save it again" in message


# The smallest of each family; those of many layers take seconds to build.
FAST = ("MobileNet", "MobileNetV3Small", "VGG16", "ResNet50", "ConvNeXtTiny")
HEAVY_FAMILIES = (
    *("MobileNetV2", "Xception", "EfficientNetB0", "InceptionV3", "InceptionResNetV2"),
    *("DenseNet121", "NASNetMobile", "ResNet50V2", "EfficientNetV2B0"),
)


@pytest.mark.parametrize(
    "name",
    [*FAST, *(pytest.param(name, marks=pytest.mark.e2e) for name in BASES if name not in FAST)],
)
def test_a_named_base_has_the_parameters_width_and_blocks_of_the_table(name: str) -> None:
    known = BASES[name]
    # Within this scope weights have a shape and no values, which saves most of the time.
    with keras.StatelessScope():
        base = load_base(named("none", name), known.min_size)
    starts = block_starts(base, name)
    try:
        assert base.input.shape == (None, known.min_size, known.min_size, 3)
        assert (len(base.output.shape), base.output.shape[-1]) == (4, known.width)
        assert 0 not in base.output.shape
        assert base.count_params() == known.parameters
        assert len(starts) >= 5
        assert sorted(starts.values()) == list(starts.values())
        # From the last block on something is trained, and not most of the base.
        last = base.layers[list(starts.values())[-1] :]
        trained = sum(layer.count_params() for layer in last)
        assert 0 < trained < known.parameters / 2
    finally:
        keras.backend.clear_session()


@pytest.mark.e2e
@pytest.mark.parametrize("name", [*FAST, *HEAVY_FAMILIES])
def test_every_family_trains_a_step_from_its_last_block_on(name: str) -> None:
    keras.utils.set_random_seed(0)
    size = BASES[name].min_size
    base = load_base(named("none", name), size)
    pooled = pooled_base(base, size, "average")
    outputs = keras.layers.Dense(2, activation="softmax")(pooled.output)
    classifier = keras.Model(pooled.input, outputs)
    block = list(block_starts(base, name))[-1]
    first = first_trainable(base, named("none", name), block)
    base.trainable = True
    for layer in base.layers[:first]:
        layer.trainable = False
    before = [np.array(weight) for weight in base.get_weights()]
    classifier.compile("adam", "sparse_categorical_crossentropy")
    pixels = np.random.default_rng(0).random((4, size, size, 3)).astype(np.float32)
    loss = classifier.train_on_batch(pixels, np.array([0, 1, 0, 1]))
    assert np.isfinite(loss)
    frozen = {id(weight) for layer in base.layers[:first] for weight in layer.weights}
    changed = [
        id(weight) in frozen
        for weight, old in zip(base.weights, before, strict=True)
        if not np.array_equal(weight, old)
    ]
    assert changed
    assert not any(changed)
    normalizing = {
        id(weight)
        for layer in base._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.weights
    }
    assert unfreeze(base, first)
    assert not {id(weight) for weight in base.trainable_weights} & (frozen | normalizing)
    keras.backend.clear_session()


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("average", lambda features: features.mean((1, 2))),
        ("max", lambda features: features.max((1, 2))),
        ("flatten", lambda features: features.reshape(2, 6 * 6 * 4)),
    ],
)
def test_a_feature_map_is_pooled_or_flattened(pooling: str, expected: Any) -> None:
    model = new_model("map")
    pixels = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    vectors = pooled_base(model, 8, pooling)(pixels)
    np.testing.assert_allclose(
        vectors, expected(np.array(keras.tree.flatten(model(pixels))[0])), atol=1e-6
    )


@pytest.mark.parametrize("pooling", ["average", "max", "flatten"])
def test_a_vector_is_left_as_it_is(pooling: str) -> None:
    model = new_model("vector")
    pixels = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    pooled = pooled_base(model, 8, pooling)
    assert pooled.output.shape == (None, 4)
    np.testing.assert_array_equal(pooled(pixels), keras.tree.flatten(model(pixels))[0])


def test_a_size_of_which_a_base_leaves_nothing_is_refused(tmp_path: Path) -> None:
    pixels = keras.Input((None, None, 3))
    features = keras.layers.MaxPooling2D(16)(keras.layers.Conv2D(4, 3)(pixels))
    keras.Model(pixels, features, name="tiny").save(tmp_path / "base.keras")
    base = load_base(from_file(tmp_path / "base.keras"), 8)
    with pytest.raises(InputError) as caught:
        pooled_base(base, 8, "average")
    message = str(caught.value)
    assert message.startswith("Expected a base that takes images of image.size=8 pixels")
    assert "Received: the base tiny (" in message
    assert message.endswith("such as the one that the base was trained on.")
    assert "\n" not in message
    assert pooled_base(base, 18, "average").output.shape == (None, 4)


@pytest.mark.parametrize(("name", "least"), [("VGG16", 32), ("Xception", 71)])
def test_a_size_below_the_least_of_a_named_base_is_refused(name: str, least: int) -> None:
    message = refusal(named("none", name), least - 1)
    assert message.startswith(f"Expected image.size to be at least {least} pixels, the least that")
    assert f"Received: image.size={least - 1}." in message


def test_a_weights_file_is_loaded_into_a_named_base(tmp_path: Path) -> None:
    first = load_base(named("none", "MobileNet"), 32)
    first.save_weights(tmp_path / "mine.weights.h5")
    second = load_base(named(str(tmp_path / "mine.weights.h5"), "MobileNet"), 32)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("content", ["another", "damaged"])
def test_a_weights_file_that_does_not_fit_is_told_with_what_would(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "other.weights.h5"
    if content == "another":
        new_model("map").save_weights(path)
    else:
        path.write_bytes(b"no weights")
    message = refusal(named(str(path)), 32)
    assert message.startswith("Expected a weights file of MobileNetV2 without its top.")
    assert f"base.weights={path}" in message
    assert "model.save_weights('MobileNetV2.weights.h5')" in message


def test_unreachable_weights_give_one_error_that_says_how_to_supply_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(**_: Any) -> None:
        # As keras/src/utils/file_utils.py raises it.
        raise Exception(
            "URL fetch failure on https://storage/mobilenet_v2.h5: None -- "
            "[Errno -3] Temporary failure in name resolution"
        )

    monkeypatch.setattr(keras.applications, "MobileNetV2", unreachable)
    message = refusal(named("imagenet"), 224)
    assert "base.weights=imagenet (URL fetch failure on https://storage" in message
    assert "keras.applications.MobileNetV2(include_top=False).save('MobileNetV2.keras')" in message
    assert "set base.path" in message
    assert "\n" not in message


def test_a_download_that_stalls_is_given_up_and_the_timeout_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeouts = []

    def stalls(**_: Any) -> None:
        timeouts.append(socket.getdefaulttimeout())
        raise TimeoutError

    monkeypatch.setattr(keras.applications, "MobileNetV2", stalls)
    before = socket.getdefaulttimeout()
    assert "base.weights=imagenet (TimeoutError)" in refusal(named("imagenet"), 224)
    assert timeouts == [30.0]
    assert socket.getdefaulttimeout() == before


def test_the_real_base_gives_its_feature_map(mobilenet: Path) -> None:
    base = load_base(from_file(mobilenet), 224)
    assert base.output.shape == (None, 7, 7, 1024)
