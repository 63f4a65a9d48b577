"""What is known before training: where features are kept, notes, which images are watched."""

import copy
import functools
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_transform")
keras = pytest.importorskip("keras")

from components.trainer import early_stopping, extraction, preparation  # noqa: E402
from components.trainer.dataset import Index  # noqa: E402

SETTINGS: dict[str, Any] = {
    "image": {"size": 8, "resize": "stretch", "preprocessing": "rescale_0_1"},
    "base_sha256": "b" * 64,
    "transform_sha256": "t" * 64,
    "head": {"pooling": "average", "hidden": [16]},
    "train": {
        "precision": "float32",
        "seed": 0,
        "learning_rate": 0.001,
        "augment": "light",
        "augment_copies": 2,
        "cache_dtype": "float32",
        "cache_limit": 1_000,
    },
}
WIDTH = 4


# Parsing all that a module imports takes half a second.
code_digest = functools.cache(extraction.code_digest)


@pytest.fixture(autouse=True)
def digested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "code_digest", code_digest)


def changed(section: str, key: str | None, value: Any) -> dict[str, Any]:
    settings = copy.deepcopy(SETTINGS)
    if key is None:
        settings[section] = value
    else:
        settings[section][key] = value
    return settings


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("image", "size", 9),
        ("image", "resize", "crop"),
        ("image", "preprocessing", "none"),
        ("base_sha256", None, "c" * 64),
        ("transform_sha256", None, "u" * 64),
        ("head", "pooling", "max"),
        ("train", "precision", "mixed_float16"),
    ],
)
def test_what_shapes_a_feature_names_another_place(
    section: str, key: str | None, value: Any, number: int
) -> None:
    other = changed(section, key, value)
    assert extraction.space_of(other, number) != extraction.space_of(SETTINGS, number)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("head", "hidden", []), ("train", "learning_rate", 0.1), ("train", "augment_copies", 9)],
)
def test_what_shapes_the_head_alone_keeps_the_place(
    section: str, key: str, value: Any, number: int
) -> None:
    other = changed(section, key, value)
    assert extraction.space_of(other, number) == extraction.space_of(SETTINGS, number)


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 1), ("augment", "strong"), ("augment", [{"zoom": 0.1}])]
)
def test_changed_copies_have_a_place_for_each_seed_and_list_and_unchanged_images_one(
    key: str, value: Any
) -> None:
    other = changed("train", key, value)
    assert extraction.space_of(other, 1) != extraction.space_of(SETTINGS, 1)
    assert extraction.space_of(other) == extraction.space_of(SETTINGS)


def test_each_copy_has_a_place_of_its_own() -> None:
    assert len({extraction.space_of(SETTINGS, number) for number in range(4)}) == 4


@pytest.mark.parametrize("module", extraction.MAKERS)
def test_another_code_of_what_makes_features_names_another_place(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    before = extraction.space_of(SETTINGS)
    edited = {module: "e" * 64}
    monkeypatch.setattr(
        extraction, "code_digest", lambda name: edited.get(name) or code_digest(name)
    )
    assert extraction.space_of(SETTINGS) != before


def test_other_decoders_name_another_place(monkeypatch: pytest.MonkeyPatch) -> None:
    before = extraction.space_of(SETTINGS)
    monkeypatch.setattr(extraction, "decoder_versions", lambda: ("pillow==0",))
    assert extraction.space_of(SETTINGS) != before


def test_a_preset_and_the_list_that_it_stands_for_share_their_copies() -> None:
    listed = [{"flip": "horizontal"}, {"rotation": 0.03}, {"zoom": 0.1}, {"contrast": 0.1}]
    other = changed("train", "augment", listed)
    assert extraction.space_of(other, 1) == extraction.space_of(SETTINGS, 1)


def notes(images: int, copies: int) -> list[str]:
    vectors = keras.Input((WIDTH,))
    source = extraction.Extraction(
        [],
        None,
        SETTINGS,
        keras.Model(vectors, keras.layers.ReLU()(vectors)),
        tf.distribute.get_strategy(),
    )
    return list(source.tell_small_limit(images, copies))


def test_copies_that_do_not_fit_into_the_cache_together_are_noted() -> None:
    # A row: 4 numbers of 4 bytes, 32 of the key and 4 of the checksum, hence 52.
    assert notes(7, 2) == [
        "The features of 7 images and 2 changed copies of each take 1,092 bytes, and "
        "train.cache_limit=1,000 keeps fewer: each run computes some of them again."
    ]


@pytest.mark.parametrize(("images", "copies"), [(6, 2), (9, 1), (100, 0)])
def test_copies_that_fit_and_images_without_copies_are_not_noted(images: int, copies: int) -> None:
    assert notes(images, copies) == []


def test_copies_of_a_watched_image_are_watched_in_whatever_group_they_are() -> None:
    keys = np.array([f"{number // 2:064x}".encode() for number in range(24)], "S64")
    # The two copies of an image stand in different groups of their own.
    groups = np.array([f"{number:064x}".encode() for number in range(24)], "S64")
    index = Index(keys, groups, np.arange(24) // 2 % 2)
    chosen = early_stopping.watched(list(groups), list(index.label_index), 0.25)
    assert (chosen[::2] != chosen[1::2]).any()  # or else there would be nothing to mend
    watched = preparation.watched_images(index, 0.25)
    np.testing.assert_array_equal(watched[::2], chosen[::2] | chosen[1::2])
    np.testing.assert_array_equal(watched[1::2], watched[::2])
