"""Random changes of training images, on images of a few pixels."""

import colorsys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
import tensorflow as tf  # noqa: E402

from components.augmentations import AMOUNTS, FLIPS  # noqa: E402
from components.bases import NONE, PREPROCESSINGS  # noqa: E402
from components.trainer.augmentation import new_augmenter, variant_numbers  # noqa: E402
from components.transform import image_ops  # noqa: E402

SIDE = 8  # pixels
EVERYTHING = [{"flip": "horizontal_and_vertical"}, *({name: 0.2} for name in AMOUNTS)]
# One that draws once, one that resamples, one that draws twice.
FEW = [{"flip": "horizontal"}, {"zoom": 0.2}, {"hue": 0.2}]
EACH = [*({"flip": flip} for flip in FLIPS), *({name: 0.3} for name in AMOUNTS)]


@pytest.fixture
def mixed_precision() -> Iterator[Callable[[], None]]:
    """Makes float16 the dtype that layers compute in, until the test ends."""
    yield lambda: keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_dtype_policy("float32")


def images(count: int = 4, low: int = 0, high: int = 256) -> np.ndarray:
    values = np.random.default_rng(1).integers(low, high, (count, SIDE, SIDE, 3))
    return values.astype(np.float32)


def change(augment: Any, pixels: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.array(new_augmenter(augment, SIDE, NONE, seed)(pixels, training=True))


def assert_same(found: Any, expected: Any) -> None:
    """Checks pixels that are computed alike; how work is split over threads moves the last bit."""
    np.testing.assert_allclose(found, expected, atol=0.01)


def copies(pixel: list[float], count: int = 300) -> np.ndarray:
    return np.full((count, SIDE, SIDE, 3), pixel, np.float32)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_nothing_is_changed_outside_training(preprocessing: str) -> None:
    augmenter = new_augmenter(EVERYTHING, SIDE, preprocessing, 0)
    pixels = image_ops.scale(tf.constant(images()), preprocessing)
    np.testing.assert_array_equal(augmenter(pixels), pixels)
    np.testing.assert_array_equal(augmenter(pixels, training=False), pixels)


def test_no_augmentation_changes_nothing() -> None:
    np.testing.assert_array_equal(change("none", images()), images())
    augmenter = new_augmenter("none", SIDE, NONE, 0)
    np.testing.assert_array_equal(augmenter.at(images(), np.arange(4)), images())


@pytest.mark.parametrize("augment", EACH, ids=lambda item: "-".join(map(str, *item.items())))
def test_each_augmentation_changes_pixels_and_keeps_their_shape_dtype_and_range(
    augment: dict[str, Any],
) -> None:
    pixels = images(16)
    changed = new_augmenter([augment], SIDE, NONE, 0)(pixels, training=True)
    assert changed.dtype == tf.float32
    assert changed.shape == pixels.shape
    assert np.min(changed) >= 0 and np.max(changed) <= 255
    differ = np.abs(changed - pixels).max(axis=(1, 2, 3)) > 1
    assert differ.sum() >= 4


@pytest.mark.parametrize(
    ("flip", "views"),
    [("horizontal", [(1, -1)]), ("vertical", [(-1, 1)]), (FLIPS[2], [(1, -1), (-1, 1), (-1, -1)])],
)
def test_a_flip_gives_the_views_of_its_name_and_the_image_itself(
    flip: str, views: list[tuple[int, int]]
) -> None:
    [image] = images(1)
    expected = [image, *(image[::rows, ::columns] for rows, columns in views)]
    found = [0] * len(expected)
    for view in change([{"flip": flip}], np.stack([image] * 200)):
        [index] = [i for i, known in enumerate(expected) if np.abs(view - known).max() < 1e-3]
        found[index] += 1
    # Each is as likely; four standard deviations of 200 draws.
    share = 1 / len(expected)
    assert np.abs(np.array(found) - 200 * share).max() < 4 * np.sqrt(200 * share * (1 - share))


def test_brightness_moves_every_pixel_up_or_down_by_at_most_the_amount() -> None:
    moved = (change([{"brightness": 0.2}], copies([120, 120, 120])) - 120)[:, 0, 0, 0] / 255
    assert -0.2 <= moved.min() < -0.17
    assert 0.17 < moved.max() <= 0.2


def test_contrast_is_more_or_less_by_at_most_the_amount() -> None:
    pixels = np.stack([images(1, 100, 150)[0]] * 300)
    factors = change([{"contrast": 0.2}], pixels).std(axis=(1, 2, 3)) / pixels[0].std()
    assert 0.79 < factors.min() < 0.83
    assert 1.17 < factors.max() < 1.21


@pytest.mark.parametrize("amount", [0.25, 1.0])
def test_saturation_is_more_or_less_by_at_most_the_amount(amount: float) -> None:
    # A hue of 0 and a saturation of 0.4.
    changed = change([{"saturation": amount}], copies([200, 120, 120]))[:, 0, 0] / 255
    factors = [colorsys.rgb_to_hsv(*map(float, pixel))[1] / 0.4 for pixel in changed]
    assert 1 - amount - 0.01 < min(factors) < 1 - 0.85 * amount
    assert 1 + 0.85 * amount < max(factors) < 1 + amount + 0.01


def test_a_colour_that_is_saturated_stays_one() -> None:
    changed = change([{"saturation": 1.0}], copies([200, 0, 0]))[:, 0, 0]
    np.testing.assert_allclose(changed[:, 0], 200, rtol=1e-5)
    assert changed.min() == 0


def test_hue_moves_on_the_circle_by_at_most_the_amount() -> None:
    changed = change([{"hue": 0.1}], copies([200, 100, 100]))[:, 0, 0] / 255
    hues = np.array([colorsys.rgb_to_hsv(*map(float, pixel))[0] for pixel in changed])
    moved = (hues + 0.5) % 1 - 0.5
    assert -0.101 < moved.min() < -0.08
    assert 0.08 < moved.max() < 0.101


def test_what_moves_in_from_outside_is_no_border() -> None:
    far = [{"rotation": 0.5}, {"zoom": 0.5}, {"translation": 0.5}]
    np.testing.assert_allclose(
        change(far, copies([90, 60, 30], 50)), copies([90, 60, 30], 50), 1e-4
    )


def test_strong_changes_more_than_light() -> None:
    pixels = np.stack([images(1)[0]] * 64)
    light, strong = (np.abs(change(name, pixels) - pixels).mean() for name in ("light", "strong"))
    assert 1 < light < strong


def test_images_of_a_batch_are_changed_each_on_its_own() -> None:
    changed = change([{"brightness": 0.3}], copies([100, 100, 100], 8))
    assert len(np.unique(changed[:, 0, 0, 0])) == 8


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_every_preprocessing_is_undone_and_done_again(preprocessing: str) -> None:
    pixels = tf.constant(images())
    expected = new_augmenter("strong", SIDE, NONE, 5)(pixels, training=True)
    augmenter = new_augmenter("strong", SIDE, preprocessing, 5)
    changed = augmenter(image_ops.scale(pixels, preprocessing), training=True)
    np.testing.assert_allclose(image_ops.unscale(changed, preprocessing), expected, atol=0.01)


def test_it_computes_in_float32_under_mixed_precision(
    mixed_precision: Callable[[], None],
) -> None:
    expected = change(EVERYTHING, images())
    mixed_precision()
    assert_same(change(EVERYTHING, images()), expected)


def test_the_same_seed_gives_the_same_sequence_and_another_seed_another() -> None:
    one, two, other = (new_augmenter(FEW, SIDE, NONE, seed) for seed in (3, 3, 4))
    for _ in range(3):
        changed = one(images(), training=True)
        assert_same(changed, two(images(), training=True))
        assert not np.allclose(changed, other(images(), training=True))


def test_a_sequence_goes_on_from_its_saved_state() -> None:
    augmenter = new_augmenter(FEW, SIDE, NONE, 3)
    augmenter(images(), training=True)
    state = [variable.numpy() for variable in augmenter.variables]
    expected = augmenter(images(), training=True)
    resumed = new_augmenter(FEW, SIDE, NONE, 3)
    for variable, value in zip(resumed.variables, state, strict=True):
        variable.assign(value)
    assert_same(resumed(images(), training=True), expected)


def test_a_numbered_variant_depends_on_nothing_but_seed_image_and_number() -> None:
    pixels, numbers = images(6), np.arange(6)
    augmenter = new_augmenter(FEW, SIDE, NONE, 3)
    expected = augmenter.at(pixels, numbers).numpy()
    assert_same(augmenter.at(pixels[::-1], numbers[::-1])[::-1], expected)
    assert_same(augmenter.at(pixels[4:5], numbers[4:5])[0], expected[4])
    again = new_augmenter(FEW, SIDE, NONE, 3)
    again(pixels, training=True)
    assert_same(again.at(pixels, numbers), expected)
    other = new_augmenter(FEW, SIDE, NONE, 4).at(pixels, numbers).numpy()
    for changed in (augmenter.at(pixels, numbers + 6).numpy(), other):
        assert (np.abs(changed - expected).max(axis=(1, 2, 3)) > 1).all()


def test_numbered_variants_leave_no_state_behind() -> None:
    augmenter = new_augmenter(FEW, SIDE, NONE, 3)
    before = [variable.numpy() for variable in augmenter.variables]
    augmenter.at(images(), np.arange(4))
    np.testing.assert_array_equal([variable.numpy() for variable in augmenter.variables], before)
    assert not augmenter.trainable_variables


def test_numbered_variants_are_the_same_in_a_parallel_dataset() -> None:
    pixels, numbers = images(12), np.arange(12)
    augmenter = new_augmenter(FEW, SIDE, NONE, 3)
    dataset = tf.data.Dataset.from_tensor_slices((pixels, numbers)).batch(5)
    batches = dataset.map(augmenter.at, num_parallel_calls=3)
    assert batches.element_spec == tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)
    changed = np.concatenate(list(batches.as_numpy_iterator()))
    assert_same(changed, augmenter.at(pixels, numbers))


def test_numbers_are_of_an_image_and_a_variant() -> None:
    keys = tf.constant(["one", "two"])
    numbers = [variant_numbers(keys, variant).numpy() for variant in (0, 1, 11)]
    assert len(np.unique(numbers)) == 6
    assert numbers[0].dtype == np.int64
    np.testing.assert_array_equal(variant_numbers(keys[::-1], tf.constant(1))[::-1], numbers[1])
