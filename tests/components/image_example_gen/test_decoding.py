"""TensorFlow's side of the judgement, with TensorFlow itself (its import takes seconds)."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL import features as pillow_features

from components.image_example_gen import decoding, tiff_header
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import DecodeError, Limits, Properties, examine
from components.image_example_gen.quarantine import REASONS, Fault
from components.image_example_gen.reencode import to_served

tf = pytest.importorskip("tensorflow")

LIMITS = Limits(1_000, 1)
DAMAGED = 400  # files of each format


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_random_damage_ends_in_properties_or_a_documented_reason(image, kind):
    if kind == "AVIF" and not pillow_features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    content = image(kind=kind, width=8, height=6)
    generator = np.random.default_rng(zlib.crc32(kind.encode()))
    found = set()
    for _ in range(DAMAGED):
        verdict = examine(damage(content, generator), LIMITS, decode_with_tensorflow)
        found.add("accepted" if isinstance(verdict, Properties) else verdict.reason)
    assert found <= {"accepted", *REASONS}
    assert {"corrupt", "truncated"} & found


def damage(content: bytes, generator: np.random.Generator) -> bytes:
    """Returns content with up to six other bytes, half of them in its head; at times cut off."""
    damaged = np.frombuffer(content, np.uint8).copy()
    count = int(generator.integers(1, 7))
    end = len(damaged) if generator.random() < 0.5 else min(len(damaged), 64)
    # 0 and 255 are what counts and lengths are broken by.
    values = generator.choice([0, 1, 255, int(generator.integers(256))], count)
    damaged[generator.integers(0, end, count)] = values
    length = len(damaged) if generator.random() < 0.8 else int(generator.integers(1, len(damaged)))
    return damaged[:length].tobytes()


@pytest.mark.parametrize("tag", sorted(tiff_header.WANTED))
def test_a_tiff_s_tag_without_a_value_is_no_error(image, tag):
    content = bytearray(image(kind="TIFF", tiffinfo={254: 0, 339: 1}))
    (entries,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, entries)
    rows = {
        struct.unpack_from("<H", content, entries + 2 + 12 * row)[0]: row for row in range(count)
    }
    # Of a tag that is not there another, unread one is made.
    row = rows.get(tag, rows[284])
    struct.pack_into("<HHI", content, entries + 2 + 12 * row, tag, 4, 0)
    assert reason(bytes(content)) in {"accepted", *REASONS}


def test_what_tensorflow_lacks_memory_for_is_not_taken_for_damaged(image, monkeypatch):
    def fail(content: bytes) -> np.ndarray:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(decoding, "_decoder", lambda: fail)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        examine(image(), LIMITS, decode_with_tensorflow)


@pytest.mark.parametrize("error", ["InvalidArgumentError", "UnimplementedError"])
def test_what_tensorflow_says_of_the_content_is_a_decode_error(image, monkeypatch, error):
    def fail(content: bytes) -> np.ndarray:
        raise getattr(tf.errors, error)(None, None, "no such picture.")

    monkeypatch.setattr(decoding, "_decoder", lambda: fail)
    with pytest.raises(DecodeError, match="^no such picture$"):
        decode_with_tensorflow(image())


def test_a_decoder_s_refusal_is_a_decode_error():
    with pytest.raises(DecodeError, match=r"^Unknown image file format"):
        decode_with_tensorflow(b"no image at all")
