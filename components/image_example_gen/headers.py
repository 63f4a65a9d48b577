"""What an image file says of itself, read from its first structures without decoding a pixel.

The file's name is never asked. Sizes are read here and not by Pillow, because Pillow refuses some
files that TensorFlow decodes (a PNG with a damaged comment), and TensorFlow's answer counts.

Formats: ITU-T T.81 (JPEG), ISO/IEC 15948 (PNG), GIF89a specification, Windows BITMAPINFOHEADER.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

JPEG, PNG, GIF, BMP = "jpeg", "png", "gif", "bmp"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette's entries are RGB
BMP_HEADER_SIZES = frozenset({40, 52, 56, 64, 108, 124})
BMP_FILE_HEADER = 14
# Markers that start a frame: C0-CF without C4 (Huffman table), C8 (reserved), CC (arithmetic).
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_SCAN = 0xDA
JPEG_END = b"\xff\xd9"
BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")  # ISO/IEC 23008-12 file types


@dataclass(frozen=True)
class Header:
    """Size as the file states it.

    Attributes:
        width: pixels.
        height: pixels.
        channels: as stored; 3 for a palette.
        pixels: what decoding costs; all frames of an animation together.
        unsupported: why TensorFlow would read wrong colours from it; empty when it would not.
    """

    width: int
    height: int
    channels: int
    pixels: int
    unsupported: str = ""


def sniff_format(content: bytes) -> str | None:
    """Returns `"jpeg"`, `"png"`, `"gif"`, `"bmp"` or None, by the content's first bytes."""
    if content.startswith(b"\xff\xd8\xff"):
        return JPEG
    if content.startswith(PNG_SIGNATURE):
        return PNG
    if content.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    # "BM" alone starts many texts, so the size of the second header must be one that exists.
    if content.startswith(b"BM") and content[14:18]:
        return BMP if int.from_bytes(content[14:18], "little") in BMP_HEADER_SIZES else None
    return None


def name_other_format(content: bytes) -> str | None:
    """Returns the name of an image format that TensorFlow does not decode, or None for no image."""
    if content[4:8] == b"ftyp" and content[8:12] in BRANDS:
        return "AVIF" if content[8:11] == b"avi" else "HEIF"
    if b"<svg" in content[:1024].lower():
        return "SVG"
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.format
    except Image.DecompressionBombError:
        return "very large image"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None


def read_header(content: bytes, kind: str) -> Header | None:
    """Returns the header of an image of a kind `sniff_format` names; None if it is incomplete."""
    try:
        return {JPEG: _read_jpeg, PNG: _read_png, GIF: _read_gif, BMP: _read_bmp}[kind](content)
    except (struct.error, IndexError, KeyError):
        return None


def is_truncated(content: bytes, kind: str) -> bool:
    """Returns whether the content stops before the end that its structures announce."""
    if kind == JPEG:
        scan = next((start for marker, start in _jpeg_segments(content) if marker == JPEG_SCAN), -1)
        return scan < 0 or content.find(JPEG_END, scan) < 0
    if kind == PNG:
        return not any(name == b"IEND" for name, _ in _png_chunks(content))
    if kind == GIF:
        return not any(block == "end" for block, _, _ in _gif_blocks(content))
    offset = int.from_bytes(content[10:14], "little")
    header = read_header(content, BMP)
    if header is None:
        return len(content) < BMP_FILE_HEADER + 40
    bits, compression = struct.unpack_from("<HI", content, 28)
    row = (header.width * bits + 31) // 32 * 4
    return compression == 0 and len(content) < offset + row * header.height


def _read_jpeg(content: bytes) -> Header | None:
    for marker, start in _jpeg_segments(content):
        if marker in JPEG_FRAMES:
            height, width, channels = struct.unpack_from(">HHB", content, start + 3)
            return Header(width, height, channels, width * height)
    return None


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yields (marker, position of its length) up to the first scan, if they are all there."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            position += 2
            continue
        yield marker, position + 2
        if marker == JPEG_SCAN:
            return
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")


def _read_png(content: bytes) -> Header:
    width, height, _, color = struct.unpack_from(">IIBB", content, len(PNG_SIGNATURE) + 8)
    return Header(width, height, PNG_CHANNELS[color], width * height)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yields (name, position) of every complete chunk."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        if position + 12 + length > len(content):
            return
        yield content[position + 4 : position + 8], position
        position += 12 + length


def _read_gif(content: bytes) -> Header | None:
    width, height = struct.unpack_from("<HH", content, 6)
    frames = [(w, h) for block, w, h in _gif_blocks(content) if block == "frame"]
    if not frames:
        return None
    # TensorFlow sizes the result by the largest frame and holds every frame while it decodes.
    width = max(width, *(w for w, _ in frames))
    height = max(height, *(h for _, h in frames))
    return Header(width, height, 3, max(width * height, sum(w * h for w, h in frames)))


def _gif_blocks(content: bytes) -> Iterator[tuple[str, int, int]]:
    """Yields ("frame", width, height) of each frame begun and ("end", 0, 0) at the trailer."""
    if len(content) < 13:
        return
    position = 13 + _color_table_size(content[10])
    while position < len(content):
        block = content[position]
        if block == 0x3B:
            yield "end", 0, 0
            return
        if block == 0x2C and position + 10 <= len(content):
            width, height, flags = struct.unpack_from("<HHB", content, position + 5)
            yield "frame", width, height
            position += 11 + _color_table_size(flags)
        elif block == 0x21:
            position += 2
        else:
            return
        while position < len(content) and content[position]:
            position += 1 + content[position]
        position += 1


def _color_table_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _read_bmp(content: bytes) -> Header:
    size, width, height, _, bits = struct.unpack_from("<IiiHH", content, BMP_FILE_HEADER)
    width, height = abs(width), abs(height)
    unsupported = ""
    if bits == 8 and not _is_grey_palette(content, BMP_FILE_HEADER + size):
        unsupported = "a BMP with a colour palette, whose indices would be read as grey levels"
    return Header(width, height, 1 if bits == 8 else max(bits // 8, 1), width * height, unsupported)


def _is_grey_palette(content: bytes, start: int) -> bool:
    entries = int.from_bytes(content[46:50], "little") or 256
    palette = content[start : start + 4 * entries]
    return all(
        palette[4 * index : 4 * index + 3] == bytes([index] * 3)
        for index in range(len(palette) // 4)
    )
