"""The first page of a TIFF by its directory, in every byte order and both sizes of pointers."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen.tiff_header import ends_early, read_page


def tiff(pixels: np.ndarray, **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "TIFF", **options)
    return content.getvalue()


GREY = np.zeros((3, 5), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "options", "channels", "bits"),
    [
        (GREY, {}, 1, 8),
        (GREY, {"big_tiff": True}, 1, 8),
        (np.zeros((3, 5, 3), np.uint8), {}, 3, 8),
        (np.zeros((3, 5, 4), np.uint8), {"compression": "tiff_lzw"}, 4, 8),
        (GREY.astype("<u2"), {}, 1, 16),
        (GREY.astype(">u2"), {}, 1, 16),
    ],
)
def test_size_channels_and_bits_are_read(pixels, options, channels, bits):
    page = read_page(tiff(pixels, **options))
    assert (page.width, page.height, page.channels, page.bits) == (5, 3, channels, bits)
    assert page.unsupported == ""


def test_a_file_ends_early_as_soon_as_a_byte_of_its_pixels_or_tags_is_missing():
    content = tiff(np.arange(60, dtype=np.uint8).reshape(6, 10))
    end = read_page(content).end
    assert not ends_early(content[:end])
    assert all(ends_early(content[:length]) for length in range(8, end))


@pytest.mark.parametrize(
    ("tag", "value", "words"),
    [
        (254, 1, "preview"),
        (259, 50001, r"compression \(50001\)"),
        (258, 32, "32 bits"),
        (339, 3, "floating-point"),
    ],
)
def test_what_is_not_read_is_named(tag, value, words):
    content = bytearray(tiff(GREY, tiffinfo={254: 0, 339: 1}))
    entries = int.from_bytes(content[4:8], "little") + 2
    count = int.from_bytes(content[entries - 2 : entries], "little")
    (at,) = (
        entries + 12 * row
        for row in range(count)
        if int.from_bytes(content[entries + 12 * row :][:2], "little") == tag
    )
    content[at + 8 : at + 12] = value.to_bytes(4, "little")
    assert re.search(words, read_page(bytes(content)).unsupported)
