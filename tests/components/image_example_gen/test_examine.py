import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.errors import InputError
from components.image_example_gen.examine import Limits, Properties, examine, measure
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
        (b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", "unsupported"),
    ],
)
def test_content_that_is_no_image_of_ours_is_told_apart(content, reason):
    fault = examine(content, LIMITS, never_decode)
    assert isinstance(fault, Fault)
    assert fault.reason == reason


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PPM", "ICO"])
def test_an_image_of_another_format_is_unsupported_and_named(image, kind):
    fault = examine(image(kind=kind), LIMITS, never_decode)
    assert fault == Fault("unsupported", f"The content is {kind}; convert it to JPEG or PNG.")


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


def test_what_pillow_reads_but_the_decoder_refuses_is_unsupported(image, pillow):
    fault = examine(image(), LIMITS, lambda content: pillow(b""))
    assert fault == Fault("unsupported", "A JPEG that TensorFlow does not decode: cannot decode.")


def test_a_bmp_with_a_colour_palette_is_refused_because_indices_are_no_greys():
    content = io.BytesIO()
    Image.new("RGB", (20, 16), (255, 0, 0)).convert("P").save(content, "BMP")
    fault = examine(content.getvalue(), LIMITS, never_decode)
    assert isinstance(fault, Fault)
    assert (fault.reason, "colour palette" in fault.detail) == ("unsupported", True)


def test_every_reason_given_is_in_the_documented_list_with_a_sentence():
    assert set(REASONS) == {
        "empty", "not_an_image", "unsupported", "truncated", "corrupt", "too_many_bytes",
        "too_many_pixels", "too_small", "unreadable", "no_label", "system_file", "label_conflict",
    }  # fmt: skip
    assert all(sentence.endswith(".") for sentence in REASONS.values())


def test_measures_of_one_grey_are_its_level_and_zero():
    assert measure(np.full((5, 5, 3), 51, np.uint8)) == pytest.approx((0.2, 0, 0), abs=1e-6)


def test_brightness_weighs_the_colours_as_rec_601_does():
    pixels = np.zeros((1, 3, 3), np.uint8)
    pixels[0, 0, 0] = pixels[0, 1, 1] = pixels[0, 2, 2] = 255
    assert measure(pixels)[0] == pytest.approx(1 / 3, abs=1e-6)
    assert measure(pixels[:, :1])[0] == pytest.approx(0.299, abs=1e-6)
    assert measure(pixels[:, 1:2])[0] == pytest.approx(0.587, abs=1e-6)


def test_a_checkerboard_has_the_largest_contrast_and_its_laplacian_s_variance():
    board = (np.indices((6, 6)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = np.repeat(board[:, :, None], 3, axis=2)
    # Each inner pixel's Laplacian is 4 on black and -4 on white: variance 16.
    assert measure(pixels) == pytest.approx((0.5, 0.5, 16), abs=1e-5)
    assert measure(pixels)[1] <= 0.5


def test_one_bright_pixel_gives_the_variance_of_the_kernel_itself():
    pixels = np.zeros((5, 5, 3), np.uint8)
    pixels[2, 2] = 255
    # Nine inner values: -4, four ones, four zeros. Mean 0, variance (16 + 4) / 9.
    assert measure(pixels)[2] == pytest.approx(20 / 9, abs=1e-5)


def test_an_image_without_inner_pixels_has_no_sharpness():
    assert measure(np.full((2, 9, 3), 255, np.uint8)) == pytest.approx((1, 0, 0), abs=1e-6)


def test_a_large_picture_is_thinned_before_it_is_measured():
    pixels = np.zeros((1024, 4, 3), np.uint8)
    pixels[::2, ::2] = 255  # every second row and column, the ones that are kept
    assert measure(pixels)[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("limits", [(0, 1), (1, 0)])
def test_limits_below_one_are_refused(limits):
    with pytest.raises(InputError, match="at least 1. Received"):
        Limits(*limits)
