"""Pixels after decoding, resizing and scaling, on images small enough to know the answer."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

tf = pytest.importorskip("tensorflow")

from components.bases import BASES, PREPROCESSINGS  # noqa: E402
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


def decode_plainly(content: bytes) -> np.ndarray:
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


@pytest.fixture(scope="module")
def decode() -> Callable[[bytes], np.ndarray]:
    """`image_ops.decode` in a graph, as Transform runs it; eagerly its loops take long."""
    graph = tf.function(image_ops.decode, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda content: graph(content).numpy()


def exif(orientation: int, order: str = "<") -> Image.Exif:
    tags = Image.Exif()
    tags.endian = order
    tags[0x010F], tags[0x0112], tags[0x0132] = "A maker", orientation, "2024:01:01 00:00:00"
    return tags


def turned(content: bytes, orientation: int) -> np.ndarray:
    """Returns the plain pixels, turned by Pillow."""
    image = Image.fromarray(decode_plainly(content))
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_by_its_exif_orientation_as_pillow_turns_it(
    encode: Callable, noise: Callable, decode: Callable, orientation: int, order: str
) -> None:
    for kind in ("JPEG", "PNG"):
        content = encode(noise(0, 5, 7), kind, exif=exif(orientation, order))
        assert (b"MM\0*" in content) == (order == ">")
        np.testing.assert_array_equal(decode(content), turned(content, orientation))


def test_a_turned_grey_image_keeps_its_turn(encode: Callable, decode: Callable) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    content = encode(grey, "JPEG", exif=exif(6))
    assert decode(content).shape == (8, 6, 3)
    np.testing.assert_array_equal(decode(content), turned(content, 6))


def test_the_orientation_is_found_behind_other_segments_and_fill_bytes(
    encode: Callable, noise: Callable, decode: Callable
) -> None:
    image = noise(0, 5, 7)
    content = encode(image, "JPEG", exif=exif(6), icc_profile=bytes(150_000), comment=b"x" * 90)
    start = content.index(b"\xff\xe1")
    length = 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    segment, rest = content[start : start + length], content[:start] + content[start + length :]
    later = rest.index(b"\xff\xdb")
    for moved in (content, rest[:later] + b"\xff" * 9 + segment + rest[later:]):
        np.testing.assert_array_equal(decode(moved), turned(content, 6))


def test_exif_data_behind_the_first_scan_do_not_count(
    encode: Callable, noise: Callable, decode: Callable
) -> None:
    content = encode(noise(0, 5, 7), "JPEG")
    late = encode(noise(0, 5, 7), "JPEG", exif=exif(6))
    start = late.index(b"\xff\xe1")
    segment = late[start : start + 2 + int.from_bytes(late[start + 2 : start + 4], "big")]
    np.testing.assert_array_equal(decode(content + segment), decode_plainly(content))


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"XX"),  # no byte order
        (4, b"\xff\xff\xff\xff"),  # a directory behind the end
        (8, b"\0\0"),  # no entries
        (24, b"\x02"),  # an orientation that is text
        (26, b"\x02"),  # two orientations
        (30, b"\x09"),  # none of the eight
        (30, b"\x00"),
    ],
)
def test_a_damaged_orientation_counts_as_upright(
    encode: Callable, noise: Callable, decode: Callable, offset: int, value: bytes
) -> None:
    content = bytearray(encode(noise(0, 5, 7), "JPEG", exif=exif(6)))
    start = content.index(b"Exif\0\0") + 6 + offset
    content[start : start + len(value)] = value
    np.testing.assert_array_equal(decode(bytes(content)), decode_plainly(bytes(content)))


def test_random_damage_to_exif_data_never_turns_decoding_into_an_error(
    encode: Callable, noise: Callable, decode: Callable
) -> None:
    generator = np.random.default_rng(0)
    for order in "<>":
        content = encode(noise(0, 5, 7), "JPEG", exif=exif(6, order))
        start = content.index(b"Exif\0\0")
        end = content.index(b"\xff\xdb", start)
        possible = [turned(content, orientation).tobytes() for orientation in range(1, 9)]
        for _ in range(300):
            damaged = np.frombuffer(content, np.uint8).copy()
            where = generator.integers(start, end, generator.integers(1, 6))
            damaged[where] = generator.integers(0, 256, where.size)
            assert decode(damaged.tobytes()).tobytes() in possible


def test_whatever_is_cut_off_or_random_is_decoded_or_refused_like_plainly(
    encode: Callable, noise: Callable, decode: Callable
) -> None:
    generator = np.random.default_rng(1)
    contents = [generator.bytes(length) for length in (0, 1, 9, 40, 400)]
    whole = [encode(noise(0), "JPEG", exif=exif(6)), encode(noise(0), "PNG", exif=exif(6))]
    for content in whole:
        contents += [content[:length] for length in range(0, len(content), 7)]
        contents += [content[:12] + generator.bytes(200)]
    for content in contents:
        with pytest.raises(tf.errors.OpError):
            decode_plainly(content)
        with pytest.raises(tf.errors.OpError):
            decode(content)


def transparent_images() -> dict[str, Image.Image]:
    pixels = np.random.default_rng(3).integers(0, 256, (16, 17, 4), np.uint8)
    image = Image.fromarray(pixels)
    palette = image.convert("RGB").quantize(32)
    palette.info["transparency"] = bytes(range(0, 256, 8))
    single = image.convert("RGB").quantize(8)
    single.info["transparency"] = 3
    grey = image.convert("L")
    grey.info["transparency"] = int(np.asarray(grey)[0, 0])
    color = image.convert("RGB")
    color.info["transparency"] = tuple(int(value) for value in pixels[0, 0, :3])
    images = {"RGBA": image, "LA": image.convert("LA"), "palette": palette, "entry": single}
    return {**images, "grey": grey, "colour": color}


@pytest.mark.parametrize("name", transparent_images())
def test_transparent_pixels_of_a_png_are_composed_on_white(decode: Callable, name: str) -> None:
    content = io.BytesIO()
    transparent_images()[name].save(content, "PNG")
    with Image.open(content) as image:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
    expected = np.asarray(white.convert("RGB")).astype(int)
    assert np.abs(decode(content.getvalue()) - expected).max() <= 1
    assert np.abs(decode_plainly(content.getvalue()) - expected).max() > 1


def png(color_type: int, bits: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG of one pixel a row with chunks before the pixels."""
    count = len(rows) // (1 + {0: 1, 2: 3, 4: 2, 6: 4}[color_type] * bits // 8)
    head = struct.pack(">IIBBBBB", 1, count, bits, color_type, 0, 0, 0)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def test_alpha_of_sixteen_bits_counts_by_its_upper_eight(decode: Callable) -> None:
    row = bytes([0, 200, 255, 100, 255, 50, 255, 51, 0])
    # 51 of 255 is a fifth: 255 - (255 - 200) / 5, 255 - (255 - 100) / 5, 255 - (255 - 50) / 5.
    assert decode(png(6, 16, row)).tolist() == [[[244, 224, 214]]]


