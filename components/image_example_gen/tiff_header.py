"""The first page of a TIFF, read from its directory without decoding a pixel.

A TIFF has a directory of tags where other formats have a header, in either byte order.

Formats: TIFF 6.0 (Aldus, 1992), BigTIFF (2007), DNG 1.7 (Adobe) for what tells a raw image.
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Only a TIFF's tags need it, and it is a fifth of a second of every command.
    import numpy as np

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
STRIPS, STRIP_LENGTHS, TILES, TILE_LENGTHS = 273, 279, 324, 325
CHANNELS, SAMPLE_FORMAT, DNG_VERSION = 277, 339, 50706
# Bytes of a value by its type, and which types are whole numbers.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
WHOLE = frozenset({1, 3, 4, 13, 16, 18})
WANTED = frozenset(
    {SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, CHANNELS, SAMPLE_FORMAT, DNG_VERSION}
    | {STRIPS, STRIP_LENGTHS, TILES, TILE_LENGTHS}
)
MAX_VALUES = 1 << 22  # of one tag; strips of a single row in the tallest picture are fewer
MAX_TAGS = 1000  # that are looked through; cameras write a hundred
MAX_SAMPLES = 1024  # values that are looked at of a tag that has one a sample
SUMMED_AT_ONCE = 1 << 16  # ends of strips, so that a hostile file's four million take no memory
PREVIEW = 1  # bit of SUBFILE: a reduced version of another image in the file
# None, CCITT, LZW, JPEG (old and new), deflate, PackBits, LZMA, Zstandard: what the libtiff in
# Pillow's wheels decodes. Its ThunderScan and SGI codecs damaged memory when tried: left out.
COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34925, 50000})
UNSIGNED, UNDEFINED = 1, 4
LARGEST_SAMPLE = 16  # bits


@dataclass(frozen=True)
class Page:
    """The first page as its directory states it.

    Attributes:
        width: pixels.
        height: pixels.
        channels: samples a pixel.
        bits: of one sample, at least 1.
        is_white_zero: whether 0 is white, as in scans of documents.
        unsupported: what it is if nothing here reads it; empty otherwise.
        end: byte behind the last of its pixels and of its tags' values.
    """

    width: int
    height: int
    channels: int
    bits: int
    is_white_zero: bool
    unsupported: str
    end: int


def read_page(content: bytes) -> Page:
    """Reads the first directory.

    Args:
        content: the file's bytes, beginning with one of `SIGNATURES`.

    Raises:
        OverflowError, struct.error, ValueError: the directory is not all there.
        KeyError: it states no size.
    """
    tags, end = _read_tags(content)
    values = {tag: tuple(numbers[:MAX_SAMPLES].tolist()) for tag, numbers in tags.items()}
    return Page(
        width=values[WIDTH][0],
        height=values[HEIGHT][0],
        channels=values.get(CHANNELS, (1,))[0],
        bits=max(values.get(BITS, (1,))),
        is_white_zero=values.get(PHOTOMETRIC) == (0,),
        unsupported=_name_unsupported(content, values),
        end=max(end, _find_end(tags)),
    )


def ends_early(content: bytes) -> bool:
    """Returns whether the content stops before its first directory or pixels do."""
    try:
        return read_page(content).end > len(content)
    except (struct.error, OverflowError, ValueError):
        return True
    except LookupError:
        return False


def _name_unsupported(content: bytes, tags: dict[int, tuple[int, ...]]) -> str:
    # A raw image's first page is a small preview, which must not pass for the picture.
    if DNG_VERSION in tags or content[8:10] == b"CR" or tags.get(SUBFILE, (0,))[0] & PREVIEW:
        return "a camera's raw image or a TIFF whose first page is a preview"
    compression = tags.get(COMPRESSION, (1,))[0]
    if compression not in COMPRESSIONS:
        return f"a TIFF of a compression ({compression}) that is not read here"
    bits = max(tags.get(BITS, (1,)))
    if set(tags.get(SAMPLE_FORMAT, ())) - {UNSIGNED, UNDEFINED}:
        return f"a TIFF of signed or floating-point samples of {bits} bits"
    if bits > LARGEST_SAMPLE:
        return f"a TIFF of {bits} bits a sample"
    return ""


def _find_end(tags: dict[int, "np.ndarray"]) -> int:
    """Returns the byte behind the last strip or tile; 0 where their places are not stated."""
    import numpy as np

    positions = tags.get(STRIPS, tags.get(TILES))
    lengths = tags.get(STRIP_LENGTHS, tags.get(TILE_LENGTHS))
    if positions is None or lengths is None:
        return 0
    end, count = 0, min(len(positions), len(lengths))
    for at in range(0, count, SUMMED_AT_ONCE):
        some = slice(at, min(at + SUMMED_AT_ONCE, count))
        # Two numbers of 64 bits overflow; as floats they are exact up to eight petabytes.
        ends = positions[some].astype(np.float64) + lengths[some]
        end = max(end, int(ends.max()))
    return end


def _read_tags(content: bytes) -> tuple[dict[int, "np.ndarray"], int]:
    """Returns the values of the wanted tags, and the byte behind the last value of any tag.

    A tag without a value counts as absent; the values are views of the content, never copies.
    """
    import numpy as np

    order = "<" if content.startswith(b"II") else ">"
    is_big = b"+" in content[2:4]
    entry, field, count_code, start = (20, 8, "Q", 8) if is_big else (12, 4, "H", 4)
    pointer = "Q" if is_big else "I"
    (directory,) = struct.unpack_from(order + pointer, content, start)
    (entries,) = struct.unpack_from(order + count_code, content, directory)
    first = directory + struct.calcsize(count_code)
    end = first + entries * entry
    if end > len(content):
        raise ValueError(f"Expected {entries} tags. Received: {len(content)} bytes.")
    tags = {}
    for at in range(first, first + min(entries, MAX_TAGS) * entry, entry):
        tag, kind, count = struct.unpack_from(f"{order}HH{pointer}", content, at)
        size = SIZES.get(kind, 0)
        place, length = at + entry - field, count * size
        if length > field:
            (place,) = struct.unpack_from(order + pointer, content, place)
        end = max(end, place + length)
        is_there = 0 < count <= MAX_VALUES and place + length <= len(content)
        if tag in WANTED and kind in WHOLE and is_there:
            tags[tag] = np.frombuffer(content, f"{order}u{size}", count, place)
    return tags, end
