import hashlib
import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.errors import InputError
from components.image_example_gen import perceptual
from components.image_example_gen.examine import (
    Limits,
    Measures,
    Properties,
    examine,
    measure,
    read_luma,
)
from components.image_example_gen.known_files import verdict_from_json, verdict_to_json
from components.image_example_gen.quarantine import REASONS, Fault

LIMITS = Limits(max_pixels=1000, min_size=4)


def never_decode(content: bytes) -> np.ndarray:
    raise AssertionError("decoded")


def test_an_accepted_image_s_properties_are_those_of_its_content(image, pillow):
    content = image(kind="PNG", width=20, height=16)
    properties = examine(content, LIMITS, pillow)
    assert isinstance(properties, Properties)
    luma = pillow(content) @ np.array([0.299, 0.587, 0.114]) / 255
    assert (properties.format, properties.width, properties.height) == ("png", 20, 16)
    assert (properties.channels, properties.bytes) == (3, len(content))
    assert properties.sha256 == hashlib.sha256(content).hexdigest()
    assert properties.brightness == pytest.approx(luma.mean(), abs=1e-6)
    assert properties.contrast == pytest.approx(luma.std(), abs=1e-6)
    assert (properties.encoding, properties.aspect) == ("png", 1.25)
    hash_, thumbnail = perceptual.describe(luma.astype(np.float32))
    tint = perceptual.describe_tint(pillow(content))
    assert (properties.hash, properties.thumbnail) == (hash_, thumbnail + tint)


@pytest.mark.parametrize(
    ("kind", "mode", "format_", "channels"),
    [
        ("JPEG", "RGB", "jpeg", 3),
        ("JPEG", "L", "jpeg", 1),
        ("JPEG", "CMYK", "jpeg", 4),
        ("PNG", "L", "png", 1),
        ("PNG", "LA", "png", 2),
        ("PNG", "RGBA", "png", 4),
        ("GIF", "RGB", "gif", 3),
        ("BMP", "RGB", "bmp", 3),
        ("BMP", "L", "bmp", 1),
    ],
)
def test_format_and_channels_are_those_the_file_states(
    image, pillow, kind, mode, format_, channels
):
    properties = examine(image(kind=kind, mode=mode), LIMITS, pillow)
    assert isinstance(properties, Properties)
    assert (properties.format, properties.channels) == (format_, channels)


def test_an_image_above_the_pixel_limit_is_refused_before_it_is_decoded(image):
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        fault = examine(image(kind=kind, width=40, height=26), LIMITS, never_decode)
        assert fault == Fault("too_many_pixels", "40×26 pixels (1,040); at most 1,000.")


def test_a_png_that_claims_to_be_enormous_is_refused_by_its_header(image):
    content = bytearray(image(kind="PNG"))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    fault = examine(bytes(content), LIMITS, never_decode)
    assert isinstance(fault, Fault)
    assert fault.reason == "too_many_pixels"


def test_an_animation_counts_all_its_frames(pillow):
    frames = [Image.new("RGB", (20, 16), (shade, 0, 0)) for shade in (0, 90, 180, 250)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    fault = examine(content.getvalue(), LIMITS, never_decode)
    assert fault == Fault(
        "too_many_pixels", "20×16 pixels (1,280, all frames together); at most 1,000."
    )
    assert isinstance(examine(content.getvalue(), Limits(1280, 4), pillow), Properties)


def test_an_image_whose_shorter_side_is_below_the_limit_is_refused(image):
    fault = examine(image(width=40, height=3), LIMITS, never_decode)
    assert fault == Fault("too_small", "40×3 pixels; the shorter side must have 4.")


def test_limits_themselves_are_within_them(image, pillow):
    assert isinstance(examine(image(width=250, height=4), LIMITS, pillow), Properties)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (
            b"BMW builds cars, and this text is long enough to be taken for a header.",
            "not_an_image",
        ),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'></svg>", "unsupported"),
        (b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", "truncated"),
    ],
)
def test_content_that_is_no_image_of_ours_is_told_apart(content, reason):
    fault = examine(content, LIMITS, never_decode)
    assert isinstance(fault, Fault)
    assert fault.reason == reason


