"""Bases as Keras loads them, and what is told of those that it does not."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from components.errors import InputError  # noqa: E402
from components.trainer.backbones import load_base  # noqa: E402


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


@pytest.mark.parametrize(
    ("name", "size", "width"),
    [
        ("MobileNetV2", 32, 1280),
        ("ResNet50", 32, 2048),
        ("VGG16", 32, 512),
        ("InceptionV3", 75, 2048),
        ("Xception", 71, 2048),
    ],
)
def test_a_named_base_is_built_without_its_top(name: str, size: int, width: int) -> None:
    base = load_base(named("none", name), size)
    assert base.input.shape == (None, size, size, 3)
    assert (len(base.output.shape), base.output.shape[-1]) == (4, width)
    keras.backend.clear_session()


def test_a_weights_file_is_loaded_into_a_named_base(tmp_path: Path) -> None:
    first = load_base(named("none"), 32)
    first.save_weights(tmp_path / "mine.weights.h5")
    second = load_base(named(str(tmp_path / "mine.weights.h5")), 32)
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
