"""TensorFlow's side of the judgement, with TensorFlow itself (its import takes seconds)."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import DecodeError, Limits, Properties, examine
from components.image_example_gen.quarantine import Fault
from components.image_example_gen.reencode import to_served

LIMITS = Limits(1_000, 1)


def reason(content: bytes) -> str:
    verdict = examine(content, LIMITS, decode_with_tensorflow)
    return "accepted" if isinstance(verdict, Properties) else verdict.reason


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "L"),
        ("PNG", "LA"), ("PNG", "RGBA"), ("GIF", "RGB"), ("GIF", "L"), ("BMP", "RGB"),
        ("BMP", "L"), ("BMP", "RGBA"),
    ],
)  # fmt: skip
def test_every_supported_kind_is_decoded_to_three_channels(image, kind, mode):
    pixels = decode_with_tensorflow(image(kind=kind, mode=mode, width=20, height=16))
    assert (pixels.shape, pixels.dtype) == ((16, 20, 3), np.uint8)


def test_a_cmyk_jpeg_becomes_the_colour_it_shows_and_keeps_its_four_channels():
    content = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(content, "JPEG", quality=95)
    assert decode_with_tensorflow(content.getvalue())[8, 8] == pytest.approx([255, 0, 0], abs=3)
    properties = examine(content.getvalue(), LIMITS, decode_with_tensorflow)
    assert isinstance(properties, Properties)
    assert (properties.channels, properties.brightness) == (4, pytest.approx(0.299, abs=0.01))


def test_sixteen_bit_interlaced_and_progressive_images_are_accepted(image):
    content = io.BytesIO()
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100).save(content, "PNG")
    assert reason(content.getvalue()) == "accepted"
    assert reason(image(kind="JPEG", progressive=True)) == "accepted"


def test_only_the_first_frame_of_an_animation_is_kept():
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    assert decode_with_tensorflow(content.getvalue())[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("BMP", {}),
        ("WEBP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
    ],
)  # fmt: skip
def test_an_image_cut_at_any_twentieth_of_its_length_is_truncated(image, kind, options):
    content = image(kind=kind, **options)
    lengths = [len(content) * part // 20 for part in range(1, 20)]
    assert [reason(content[:length]) for length in lengths] == ["truncated"] * 19


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_what_is_re_encoded_is_decoded_by_tensorflow(image, kind):
    content = image(kind=kind, **({"lossless": True} if kind == "WEBP" else {}))
    served, encoding = to_served(content, kind.lower())
    with Image.open(io.BytesIO(content)) as expected:
        np.testing.assert_array_equal(decode_with_tensorflow(served), expected.convert("RGB"))
    properties = examine(content, LIMITS, decode_with_tensorflow)
    assert isinstance(properties, Properties)
    assert (properties.format, properties.encoding) == (kind.lower(), encoding)


def test_a_turned_photo_has_the_size_that_a_viewer_shows(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    properties = examine(image(width=20, height=16, exif=exif), LIMITS, decode_with_tensorflow)
    assert isinstance(properties, Properties)
    assert (properties.width, properties.height, properties.aspect) == (16, 20, 0.8)


def test_a_picture_of_a_phone_with_more_pictures_behind_it_is_accepted():
    pictures = [Image.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    content = io.BytesIO()
    pictures[0].save(content, "MPO", save_all=True, append_images=pictures[1:])
    assert reason(content.getvalue()) == "accepted"
    np.testing.assert_allclose(
        decode_with_tensorflow(content.getvalue())[8, 8], [254, 0, 0], atol=2
    )


def test_a_compressed_text_that_would_fill_memory_does_no_harm(image):
    content = image(kind="PNG")
    data = b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    assert reason(content[:33] + chunk + content[33:]) == "accepted"


def test_a_truncated_jpeg_says_what_tensorflow_said_without_its_wrapping(image):
    content = image()
    fault = examine(content[:-20], LIMITS, decode_with_tensorflow)
    assert fault.detail == (
        f"The JPEG ends after {len(content) - 20:,} bytes: "
        "jpeg::Uncompress failed. Invalid JPEG data or crop window."
    )


def test_a_damaged_image_is_corrupt_and_says_what_tensorflow_said(image):
    png = bytearray(image(kind="PNG"))
    png[60] ^= 0xFF
    fault = examine(bytes(png), LIMITS, decode_with_tensorflow)
    assert fault == Fault("corrupt", f"The PNG is damaged: Invalid PNG data, size {len(png)}.")


def test_a_two_colour_bmp_which_tensorflow_refuses_is_re_encoded():
    bmp = io.BytesIO()
    Image.new("1", (20, 16)).save(bmp, "BMP")
    assert reason(bmp.getvalue()) == "accepted"


def test_random_damage_never_escapes_as_another_error(image):
    generator = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        content = image(kind=kind)
        for _ in range(40):
            damaged = np.frombuffer(content, np.uint8).copy()
            where = generator.integers(0, len(damaged), 5)
            damaged[where] = generator.integers(0, 256, 5, np.uint8)
            reason(damaged.tobytes())


def test_a_decoder_s_refusal_is_a_decode_error():
    with pytest.raises(DecodeError, match=r"^Unknown image file format"):
        decode_with_tensorflow(b"no image at all")
