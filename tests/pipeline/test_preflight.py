"""What is wrong with a base is told before the first stage runs."""

from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import Config

keras = pytest.importorskip("keras")

from pipeline.preflight import check_base, check_folders  # noqa: E402

PHOTOS = {"name": "tiny", "data": {"source": "photos"}, "push": {"directory": "served"}}


@pytest.fixture
def base_file(tmp_path: Path) -> Path:
    pixels = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(4, 5, name="stage1_a")(pixels)
    features = keras.layers.MaxPooling2D(8, name="stage2_a")(features)
    keras.Model(pixels, features, name="tiny").save(tmp_path / "base.keras")
    return tmp_path / "base.keras"


@pytest.fixture
def ending_without_weights(tmp_path: Path) -> Path:
    """A base whose last layers are a nested model with weights, batch normalisation and ReLU."""
    pixels = keras.Input((None, None, 3))
    inside = keras.Input((None, None, 4))
    block = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inside))
    features = keras.layers.Conv2D(4, 3, name="stem")(pixels)
    features = keras.Model(inside, block, name="block")(features)
    features = keras.layers.BatchNormalization(name="norm")(features)
    features = keras.layers.ReLU(name="relu")(features)
    keras.Model(pixels, features, name="tiny").save(tmp_path / "base.keras")
    return tmp_path / "base.keras"


def config(base_file: Path, size: int = 16, **sections: Any) -> Config:
    base = {"path": str(base_file), "preprocessing": "none"}
    return Config.model_validate({**PHOTOS, "base": base, "image": {"size": size}, **sections})


def refusal(checked: Config) -> str:
    with pytest.raises(InputError) as caught:
        check_base(checked)
    return str(caught.value)


def test_a_base_that_cannot_be_converted_is_told_before_anything_runs(
    base_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config(base_file, train={"precision": "mixed_float16"}, fine_tune={"layers": 2})
    check_base(wanted)
    monkeypatch.setattr(keras.layers.MaxPooling2D, "get_config", lambda _: {"patches": 4})
    message = refusal(wanted)
    assert "train.precision=mixed_float16 with the base tiny, whose layer stage2_a" in message


@pytest.mark.parametrize("layers", [0, 2, "all", "stage1"])
def test_a_base_with_what_is_to_be_trained_passes(base_file: Path, layers: int | str) -> None:
    check_base(config(base_file, fine_tune={"layers": layers}))


@pytest.mark.parametrize(
    ("key", "sections"),
    [
        ("fine_tune.layers", {"fine_tune": {"layers": "stage3"}}),
        (
            "tune.space.fine_tune_layers",
            {"tune": {"space": {"fine_tune_layers": [2, "stage3"]}}},
        ),
    ],
)
def test_a_block_that_the_base_does_not_have_is_told(
    base_file: Path, key: str, sections: dict[str, Any]
) -> None:
    message = refusal(config(base_file, **sections))
    assert f"Received: {key}='stage3'. Did you mean stage" in message


@pytest.mark.parametrize(
    ("layers", "first"), [(1, "relu"), (2, "norm"), ("norm", "norm"), ("relu", "relu")]
)
@pytest.mark.parametrize("key", ["fine_tune.layers", "tune.space.fine_tune_layers"])
def test_fine_tuning_that_would_train_nothing_is_told_with_the_number_that_would(
    ending_without_weights: Path, key: str, layers: int | str, first: str
) -> None:
    sections: dict[str, Any] = {
        "fine_tune.layers": {"fine_tune": {"layers": layers}},
        "tune.space.fine_tune_layers": {"tune": {"space": {"fine_tune_layers": [3, layers]}}},
    }[key]
    assert refusal(config(ending_without_weights, **sections)) == (
        f"Expected {key} to reach a layer whose weights can be trained; batch normalisation stays "
        f"as it is. Received: {key}={layers}, the layers of the base tiny from {first} on. Its "
        "last layer with such weights is block: write 3 (layers from the end) or more."
    )
    check_base(config(ending_without_weights, fine_tune={"layers": 3}))


def test_a_base_without_weights_is_not_fine_tuned(tmp_path: Path) -> None:
    pixels = keras.Input((None, None, 3))
    features = keras.layers.MaxPooling2D(2)(pixels)
    features = keras.layers.BatchNormalization()(features)
    keras.Model(pixels, features, name="tiny").save(tmp_path / "base.keras")
    message = refusal(config(tmp_path / "base.keras", fine_tune={"layers": "all"}))
    assert "Received: fine_tune.layers=all with the base tiny, which has none." in message


def test_a_size_of_which_nothing_is_left_is_told(base_file: Path) -> None:
    assert "images of image.size=8 pixels" in refusal(config(base_file, 8))


def test_one_sigmoid_for_three_classes_is_told_before_anything_runs(
    base_file: Path, tmp_path: Path, write_photos: Any
) -> None:
    write_photos(tmp_path / "photos", a=2, b=2, c=2)
    sections = {
        "head": {"binary": True},
        "data": {"source": str(tmp_path / "photos")},
        "push": {"directory": str(tmp_path / "served")},
        "runtime": {"root": str(tmp_path / "runs")},
    }
    with pytest.raises(InputError, match=r"head\.binary=true with 3 classes \(a, b, c\)\. Take"):
        check_folders(config(base_file, **sections))