@pytest.mark.parametrize("kind", ["PPM", "ICO"])
def test_an_image_of_another_format_is_unsupported_and_named(image, kind):
    fault = examine(image(kind=kind), LIMITS, never_decode)
    assert fault == Fault("unsupported", f"The content is {kind}; convert it to JPEG or PNG.")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"8BPS\0\1", "PSD"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS or PostScript"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a camera's raw image (CR3)"),
    ],
)
def test_a_known_signature_names_the_format_without_opening_it(content, name):
    fault = examine(content, LIMITS, never_decode)
    assert fault == Fault("unsupported", f"The content is {name}; convert it to JPEG or PNG.")


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_a_format_that_is_re_encoded_keeps_its_name_and_the_digest_of_its_content(
    image, pillow, kind
):
    content = image(kind=kind)
    seen = []
    properties = examine(content, LIMITS, lambda served: seen.append(served) or pillow(served))
    assert isinstance(properties, Properties)
    assert (properties.format, properties.encoding) == (kind.lower(), "png")
    assert (properties.width, properties.height, properties.channels) == (20, 16, 3)
    assert properties.sha256 == hashlib.sha256(content).hexdigest()
    assert properties.bytes == len(content)
    assert [served[:4] for served in seen] == [b"\x89PNG"]


def test_a_file_that_stays_as_it_is_is_not_re_encoded_and_a_png_of_a_png_is(image, pillow):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = image(kind="PNG", exif=exif)
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    late = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    found = [examine(one, LIMITS, pillow) for one in (content, late, image(kind="TIFF"))]
    assert [(one.format, one.encoding, one.reencoded) for one in found] == [
        ("png", "png", False), ("png", "png", True), ("tiff", "png", True),
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(found)) == found
    assert [verdict_from_json(verdict_to_json(one)) for one in found] == found