def test_sixteen_bits_keep_their_upper_eight(decode: Callable) -> None:
    assert decode(png(0, 16, bytes([0, 200, 255]))).tolist() == [[[200, 200, 200]]]


def test_a_transparent_colour_is_found_behind_other_chunks(decode: Callable) -> None:
    rows = bytes([0, 9, 8, 7, 0, 9, 8, 6])
    extra = [(b"gAMA", struct.pack(">I", 45_455)), (b"tEXt", b"a\0" + b"IDAT tRNS" * 2_000)]
    content = png(2, 8, rows, *extra, (b"tRNS", bytes([0, 9, 0, 8, 0, 7])))
    assert decode(content).tolist() == [[[255, 255, 255]], [[9, 8, 6]]]


def test_opaque_images_are_bit_for_bit_those_of_tensorflow(
    encode: Callable, noise: Callable, decode: Callable
) -> None:
    image = Image.fromarray(noise(5, 33, 21))
    files = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("BMP", {}), ("GIF", {})]
    for kind, options in [*files, ("PNG", {"dpi": (72, 72)}), ("JPEG", {"exif": exif(1)})]:
        for mode in ("RGB", "L", "P", "1", "CMYK"):
            content = io.BytesIO()
            try:
                image.convert(mode).save(content, kind, **options)
            except (OSError, ValueError):  # a mode that the format does not have
                continue
            if kind == "BMP" and mode == "1":  # which TensorFlow refuses
                continue
            expected = decode_plainly(content.getvalue())
            np.testing.assert_array_equal(decode(content.getvalue()), expected)


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


