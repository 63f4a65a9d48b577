"""Pixels after decoding, resizing and scaling, on images small enough to know the answer."""

from collections.abc import Callable

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from components.bases import BASES  # noqa: E402
from components.transform import image_ops  # noqa: E402

# Keras's names for the same; keras/src/applications/imagenet_utils.py.
KERAS_MODES = {"rescale_-1_1": "tf", "caffe": "caffe", "imagenet_mean_std": "torch"}


def grid(height: int, width: int) -> np.ndarray:
    """Returns uint8 [height, width, 3] whose red tells the row, green the column, blue is 7."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([10 * rows, 10 * columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_files_decode_to_their_pixels(encode: Callable, kind: str) -> None:
    decoded = image_ops.decode(encode(grid(4, 6), kind))
    assert decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded, grid(4, 6))


def test_a_jpeg_decodes_to_nearly_its_pixels(encode: Callable) -> None:
    flat = np.full((8, 16, 3), (200, 100, 50), np.uint8)
    decoded = image_ops.decode(encode(flat, "JPEG", quality=95)).numpy().astype(int)
    assert decoded.shape == (8, 16, 3)
    assert np.abs(decoded - flat).max() <= 3


def test_of_an_animated_gif_the_first_frame_is_taken() -> None:
    import io

    from PIL import Image

    red, blue = (Image.new("RGB", (5, 4), colour) for colour in ("#ff0000", "#0000ff"))
    content = io.BytesIO()
    red.save(content, "GIF", save_all=True, append_images=[blue])
    expected = np.full((4, 5, 3), (255, 0, 0))
    np.testing.assert_array_equal(image_ops.decode(content.getvalue()), expected)


def test_a_grey_file_gets_three_equal_channels(encode: Callable) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_array_equal(image_ops.decode(encode(grey)), expected)


def test_what_is_no_image_is_an_error_and_no_pixels() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        image_ops.decode(b"no image")


def test_stretch_averages_what_falls_on_a_pixel() -> None:
    # A step from 0 to 90 in the middle, 4 wide to 2: the antialiasing triangle of radius 2 gives
    # the columns weights 3, 3, 1 (and 1 across the step), normalised at the border: 90 / 7.
    image = np.zeros((2, 4, 3), np.float32)
    image[:, 2:] = 90
    resized = image_ops.resize(tf.constant(image), 2, "stretch")
    expected = np.array([[90 / 7, 90 - 90 / 7]] * 2)[..., None].repeat(3, axis=-1)
    np.testing.assert_allclose(resized, expected, atol=1e-4)


def test_stretch_ignores_the_aspect_ratio() -> None:
    image = np.zeros((2, 8, 3), np.float32)
    image[:, :, 0] = np.arange(8)
    resized = image_ops.resize(tf.constant(image), 8, "stretch").numpy()
    np.testing.assert_allclose(resized[:, :, 0], [np.arange(8)] * 8, atol=1e-5)


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    for mode in ("stretch", "crop", "pad"):
        resized = image_ops.resize(tf.constant(grid(5, 5)), 5, mode)
        assert resized.dtype == tf.float32
        np.testing.assert_array_equal(resized, grid(5, 5))


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (4, 8, slice(0, 4), slice(2, 6)),
        (8, 4, slice(2, 6), slice(0, 4)),
        (4, 7, slice(0, 4), slice(1, 5)),  # the odd pixel falls off at the right
    ],
)
def test_crop_keeps_the_central_square(
    height: int, width: int, rows: slice, columns: slice
) -> None:
    image = grid(height, width)
    resized = image_ops.resize(tf.constant(image), 4, "crop")
    np.testing.assert_array_equal(resized, image[rows, columns])


def test_pad_keeps_the_whole_image_between_black_borders() -> None:
    image = grid(2, 4) + 1
    resized = image_ops.resize(tf.constant(image), 4, "pad").numpy()
    np.testing.assert_array_equal(resized[1:3], image)
    assert not resized[[0, 3]].any()


def test_pad_of_an_upright_image_borders_left_and_right() -> None:
    image = grid(4, 2) + 1
    resized = image_ops.resize(tf.constant(image), 4, "pad").numpy()
    np.testing.assert_array_equal(resized[:, 1:3], image)
    assert not resized[:, [0, 3]].any()


def test_another_way_to_resize_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"stretch, crop or pad\. Received: resize='squash'"):
        image_ops.resize(tf.constant(grid(2, 2)), 2, "squash")


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        ("none", [255, 51, 0]),
        ("rescale_0_1", [1, 0.2, 0]),
        ("rescale_-1_1", [1, -0.6, -1]),
        # (1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0 - 0.406) / 0.225
        ("imagenet_mean_std", [2.248908, -1.142857, -1.804444]),
        # blue 0 - 103.939, green 51 - 116.779, red 255 - 123.68
        ("caffe", [-103.939, -65.779, 131.32]),
    ],
)
def test_a_known_pixel_is_scaled_to_known_values(preprocessing: str, expected: list[float]) -> None:
    scaled = image_ops.scale(tf.constant([[[255.0, 51.0, 0.0]]]), preprocessing)
    assert scaled.dtype == tf.float32
    np.testing.assert_allclose(scaled[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("preprocessing", KERAS_MODES)
def test_scaling_is_that_of_keras(preprocessing: str, noise: Callable) -> None:
    from keras.applications import imagenet_utils

    pixels = noise(0).astype(np.float32)
    expected = imagenet_utils.preprocess_input(pixels.copy(), mode=KERAS_MODES[preprocessing])
    np.testing.assert_allclose(image_ops.scale(pixels, preprocessing), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("MobileNetV2", "mobilenet_v2"),
        ("ResNet50", "resnet50"),
        ("VGG16", "vgg16"),
        ("InceptionV3", "inception_v3"),
        ("Xception", "xception"),
        ("DenseNet121", "densenet"),
        ("EfficientNetB0", "efficientnet"),
    ],
)
def test_a_named_base_sees_what_its_own_preprocess_input_gives(
    name: str, module: str, noise: Callable
) -> None:
    import importlib

    pixels = noise(1).astype(np.float32)
    own = importlib.import_module(f"keras.applications.{module}").preprocess_input
    expected = own(pixels.copy())
    np.testing.assert_allclose(
        image_ops.scale(pixels, BASES[name].preprocessing), expected, atol=1e-4
    )


def test_another_scaling_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"one of rescale_0_1.*Received: preprocessing='half'"):
        image_ops.scale(tf.zeros([1, 1, 3]), "half")


def test_a_batch_is_each_image_by_itself(encode: Callable, noise: Callable) -> None:
    images = [noise(0, 6, 6), noise(1, 3, 9), noise(2, 12, 4)]
    contents = [encode(image) for image in images]
    batch = image_ops.pixels_from_bytes(tf.constant(contents), 6, "crop", "rescale_0_1")
    assert (batch.shape, batch.dtype) == ((3, 6, 6, 3), tf.float32)
    np.testing.assert_allclose(batch[0], images[0] / 255, atol=1e-6)
    for content, row in zip(contents, batch, strict=True):
        alone = image_ops.pixels_from_bytes(tf.constant([content]), 6, "crop", "rescale_0_1")
        np.testing.assert_array_equal(row, alone[0])


def test_an_empty_batch_gives_no_pixels() -> None:
    batch = image_ops.pixels_from_bytes(tf.constant([], tf.string), 6, "pad", "none")
    assert batch.shape == (0, 6, 6, 3)
