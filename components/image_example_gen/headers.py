"""What an image file says of itself, read from its first structures without decoding a pixel.

The file's name is never asked. Sizes are read here and not by Pillow, because Pillow refuses some
files that TensorFlow decodes (a PNG with a damaged comment) and sets aside memory for others
(WebP) before anyone could look at their size.

Formats: ITU-T T.81 (JPEG), ISO/IEC 15948 (PNG), GIF89a specification, Windows BITMAPINFOHEADER,
RFC 9649 (WebP), TIFF 6.0 and BigTIFF, ISO/IEC 23008-12 (HEIF, AVIF).
"""

import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from PIL import Image

from components.image_example_gen import tiff_header

JPEG, PNG, GIF, BMP = "jpeg", "png", "gif", "bmp"
WEBP, TIFF, AVIF, HEIF = "webp", "tiff", "avif", "heif"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette's entries are RGB
BMP_HEADER_SIZES = range(12, 256)  # the largest that exists has 124 bytes
BMP_PLAIN_HEADER_SIZES = frozenset({40, 52, 56, 64, 108, 124})
BMP_BITS = frozenset({1, 2, 4, 8, 16, 24, 32})
BMP_FILE_HEADER = 14
BMP_CORE_HEADER = 12  # OS/2's, with sizes of two bytes
# Markers that start a frame: C0-CF without C4 (Huffman table), C8 (reserved), CC (arithmetic
# conditioning), and F7 of JPEG-LS.
JPEG_FRAMES = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
JPEG_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
JPEG_LS_FRAME = 0xF7
JPEG_APP14, JPEG_SCAN = 0xEE, 0xDA
JPEG_END = b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")  # passes over stray and fill bytes
# A hostile file holds millions of empty parts. The first is the limit of Transform's graph for the
# segments of a JPEG; a long animation and a PNG in small chunks have more parts than that.
MAX_SEGMENTS = 1_000
MAX_PARTS = 100_000
AVIF_BRANDS = frozenset({b"avif", b"avis"})  # ISO/IEC 23008-12 file types
HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}
)
ALPHA_NAMES = (b"auxiliary:alpha", b"hevc:2015:auxid:1\0")  # of an auxiliary picture's type
# Formats that are named and not taken, by how their content starts.
OTHER_SIGNATURES = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"II\xbc": "JPEG XR",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xffO\xffQ": "JPEG 2000",
    b"IIRO": "a camera's raw image (ORF)",
    b"IIU\0": "a camera's raw image (RW2)",
    b"FUJIFILMCCD-RAW": "a camera's raw image (RAF)",
    b"8BPS": "PSD",
    b"%!PS": "EPS or PostScript",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"DDS ": "DDS",
    b"icns": "ICNS",
    b"SIMPLE  =": "FITS",
    b"BLP1": "BLP",
    b"BLP2": "BLP",
    b"qoif": "QOI",
    b"/* XPM */": "XPM",
}
# Formats of weaker signatures, which Pillow tells: it opens them and decodes nothing.
OTHER_FORMATS = (
    "CUR", "DCX", "FLI", "FTEX", "GBR", "ICO", "IM", "MCIDAS", "MSP", "PCD", "PCX", "PIXAR", "PPM",
    "SGI", "SUN", "TGA", "WMF", "XBM",
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """Size as the file states it.

    Attributes:
        width: pixels.
        height: pixels.
        channels: as stored; 3 for a palette.
        pixels: what decoding costs; all frames of an animated GIF together.
        odd: whether TensorFlow refuses this variant or reads wrong colours from it.
        unsupported: what it is if nothing here reads it; empty otherwise.
    """

    width: int
    height: int
    channels: int
    pixels: int
    odd: bool = False
    unsupported: str = ""


def sniff_format(content: bytes) -> str | None:
    """Returns a name of `features.FORMATS` by the content's first bytes, or None."""
    if content.startswith(b"\xff\xd8\xff"):
        return JPEG
    if content.startswith(PNG_SIGNATURE):
        return PNG
    if content.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if content.startswith(tiff_header.SIGNATURES):
        return TIFF
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return WEBP
    # "BM" alone starts many texts, so the size of the second header must be a possible one.
    if content.startswith(b"BM") and content[14:18]:
        return BMP if int.from_bytes(content[14:18], "little") in BMP_HEADER_SIZES else None
    return _sniff_boxes(content)


def _sniff_boxes(content: bytes) -> str | None:
    if content[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(content[:4], "big"), 1024)
    brands = {content[8:12], *(content[at : at + 4] for at in range(16, end, 4))}
    if brands & AVIF_BRANDS:
        return AVIF
    return HEIF if brands & HEIF_BRANDS else None


def name_other_format(content: bytes) -> str | None:
    """Returns the name of an image format that is not taken, or None for no image."""
    for signature, name in OTHER_SIGNATURES.items():
        if content.startswith(signature):
            return name
    if content[4:12] == b"ftypcrx ":
        return "a camera's raw image (CR3)"
    if b"<svg" in content[:1024].lower():
        return "SVG"
    try:
        with Image.open(io.BytesIO(content), formats=OTHER_FORMATS) as image:
            return image.format
    # Pillow's plugins raise whatever a file leads them to.
    except Exception:
        return None


def read_header(content: bytes, kind: str) -> Header | None:
    """Returns the header of an image of a kind `sniff_format` names; None if it is incomplete."""
    try:
        return READERS[kind](content)
    except (struct.error, IndexError, KeyError, OverflowError, ValueError):
        return None


def is_truncated(content: bytes, kind: str) -> bool:
    """Returns whether the content stops before the end that its structures announce."""
    try:
        return END_CHECKS[kind](content)
    except ValueError:  # structures that no writer makes are damage
        return False


def _read_jpeg(content: bytes) -> Header | None:
    frame, is_marked = None, False
    for marker, start in _jpeg_segments(content):
        if frame is None and marker in JPEG_FRAMES:
            frame = marker, *struct.unpack_from(">BHHB", content, start + 2)
        is_marked |= marker == JPEG_APP14 and content[start + 2 : start + 7] == b"Adobe"
    if frame is None:
        return None
    marker, precision, height, width, channels = frame
    unsupported = ""
    if marker == JPEG_LS_FRAME:
        unsupported = "a JPEG-LS"
    elif precision != 8:
        unsupported = f"a JPEG of {precision} bits a sample"
    # Without Adobe's mark TensorFlow takes CMYK as it stands, Pillow and browsers as inverted.
    is_bare_cmyk = channels == 4 and not is_marked
    odd = is_bare_cmyk or marker not in JPEG_HUFFMAN_FRAMES or channels == 2
    return Header(width, height, channels, width * height, odd, unsupported)


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yields (marker, position of its length) up to the first scan, if they are all there.

    Raises:
        ValueError: there are more than `MAX_SEGMENTS`, or one is shorter than its own length.
    """
    position = 2
    for _ in range(MAX_SEGMENTS):
        found = JPEG_MARKER.search(content, position)
        if found is None or found.start() + 4 > len(content):
            return
        marker, position = content[found.end() - 1], found.end()
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # markers without a length
            continue
        length = int.from_bytes(content[position : position + 2], "big")
        if length < 2:
            raise ValueError(f"Expected a segment of 2 bytes. Received: length={length}.")
        yield marker, position
        if marker == JPEG_SCAN:
            return
        position += length
    raise ValueError(f"Expected at most {MAX_SEGMENTS} segments before the first scan.")


def _ends_early_jpeg(content: bytes) -> bool:
    scan = next((start for marker, start in _jpeg_segments(content) if marker == JPEG_SCAN), -1)
    return scan < 0 or content.find(JPEG_END, scan) < 0


def _read_png(content: bytes) -> Header:
    start = len(PNG_SIGNATURE)
    is_crushed = content[start + 4 : start + 8] == b"CgBI"
    if is_crushed:
        start += 12 + int.from_bytes(content[start : start + 4], "big")
    width, height, _, color = struct.unpack_from(">IIBB", content, start + 8)
    unsupported = "a PNG in Apple's own variant (CgBI)" if is_crushed else ""
    odd = _has_late_exif(content)
    return Header(width, height, PNG_CHANNELS[color], width * height, odd, unsupported)


def _has_late_exif(content: bytes) -> bool:
    """Returns whether Exif data follow the pixels, where Transform's graph does not look."""
    if content.rfind(b"eXIf") < 0:
        return False
    has_pixels = False
    for name in _png_chunks(content):
        if has_pixels and name == b"eXIf":
            return True
        has_pixels |= name == b"IDAT"
    return False


def _png_chunks(content: bytes) -> Iterator[bytes]:
    """Yields the name of every complete chunk.

    Raises:
        ValueError: there are more than `MAX_PARTS`.
    """
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        length = int.from_bytes(content[position : position + 4], "big")
        if position + 12 + length > len(content):
            return
        yield content[position + 4 : position + 8]
        position += 12 + length
    raise ValueError(f"Expected at most {MAX_PARTS} chunks.")


def _ends_early_png(content: bytes) -> bool:
    return b"IEND" not in _png_chunks(content)


def _read_gif(content: bytes) -> Header | None:
    screen = struct.unpack_from("<HH", content, 6)
    first, odd = None, False
    width, height, pixels = *screen, 0
    for block, at in _gif_blocks(content):
        if block == b",":
            frame = struct.unpack_from("<HHHH", content, at + 1)
            first = first or (*frame, content[at + 9])
            # TensorFlow sizes the result by the largest frame and holds every one of them.
            width, height = max(width, frame[0] + frame[2]), max(height, frame[1] + frame[3])
            pixels += frame[2] * frame[3]
        elif block == b"!":
            # It drops transparency, and refuses an extension without data.
            odd |= first is None and _makes_transparent(content, at)
            odd |= content[at + 2] == 0
    if first is None:
        return None
    has_colors = (content[10] | first[4]) & 0x80
    # It paints black what the first frame leaves out.
    odd |= not has_colors or first[:4] != (0, 0, *screen)
    return Header(width, height, 3, max(width * height, pixels), odd)


def _makes_transparent(content: bytes, at: int) -> bool:
    return content[at : at + 3] == b"!\xf9\x04" and bool(content[at + 3] & 1)


def _gif_blocks(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yields (b"," for a frame, b"!" for an extension or b";" for the end, position).

    Raises:
        ValueError: there are more than `MAX_PARTS`.
    """
    if len(content) < 13:
        return
    position = 13 + _color_table_size(content[10])
    for _ in range(MAX_PARTS):
        block = content[position : position + 1]
        if block == b";":
            yield block, position
            return
        if block == b"," and position + 10 <= len(content):
            yield block, position
            position += 11 + _color_table_size(content[position + 9])
        elif block == b"!" and position + 3 <= len(content):
            yield block, position
            position += 2
        else:
            return
        while position < len(content) and content[position]:
            position += 1 + content[position]
        position += 1
    raise ValueError(f"Expected at most {MAX_PARTS} blocks.")


def _color_table_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _ends_early_gif(content: bytes) -> bool:
    return not any(block == b";" for block, _ in _gif_blocks(content))


@dataclass(frozen=True)
class _Bitmap:
    """A BMP's header: `offset` of the pixels, `size` of the second header and what it holds."""

    offset: int
    size: int
    width: int
    height: int
    bits: int
    compression: int = 0
    length: int = 0
    colors: int = 0

    @property
    def needed(self) -> int:
        """Bytes up to the last pixel; as stated where they are compressed, 0 if unknown."""
        if self.bits not in BMP_BITS:
            return 0
        row = (self.width * self.bits + 31) // 32 * 4
        return self.offset + (row * self.height if self.compression in (0, 3, 6) else self.length)


def _read_bitmap(content: bytes) -> _Bitmap:
    (offset,) = struct.unpack_from("<I", content, 10)
    (size,) = struct.unpack_from("<I", content, BMP_FILE_HEADER)
    if size == BMP_CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", content, BMP_FILE_HEADER + 4)
        return _Bitmap(offset, size, width, height, bits)
    width, height, _, bits = struct.unpack_from("<iiHH", content, BMP_FILE_HEADER + 4)
    bitmap = _Bitmap(offset, size, abs(width), abs(height), bits)
    if size == 16:
        return bitmap
    compression, length, _, _, colors = struct.unpack_from("<IIiiI", content, BMP_FILE_HEADER + 16)
    return replace(bitmap, compression=compression, length=length, colors=colors)


def _read_bmp(content: bytes) -> Header:
    bitmap = _read_bitmap(content)
    is_plain = bitmap.size in BMP_PLAIN_HEADER_SIZES and bitmap.compression == 0
    is_plain = is_plain and len(content) == bitmap.needed
    # TensorFlow reads a palette's indices as grey levels, takes no masks, and wants the pixels to
    # end the file.
    if bitmap.bits == 8:
        is_grey = _is_grey_palette(content, bitmap)
    else:
        is_grey, is_plain = False, is_plain and bitmap.bits in (24, 32)
    channels = 1 if is_grey else 4 if bitmap.bits == 32 else 3
    odd = not is_plain or (bitmap.bits == 8 and not is_grey)
    return Header(bitmap.width, bitmap.height, channels, bitmap.width * bitmap.height, odd)


def _is_grey_palette(content: bytes, bitmap: _Bitmap) -> bool:
    start, width = BMP_FILE_HEADER + bitmap.size, 3 if bitmap.size == BMP_CORE_HEADER else 4
    colors = min(bitmap.colors or 256, 256)
    palette = content[start : min(start + width * colors, bitmap.offset)]
    return all(
        palette[width * index : width * index + 3] == bytes([index] * 3)
        for index in range(len(palette) // width)
    )


def _ends_early_bmp(content: bytes) -> bool:
    try:
        return len(content) < _read_bitmap(content).needed
    except struct.error:
        return True


def _read_webp(content: bytes) -> Header:
    chunk = content[12:16]
    if chunk == b"VP8X":
        width = 1 + int.from_bytes(content[24:27], "little")
        height = 1 + int.from_bytes(content[27:30], "little")
        has_alpha = content[20] & 0x10
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height, has_alpha = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bits >> 28 & 1
    elif chunk == b"VP8 ":
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", content, 26))
        has_alpha = 0
    else:
        raise ValueError(f"Expected a WebP's first chunk. Received: chunk={chunk!r}.")
    if len(content) < 30:
        raise ValueError(f"Expected 30 bytes of a WebP. Received: {len(content)} bytes.")
    return Header(width, height, 4 if has_alpha else 3, width * height)


def _ends_early_webp(content: bytes) -> bool:
    return len(content) < 8 + int.from_bytes(content[4:8], "little")


def _read_tiff(content: bytes) -> Header:
    page = tiff_header.read_page(content)
    # Planes beyond four (a satellite's) are no colours.
    channels = min(page.channels, 4)
    return Header(
        page.width, page.height, channels, page.width * page.height, unsupported=page.unsupported
    )


def _read_boxes(content: bytes) -> Header | None:
    """Reads the largest of the sizes that an AVIF or HEIF states; its tiles have some too."""
    spans = ((start, end) for name, start, end in _boxes(content) if name == b"meta")
    start, end = next(spans, (0, 0))
    sizes = _sizes(content, start, min(end, len(content)))
    largest = max(sizes, key=lambda size: size[0] * size[1], default=None)
    if largest is None:
        return None
    width, height = largest
    has_alpha = any(content.find(name, start, end) >= 0 for name in ALPHA_NAMES)
    return Header(width, height, 4 if has_alpha else 3, width * height)


def _sizes(content: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yields the width and height of every size between two positions.

    Raises:
        struct.error: the last one is not all there.
        ValueError: there are more than `MAX_PARTS`.
    """
    at = content.find(b"ispe", start, end)
    for _ in range(MAX_PARTS):
        if at < 0:
            return
        yield struct.unpack(">II", content[at + 8 : min(at + 16, end)])
        at = content.find(b"ispe", at + 4, end)
    raise ValueError(f"Expected at most {MAX_PARTS} sizes.")


def _boxes(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, start, end) of the outermost boxes; the end may lie behind the content's.

    Raises:
        ValueError: there are more than `MAX_SEGMENTS`.
    """
    position = 0
    for _ in range(MAX_SEGMENTS):
        if position + 8 > len(content):
            return
        (length,) = struct.unpack_from(">I", content, position)
        if length == 1 and position + 16 <= len(content):
            (length,) = struct.unpack_from(">Q", content, position + 8)
        end = position + length if length else len(content)
        if end < position + 8:
            return
        yield content[position + 4 : position + 8], position, end
        position = end
    raise ValueError(f"Expected at most {MAX_SEGMENTS} boxes.")


def _ends_early_boxes(content: bytes) -> bool:
    has_meta, last = False, 0
    for name, _, end in _boxes(content):
        has_meta, last = has_meta or name == b"meta", end
    return not has_meta or last > len(content)


READERS: dict[str, Callable[[bytes], Header | None]] = {
    JPEG: _read_jpeg,
    PNG: _read_png,
    GIF: _read_gif,
    BMP: _read_bmp,
    WEBP: _read_webp,
    TIFF: _read_tiff,
    AVIF: _read_boxes,
    HEIF: _read_boxes,
}
END_CHECKS: dict[str, Callable[[bytes], bool]] = {
    JPEG: _ends_early_jpeg,
    PNG: _ends_early_png,
    GIF: _ends_early_gif,
    BMP: _ends_early_bmp,
    WEBP: _ends_early_webp,
    TIFF: tiff_header.ends_early,
    AVIF: _ends_early_boxes,
    HEIF: _ends_early_boxes,
}