def test_the_content_decides_whatever_the_name_says_so_junk_behind_a_jpeg_does_no_harm(
    image, pillow
):
    assert isinstance(examine(image() + b"junk" * 50, LIMITS, pillow), Properties)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_an_image_cut_anywhere_is_truncated(image, pillow, kind):
    content = image(kind=kind)
    for length in (20, 40, len(content) // 3, len(content) // 2, len(content) - 30):
        fault = examine(content[:length], LIMITS, pillow)
        assert isinstance(fault, Fault), length
        assert fault.reason == "truncated", length


def test_a_download_padded_with_zeros_is_truncated(image, pillow):
    content = image()

    def refuse(content: bytes) -> np.ndarray:
        return pillow(b"")

    fault = examine(content[: len(content) // 2] + bytes(len(content) // 2), LIMITS, refuse)
    assert isinstance(fault, Fault)
    assert fault.reason == "truncated"


def test_a_complete_png_with_a_damaged_byte_is_corrupt(image, pillow):
    content = bytearray(image(kind="PNG"))
    content[60] ^= 0xFF
    fault = examine(bytes(content), LIMITS, pillow)
    assert fault == Fault("corrupt", "The PNG is damaged: cannot decode.")


def bomb(kind: str, side: int = 50_000) -> bytes:
    """Returns the beginning of a file that states so many pixels a side."""
    if kind == "tiff":
        tags = struct.pack("<HHHIIHHII", 2, 256, 4, 1, side, 257, 4, 1, side)
        return b"II*\0" + struct.pack("<I", 8) + tags + bytes(60)
    if kind == "webp":
        size = (side - 1).to_bytes(3, "little")
        return b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + size * 2 + bytes(60)
    if kind == "bmp":
        head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + bytes(8) + struct.pack("<I", 54) + head
    if kind == "gif":
        screen = struct.pack("<HH", side, side)
        return b"GIF89a" + screen + bytes(3) + b",\0\0\0\0" + screen + bytes(40)
    if kind == "avif":
        size = b"\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", side, side)
        return b"\0\0\0\x10ftypavif\0\0\0\0" + struct.pack(">I", 8 + len(size)) + b"meta" + size
    return b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", side, side) + b"\3" + bytes(60)


@pytest.mark.parametrize("kind", ["tiff", "webp", "bmp", "gif", "avif", "jpeg"])
def test_a_file_that_claims_to_be_enormous_is_refused_by_its_header(kind):
    fault = examine(bomb(kind), Limits(100_000_000, 1), never_decode)
    assert fault == Fault(
        "too_many_pixels", "50000×50000 pixels (2,500,000,000); at most 100,000,000."
    )


@pytest.mark.parametrize(
    ("marker", "precision", "name"),
    [(0xC1, 12, "a JPEG of 12 bits a sample"), (0xF7, 8, "a JPEG-LS")],
)
def test_a_variant_of_jpeg_that_nothing_here_reads_is_named(marker, precision, name):
    content = bytearray(bomb("jpeg", 20))
    content[3], content[6] = marker, precision
    fault = examine(bytes(content), LIMITS, never_decode)
    assert fault == Fault("unsupported", f"The content is {name}; convert it to JPEG or PNG.")


def test_apple_s_own_png_is_unsupported_and_named(image):
    content = image(kind="PNG")
    crushed = content[:8] + b"\0\0\0\4CgBI\0\0\0\0" + bytes(4) + content[8:]
    fault = examine(crushed, LIMITS, never_decode)
    assert isinstance(fault, Fault)
    assert (fault.reason, "CgBI" in fault.detail) == ("unsupported", True)


def test_every_reason_given_is_in_the_documented_list_with_a_sentence():
    assert set(REASONS) == {
        "empty", "not_an_image", "unsupported", "truncated", "corrupt", "too_many_bytes",
        "too_many_pixels", "too_small", "unreadable", "no_label", "system_file", "label_conflict",
        "leak", "unsafe", "repeated",
    }  # fmt: skip
    assert all(sentence.endswith(".") for sentence in REASONS.values())


def luma(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels, np.float32) / 255


def test_measures_of_one_grey_are_its_level_and_zero():
    assert measure(np.full((5, 5), 0.2, np.float32)) == Measures(pytest.approx(0.2), 0, 0, 0)


def test_luma_weighs_the_colours_as_rec_601_does():
    pixels = np.zeros((1, 3, 3), np.uint8)
    pixels[0, 0, 0] = pixels[0, 1, 1] = pixels[0, 2, 2] = 255
    np.testing.assert_allclose(read_luma(pixels), [[0.299, 0.587, 0.114]], atol=1e-6)


def test_a_checkerboard_has_the_largest_contrast_and_its_laplacian_s_variance():
    board = luma(np.indices((6, 6)).sum(axis=0) % 2 * 255)
    # Each inner pixel's Laplacian is 4 on black and -4 on white: variance 16. Two levels: 1 bit.
    assert measure(board) == Measures(0.5, 0.5, 16, 1)


def test_one_bright_pixel_gives_the_variance_of_the_kernel_itself():
    pixels = np.zeros((5, 5))
    pixels[2, 2] = 255
    # Nine inner values: -4, four ones, four zeros. Mean 0, variance (16 + 4) / 9.
    assert measure(luma(pixels)).sharpness == pytest.approx(20 / 9, abs=1e-5)


def test_the_entropy_is_that_of_the_histogram_in_bits():
    assert measure(luma(np.arange(256).reshape(16, 16))).entropy == 8
    # Shares of 1/2, 1/4 and 1/4.
    assert measure(luma(np.array([[9, 9], [80, 200]]))).entropy == 1.5


def test_an_image_without_inner_pixels_has_no_sharpness():
    assert measure(np.ones((2, 9), np.float32)) == Measures(1, 0, 0, 0)


def test_a_large_picture_is_thinned_before_it_is_measured():
    pixels = np.zeros((1024, 4, 3), np.uint8)
    pixels[::2, ::2] = 255  # every second row and column, the ones that are kept
    assert read_luma(pixels).shape == (512, 2)
    np.testing.assert_allclose(read_luma(pixels), 1, atol=1e-6)


@pytest.mark.parametrize("limits", [(0, 1), (1, 0)])
def test_limits_below_one_are_refused(limits):
    with pytest.raises(InputError, match="at least 1. Received"):
        Limits(*limits)