@pytest.mark.parametrize("name", BASES)
def test_a_named_base_sees_what_its_own_preprocess_input_gives(name: str, noise: Callable) -> None:
    import keras

    # A constructor is in the modules of all that may be meant by it; MobileNetV3's in none.
    modules = [module for module in vars(keras.applications).values() if hasattr(module, name)]
    modules += [keras.applications.mobilenet_v3] if name.startswith("MobileNetV3") else []
    own = {module.preprocess_input for module in modules if hasattr(module, "preprocess_input")}
    assert own
    pixels = noise(1).astype(np.float32)
    for preprocess_input in own:
        expected = preprocess_input(pixels.copy())
        np.testing.assert_allclose(
            image_ops.scale(pixels, BASES[name].preprocessing), expected, atol=1e-4
        )


AFFINE = "affine:0.5,0.25,2.0:1.0,-2.0,3.0"


def test_factors_and_summands_scale_each_channel() -> None:
    scaled = image_ops.scale(tf.constant([[[10.0, 20.0, 30.0]]]), AFFINE)
    assert scaled.dtype == tf.float32
    np.testing.assert_array_equal(scaled[0, 0], [6, 3, 63])


@pytest.mark.parametrize(
    ("preprocessing", "scaled"),
    [
        ("none", [255, 51, 0]),
        ("rescale_0_1", [1, 0.2, 0]),
        ("rescale_-1_1", [1, -0.6, -1]),
        ("imagenet_mean_std", [2.248908, -1.142857, -1.804444]),
        ("caffe", [-103.939, -65.779, 131.32]),
        (AFFINE, [128.5, 10.75, 3]),
    ],
)
def test_known_values_are_unscaled_to_the_pixel_that_they_were(
    preprocessing: str, scaled: list[float]
) -> None:
    pixels = image_ops.unscale(tf.constant([[scaled]], tf.float32), preprocessing)
    assert pixels.dtype == tf.float32
    np.testing.assert_allclose(pixels[0, 0], [255, 51, 0], atol=1e-3)


@pytest.mark.parametrize("preprocessing", [*PREPROCESSINGS, AFFINE])
def test_unscale_undoes_scale(preprocessing: str, noise: Callable) -> None:
    pixels = noise(2).astype(np.float32)
    back = image_ops.unscale(image_ops.scale(pixels, preprocessing), preprocessing)
    np.testing.assert_allclose(back, pixels, atol=1e-3)


@pytest.mark.parametrize("operation", [image_ops.scale, image_ops.unscale])
def test_another_scaling_is_refused_by_name(operation: Callable) -> None:
    with pytest.raises(ValueError, match=r"one of rescale_0_1.*Received: preprocessing='half'"):
        operation(tf.zeros([1, 1, 3]), "half")


def test_a_batch_is_each_image_by_itself(encode: Callable, noise: Callable) -> None:
    images = [noise(0, 6, 6), noise(1, 3, 9), noise(2, 12, 4)]
    contents = [encode(image) for image in images]
    batch = image_ops.pixels_from_bytes(tf.constant(contents), 6, "crop", "rescale_0_1")
    assert (batch.shape, batch.dtype) == ((3, 6, 6, 3), tf.float32)
    np.testing.assert_allclose(batch[0], images[0] / 255, atol=1e-6)
    for content, row in zip(contents, batch, strict=True):
        alone = image_ops.pixels_from_bytes(tf.constant([content]), 6, "crop", "rescale_0_1")
        np.testing.assert_array_equal(row, alone[0])


def test_a_saved_model_turns_and_composes_as_in_process(
    encode: Callable, noise: Callable, tmp_path
) -> None:
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def pixels(self, contents):
            return image_ops.pixels_from_bytes(contents, 6, "stretch", "none")

    image = noise(0, 6, 6)
    contents = tf.constant(
        [encode(image), encode(image, exif=exif(6)), encode(image[..., :1].repeat(4, -1))]
    )
    tf.saved_model.save(Model(), str(tmp_path))
    saved = tf.saved_model.load(str(tmp_path)).pixels(contents)
    np.testing.assert_array_equal(saved, Model().pixels(contents))
    np.testing.assert_array_equal(saved[1], np.rot90(image, -1))
    assert not np.array_equal(saved[2], image)


def test_an_empty_batch_gives_no_pixels() -> None:
    batch = image_ops.pixels_from_bytes(tf.constant([], tf.string), 6, "pad", "none")
    assert batch.shape == (0, 6, 6, 3)
