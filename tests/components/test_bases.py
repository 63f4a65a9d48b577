"""The table of bases against Keras's own source, which is read and not imported."""

import ast
import functools
import importlib.util
import re
from pathlib import Path

import pytest

from components.bases import BASES, PREPROCESSINGS, nearest_base

MODES = {"tf": "rescale_-1_1", "torch": "imagenet_mean_std", "caffe": "caffe"}
# Keras tells MobileNetV3's size in its documentation only.
DOCUMENTED = {"MobileNetV3Small": (224, 32), "MobileNetV3Large": (224, 32)}


@functools.cache
def keras_sources() -> dict[str, tuple[str, ast.FunctionDef]]:
    """Returns module text and definition of every constructor of keras.applications."""
    spec = importlib.util.find_spec("keras")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("Keras is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "src" / "applications"
    found = {}
    for path in sorted(folder.glob("*.py")):
        if path.stem.endswith("_test"):
            continue
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name in BASES:
                found[node.name] = (text, node)
    return found


def test_every_base_is_a_constructor_of_keras() -> None:
    assert set(keras_sources()) == set(BASES)


@pytest.mark.parametrize("name", BASES)
def test_preprocessing_is_the_one_of_keras(name: str) -> None:
    text, _ = keras_sources()[name]
    body = text[text.index("def preprocess_input") :]
    mode = re.search(r'mode="(\w+)"', body)
    assert BASES[name].preprocessing == (MODES[mode[1]] if mode else "none")


@pytest.mark.parametrize("name", BASES)
def test_sizes_are_those_of_keras(name: str) -> None:
    text, node = keras_sources()[name]
    own = ast.get_source_segment(text, node) or ""
    if name.endswith("V2") and name.startswith("ResNet"):  # built by resnet.py's ResNet
        text, _ = keras_sources()["ResNet50"]
    least = re.search(r"min_size=(\d+)", text)
    size = re.search(r"default_size=(\d+)", own) or re.search(r"default_size ?= ?(\d+)", text)
    if name.startswith("EfficientNetB"):  # given by position: width, depth, size
        size = re.search(r"EfficientNet\(\s+[\d.]+,\s+[\d.]+,\s+(\d+),", own)
    found = (int(size[1]), int(least[1])) if size and least else DOCUMENTED[name]
    assert (BASES[name].size, BASES[name].min_size) == found


def test_table_has_the_promised_bases_under_their_names() -> None:
    promised = {"MobileNetV2", "MobileNet", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2"}
    promised |= {"VGG16", "VGG19", "InceptionV3", "Xception", "DenseNet121", "EfficientNetB0"}
    assert promised <= set(BASES)
    assert all(name == base.name for name, base in BASES.items())


def test_every_preprocessing_of_the_table_is_a_known_one() -> None:
    assert PREPROCESSINGS == ("rescale_0_1", "rescale_-1_1", "imagenet_mean_std", "caffe", "none")
    assert {base.preprocessing for base in BASES.values()} <= set(PREPROCESSINGS)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilenetv2", "MobileNetV2"),
        ("ResNet-50", "ResNet50"),
        ("mobilenetv3", "MobileNetV3Small"),
        ("vgg", "VGG16"),
        ("zzz", None),
    ],
)
def test_nearest_base_ignores_case_and_completes_names(name: str, near: str | None) -> None:
    assert nearest_base(name) == near
