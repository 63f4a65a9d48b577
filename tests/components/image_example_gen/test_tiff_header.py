"""The first page of a TIFF by its directory, in every byte order and both sizes of pointers."""

import io
import re
import struct

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen.tiff_header import (
    HEIGHT,
    MAX_TAGS,
    WANTED,
    WIDTH,
    ends_early,
    read_page,
)

VALUES = {
    254: 0, 256: 5, 257: 3, 258: 8, 259: 1, 262: 0, 273: 200, 277: 1, 279: 15, 324: 300, 325: 20,
    339: 1,
}  # fmt: skip


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


def directory(*entries: tuple[int, int, int]) -> bytes:
    """Returns a TIFF of entries (tag, how many values, the value) and nothing else."""
    rows = [struct.pack("<HHII", tag, 4, count, value) for tag, count, value in sorted(entries)]
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + b"".join(rows) + bytes(300)


@pytest.mark.parametrize("tag", sorted(WANTED))
def test_a_tag_without_a_value_is_as_good_as_absent(tag):
    others = [(name, 1, value) for name, value in VALUES.items() if name != tag]
    content = directory(*others, (tag, 0, 0))
    if tag in (WIDTH, HEIGHT):
        with pytest.raises(KeyError):
            read_page(content)
        assert not ends_early(content)
    else:
        # An entry of a tag that is not read stands in, so that both have the same length.
        assert read_page(content) == read_page(directory(*others, (60000, 1, 0)))
        assert ends_early(content) is False


def test_tags_behind_the_thousandth_are_not_looked_at():
    filling = [(1000 + row, 1, 0) for row in range(MAX_TAGS)]
    page = [(name, 1, value) for name, value in VALUES.items()]
    assert read_page(directory(*page, *filling)).unsupported == ""
    assert "raw" in read_page(directory(*page, (50706, 1, 1))).unsupported
    assert read_page(directory(*page, *filling, (50706, 1, 1))).unsupported == ""


def test_the_end_is_that_of_the_strip_that_ends_last():
    places = struct.pack("<4I", 150, 90, 10, 20)
    content = directory((256, 1, 5), (257, 1, 3), (273, 2, 62), (279, 2, 70))
    assert read_page(content[:62] + places + content[78:]).end == 160
