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


def config(base_file: Path, size: int = 16, **sections: Any) -> Config:
    base = {"path": str(base_file), "preprocessing": "none"}
    return Config.model_validate({**PHOTOS, "base": base, "image": {"size": size}, **sections})


def refusal(checked: Config) -> str:
    with pytest.raises(InputError) as caught:
        check_base(checked)
    return str(caught.value)


@pytest.mark.parametrize("layers", [0, 1, "all", "stage1", "stage2_a"])
def test_a_base_with_what_is_to_be_trained_passes(base_file: Path, layers: int | str) -> None:
    check_base(config(base_file, fine_tune={"layers": layers}))


@pytest.mark.parametrize(
    "sections",
    [{"fine_tune": {"layers": "stage3"}}, {"tune": {"space": {"fine_tune_layers": [1, "stage3"]}}}],
)
def test_a_block_that_the_base_does_not_have_is_told(
    base_file: Path, sections: dict[str, Any]
) -> None:
    message = refusal(config(base_file, **sections))
    assert "Received: fine_tune.layers='stage3'. Did you mean stage" in message


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
