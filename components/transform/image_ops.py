"""Pure tensor functions from encoded bytes to the pixels that a base expects.

They run inside Transform's graph, and so identically in training, evaluation and serving. What
`tf.io.decode_image` leaves out is added here: an image is turned by its Exif orientation and
transparent pixels are composed on white.

Formats: ITU-T T.81 annex B (JPEG markers), CIPA DC-008 4.6 (Exif), ISO/IEC 15948 11 (PNG chunks).
"""

from collections.abc import Callable

import tensorflow as tf

from components.transform import affine

# Channel means of ImageNet as `keras.applications.imagenet_utils.preprocess_input` subtracts them.
CAFFE_BGR_MEANS = (103.939, 116.779, 123.68)
IMAGENET_RGB_MEANS = (0.485, 0.456, 0.406)
IMAGENET_RGB_DEVIATIONS = (0.229, 0.224, 0.225)

# What one image takes while it is decoded is held so many times at once; see docs/data.md.
DECODED_AT_ONCE = 2
MAX_SEGMENTS = 1000  # segments of a JPEG or chunks of a PNG that are looked through

UPRIGHT = 1  # Exif orientation
# An Exif segment and, after it, an orientation other than upright in one of the byte orders.
TURNED_JPEG = (
    r"\C*Exif\x00\x00\C*(?:\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08]"
    r"|\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]\x00)\C*"
)
# A colour type with alpha, or a second chunk before the pixels, which may be tRNS or eXIf.
SPECIAL_PNG = (
    r"\CPNG\r\n\x1a\n\C{17}(?:[\x04\x06]\C*"
    r"|\C{12}(?:[^I]\C{3}|I[^D]\C{2}|ID[^A]\C|IDA[^T])\C*)"
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOR_TYPE = 25  # position; its bit 4 tells an alpha channel
PNG_CHUNK_FRAME = 12  # length, name and checksum of a chunk
JPEG_APP1, JPEG_SCAN = 0xE1, 0xDA
EXIF_SIGNATURE = b"Exif\0\0"
EXIF_SEGMENT_HEAD = 10  # marker, length and signature
EXIF_ENTRY = 12  # bytes of an entry of an image file directory
EXIF_BIG_ENDIAN, EXIF_LITTLE_ENDIAN = b"MM", b"II"
# Tag 0x0112, type SHORT, count 1.
ORIENTATION_BIG_ENDIAN = (0x01, 0x12, 0, 3, 0, 0, 0, 1)
ORIENTATION_LITTLE_ENDIAN = (0x12, 0x01, 3, 0, 1, 0, 0, 0)


def decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF (its first frame) or BMP file as a viewer shows it.

    A JPEG or PNG is turned by its Exif orientation; damaged Exif data counts as none. A PNG's
    transparency, that of a single colour or of palette entries (tRNS) too, is composed on white.
    The pixels of all other files are those of `tf.io.decode_image`.

    Args:
        content: the file's bytes, string scalar.

    Returns:
        RGB values in [0, 255], uint8 [height, width, 3].

    Raises:
        tf.errors.InvalidArgumentError: at run time; the content is none of these or damaged.
    """
    # One look by a regular expression keeps the usual file as cheap as without all this.
    image = tf.cond(
        tf.strings.regex_full_match(content, f"{TURNED_JPEG}|{SPECIAL_PNG}"),
        lambda: _decode_special(content),
        lambda: _decode_plain(content),
    )
    image.set_shape([None, None, 3])
    return image


def resize(image: tf.Tensor, size: int, mode: str) -> tf.Tensor:
    """Resizes one image to a square, bilinearly and with antialiasing.

    Args:
        image: [height, width, 3], any numeric dtype.
        size: side of the square, pixels.
        mode: `"stretch"` ignores the aspect ratio, `"crop"` keeps the central square,
            `"pad"` adds black borders.

    Returns:
        float32 [size, size, 3] in the range of the input.

    Raises:
        ValueError: `mode` is none of the three.
    """
    if mode == "crop":
        image = _central_square(image)
    if mode in ("stretch", "crop"):
        resized = tf.image.resize(image, [size, size], antialias=True)
    elif mode == "pad":
        resized = tf.image.resize_with_pad(image, size, size, antialias=True)
    else:
        raise ValueError(f"Expected resize to be stretch, crop or pad. Received: resize={mode!r}.")
    return tf.ensure_shape(resized, [size, size, 3])


def scale(pixels: tf.Tensor, preprocessing: str) -> tf.Tensor:
    """Scales RGB values as a base was trained to see them.

    Args:
        pixels: float32 [..., 3], RGB in [0, 255].
        preprocessing: `"rescale_0_1"`, `"rescale_-1_1"`, `"imagenet_mean_std"` (PyTorch's),
            `"caffe"` (BGR, ImageNet's means subtracted), `"none"`, or a text of `affine.to_text`.

    Returns:
        float32 of the same shape.

    Raises:
        ValueError: `preprocessing` is none of these.
    """
    if preprocessing == "none":
        return pixels
    if preprocessing == "rescale_0_1":
        return pixels / 255.0
    if preprocessing == "rescale_-1_1":
        return pixels / 127.5 - 1.0
    if preprocessing == "imagenet_mean_std":
        return (pixels / 255.0 - IMAGENET_RGB_MEANS) / IMAGENET_RGB_DEVIATIONS
    if preprocessing == "caffe":
        return pixels[..., ::-1] - CAFFE_BGR_MEANS
    scales, offsets = _affine(preprocessing)
    return pixels * scales + offsets


def unscale(pixels: tf.Tensor, preprocessing: str) -> tf.Tensor:
    """Returns the RGB values that `scale` made these of: its inverse.

    Args:
        pixels: float32 [..., 3], as `scale` returns them.
        preprocessing: see `scale`.

    Returns:
        float32 of the same shape, RGB in [0, 255] where `scale` was given such.

    Raises:
        ValueError: as `scale`.
    """
    if preprocessing == "none":
        return pixels
    if preprocessing == "rescale_0_1":
        return pixels * 255.0
    if preprocessing == "rescale_-1_1":
        return (pixels + 1.0) * 127.5
    if preprocessing == "imagenet_mean_std":
        return (pixels * IMAGENET_RGB_DEVIATIONS + IMAGENET_RGB_MEANS) * 255.0
    if preprocessing == "caffe":
        return (pixels + CAFFE_BGR_MEANS)[..., ::-1]
    scales, offsets = _affine(preprocessing)
    return (pixels - offsets) / scales


def pixels_from_bytes(
    contents: tf.Tensor, size: int, resize_mode: str, preprocessing: str
) -> tf.Tensor:
    """Decodes, resizes and scales a batch of files.

    Args:
        contents: the files' bytes, string [batch].
        size: side of the square, pixels.
        resize_mode: see `resize`.
        preprocessing: see `scale`.

    Returns:
        float32 [batch, size, size, 3].
    """
    # Each image is shrunk inside the map, so that a batch never holds full-size pixels of all.
    resized = tf.map_fn(
        lambda content: resize(decode(content), size, resize_mode),
        contents,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
        parallel_iterations=DECODED_AT_ONCE,
    )
    return scale(resized, preprocessing)


def _affine(preprocessing: str) -> tuple[affine.Factors, affine.Factors]:
    if not preprocessing.startswith(f"{affine.PREFIX}:"):
        raise ValueError(
            "Expected preprocessing to be one of rescale_0_1, rescale_-1_1, imagenet_mean_std, "
            f"caffe, none. Received: preprocessing={preprocessing!r}."
        )
    return affine.from_text(preprocessing)


def _central_square(image: tf.Tensor) -> tf.Tensor:
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _decode_plain(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(content, channels=3, expand_animations=False)


def _decode_special(content: tf.Tensor) -> tf.Tensor:
    is_png = tf.equal(tf.strings.substr(content, 0, len(PNG_SIGNATURE)), PNG_SIGNATURE)
    return tf.cond(is_png, lambda: _decode_png(content), lambda: _decode_jpeg(content))


def _decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    start, end = _find_jpeg_exif(content)
    return _turn(_decode_plain(content), _read_orientation(content, start, end))


def _decode_png(content: tf.Tensor) -> tf.Tensor:
    start, end, has_transparent_colors = _find_png_chunks(content)
    has_alpha_channel = _read_bytes(content, PNG_COLOR_TYPE, 1)[0] & 4 > 0
    image = tf.cond(
        has_alpha_channel | has_transparent_colors,
        lambda: _compose_on_white(tf.io.decode_png(content, channels=4)),
        lambda: _decode_plain(content),
    )
    return _turn(image, _read_orientation(content, start, end))


def _compose_on_white(image: tf.Tensor) -> tf.Tensor:
    """Returns uint8 [height, width, 3] of uint8 [height, width, 4] whose last channel is alpha."""
    # The product of two bytes fits into 16 bits, which take half the memory of float32.
    ink = tf.cast(255 - image[..., :3], tf.uint16) * tf.cast(image[..., 3:], tf.uint16)
    return 255 - tf.cast((ink + 127) // 255, tf.uint8)


def _turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image as an Exif orientation from 1 to 8, int64 scalar, asks for."""

    def turn() -> tf.Tensor:
        transposed = tf.cond(
            orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image
        )
        # What is left then: 3, 4, 7 and 8 are upside down; 2, 3, 6 and 7 are mirrored.
        axes = tf.boolean_mask([0, 1], [orientation - 1 & 2 > 0, orientation & 2 > 0])
        return tf.reverse(transposed, axes)

    return tf.cond(tf.equal(orientation, UPRIGHT), lambda: image, turn)


def _find_jpeg_exif(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the first Exif segment's data begin and end, int64; 0 and 0 without one."""
    size = _length(content)

    def step(position: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> list[tf.Tensor]:
        head = _read_bytes(content, position, EXIF_SEGMENT_HEAD)
        marker, after = head[1], position + 2 + _to_number(head[2:4], big_endian=True)
        is_marker = tf.equal(head[0], 0xFF)
        is_exif = is_marker & tf.equal(marker, JPEG_APP1) & _are(head[4:], EXIF_SIGNATURE)
        is_last = is_exif | is_marker & tf.equal(marker, JPEG_SCAN)
        # Fill bytes and stray ones between segments are passed over singly, as decoders do.
        is_stray = ~is_marker | tf.equal(marker, 0xFF) | tf.equal(marker, 0)
        is_bare = tf.equal(marker, 0x01) | (marker >= 0xD0) & (marker <= 0xD9)
        following = tf.where(is_stray, position + 1, tf.where(is_bare, position + 2, after))
        return [
            tf.where(is_last, size, following),
            tf.where(is_exif, position + EXIF_SEGMENT_HEAD, start),
            tf.where(is_exif, after, end),
        ]

    _, start, end = _walk(size, step, [tf.constant(n, tf.int64) for n in (2, 0, 0)])
    return start, end


def _find_png_chunks(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Looks through a PNG's chunks before its pixels.

    Returns:
        Where the eXIf chunk's data begin and end, int64, 0 and 0 without one; and whether there
        is a tRNS chunk, bool.
    """
    size = _length(content)

    def step(
        position: tf.Tensor, start: tf.Tensor, end: tf.Tensor, transparent: tf.Tensor
    ) -> list[tf.Tensor]:
        head = _read_bytes(content, position, 8)
        name, after = head[4:], position + PNG_CHUNK_FRAME + _to_number(head[:4], big_endian=True)
        is_exif = _are(name, b"eXIf")
        return [
            tf.where(_are(name, b"IDAT"), size, after),
            tf.where(is_exif, position + 8, start),
            tf.where(is_exif, after - 4, end),
            transparent | _are(name, b"tRNS"),
        ]

    first = tf.constant(len(PNG_SIGNATURE), tf.int64)
    none = tf.constant(0, tf.int64)
    _, start, end, transparent = _walk(size, step, [first, none, none, tf.constant(False)])
    return start, end, transparent


def _walk(
    size: tf.Tensor, step: Callable[..., list[tf.Tensor]], state: list[tf.Tensor]
) -> list[tf.Tensor]:
    """Repeats a step while the position, first in the state, lies in a content of `size` bytes."""
    return tf.while_loop(
        lambda position, *_: position < size,
        step,
        state,
        parallel_iterations=1,
        maximum_iterations=MAX_SEGMENTS,
    )


def _read_orientation(content: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Returns the orientation, int64 scalar from 1 to 8, of Exif data; 1 where it has none."""
    head = _read_bytes(content, start, 8)
    is_big_endian = _are(head[:2], EXIF_BIG_ENDIAN)
    is_exif = is_big_endian | _are(head[:2], EXIF_LITTLE_ENDIAN)
    directory = start + _to_number(head[4:], is_big_endian)
    stated = _to_number(_read_bytes(content, directory, 2), is_big_endian)
    room = (tf.minimum(end, _length(content)) - directory - 2) // EXIF_ENTRY
    count = tf.where(is_exif, tf.clip_by_value(stated, 0, tf.maximum(room, 0)), 0)
    found = _substring(content, directory + 2, count * EXIF_ENTRY)
    entries = tf.cast(tf.reshape(tf.io.decode_raw(found, tf.uint8), [-1, EXIF_ENTRY]), tf.int64)
    wanted = tf.where(is_big_endian, ORIENTATION_BIG_ENDIAN, ORIENTATION_LITTLE_ENDIAN)
    is_wanted = tf.reduce_all(tf.equal(entries[:, :8], tf.cast(wanted, tf.int64)), axis=1)
    values = tf.boolean_mask(entries[:, 8:10], is_wanted)
    # Of several the last one counts, as for Pillow; the added one is there when there is none.
    value = _to_number(tf.concat([[[0, 0]], values], axis=0)[-1], is_big_endian)
    return tf.where((value >= 1) & (value <= 8), value, UPRIGHT)


def _read_bytes(content: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """Returns bytes as int64 [count], zeros where the content has ended."""
    found = _substring(content, tf.cast(position, tf.int64), tf.constant(count, tf.int64))
    values = tf.io.decode_raw(found, tf.uint8, fixed_length=count)
    return tf.cast(tf.ensure_shape(values, [count]), tf.int64)


def _substring(content: tf.Tensor, position: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    # TensorFlow raises on a position behind the end.
    return tf.strings.substr(content, tf.minimum(position, _length(content)), count)


def _length(content: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(content), tf.int64)


def _to_number(values: tf.Tensor, big_endian: tf.Tensor | bool) -> tf.Tensor:
    """Returns the unsigned number, int64 scalar, of bytes in an order."""
    weights = [256**power for power in range(values.shape[0])]
    chosen = tf.where(big_endian, weights[::-1], weights)
    return tf.reduce_sum(values * tf.cast(chosen, tf.int64))


def _are(values: tf.Tensor, expected: bytes) -> tf.Tensor:
    return tf.reduce_all(tf.equal(values, list(expected)))
