"""Headers of files that were made to cost time or memory."""

import struct
import time
import tracemalloc

import numpy as np
import pytest

from components.image_example_gen.examine import Limits, examine
from components.image_example_gen.headers import MAX_SEGMENTS, is_truncated, read_header

SIZE = 20 << 20  # bytes of a hostile file
EXTRA = 4 << 20  # bytes that judging it may take beyond its own
LIMITS = Limits(100_000_000, 1)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0) + bytes(4)
GIF = b"GIF89a" + struct.pack("<HH", 9, 9) + bytes(3)
AVIF = b"\0\0\0\x10ftypavif\0\0\0\0"
# A tag of four million values, which start at the tag itself.
STRIPS = struct.pack("<HHII", 273, 4, 1 << 22, 10) + struct.pack("<HHII", 279, 4, 1 << 22, 10)
TIFF_SIZE = struct.pack("<HHIIHHII", 256, 4, 1, 9, 257, 4, 1, 9)

# What a file begins with, and what is repeated up to its size but for what it may end with.
HOSTILE = {
    "jpeg of segments of length 0": (b"\xff\xd8", b"\xff\xe0\0\0"),
    "jpeg of empty segments": (b"\xff\xd8", b"\xff\xe0\0\2"),
    "jpeg of bare markers": (b"\xff\xd8\xff", b"\xd0\xff"),
    "jpeg of stray bytes": (b"\xff\xd8\xff", b"\0\xff"),
    "jpeg of fill bytes": (b"\xff\xd8", b"\xff"),
    "png of empty chunks": (PNG, b"\0\0\0\0IDAT\0\0\0\0", b"\0\0\0\0eXIf\0\0\0\0"),
    "gif of empty extensions": (GIF, b"!\xfe\0"),
    "gif of empty frames": (GIF, b"," + bytes(11)),
    "avif of empty boxes": (AVIF, b"\0\0\0\x08free"),
    "avif of sizes": (AVIF + b"\0\0\0\0meta", b"ispe"),
    "tiff of strips": (b"II*\0" + struct.pack("<IH", 8, 4) + TIFF_SIZE + STRIPS, b"\xff"),
    "tiff of strips many times": (b"II*\0" + struct.pack("<IH", 8, 60_000), TIFF_SIZE + STRIPS),
    "bigtiff of a million tags": (
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1_000_000),
        struct.pack("<HHQQ", 256, 4, 1, 9),
    ),
    "bmp of a huge palette": (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, SIZE, 40, 9, 9, 1, 8, 0, 0, 0, 0, SIZE, 0),
        b"\7",
    ),
}


def hostile(name: str) -> bytes:
    head, part, tail = (*HOSTILE[name], b"")[:3]
    return head + part * ((SIZE - len(head) - len(tail)) // len(part)) + tail


def refuse(content: bytes) -> np.ndarray:
    pytest.fail("decoded")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_takes_little_memory_and_time(name: str) -> None:
    content, kind = hostile(name), name.split()[0].removeprefix("big")
    tracemalloc.start()
    since = time.process_time()
    try:
        read_header(content, kind)
        is_truncated(content, kind)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < EXTRA
    assert time.process_time() - since < 5


@pytest.mark.parametrize("name", ["jpeg of segments of length 0", "gif of empty frames"])
def test_parts_that_no_writer_makes_are_damage(name: str) -> None:
    fault = examine(hostile(name), LIMITS, refuse)
    assert (fault.reason, "header is incomplete" in fault.detail) == ("corrupt", True)


def test_a_jpeg_may_have_as_many_segments_as_training_looks_through(image) -> None:
    content = image()
    count = content[: content.index(b"\xff\xda")].count(b"\xff") + 1  # quantizers hold no 255
    comments = b"\xff\xfe\0\2" * (MAX_SEGMENTS - count)
    most = content[:2] + comments + content[2:]
    assert read_header(most, "jpeg") == read_header(content, "jpeg")
    assert not is_truncated(most, "jpeg")
    assert is_truncated(most[: content.index(b"\xff\xda")], "jpeg")
    assert read_header(content[:2] + b"\xff\xfe\0\2" * MAX_SEGMENTS + content[2:], "jpeg") is None


def test_stray_and_fill_bytes_between_segments_are_passed_over(image) -> None:
    content = image()
    assert read_header(content[:2] + b"stray\xff\0\xff\xff" + content[2:], "jpeg") == read_header(
        content, "jpeg"
    )
