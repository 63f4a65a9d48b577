"""Turns what TensorFlow does not decode, or decodes to wrong colours, into a PNG without loss.

Ingestion and `graft predict` both ask `to_served`, so that a picture reaches the model alike. Only
the formats of `PLUGINS` are ever opened; none of their plugins runs another program.
"""

import contextlib
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from components import features
from components.image_example_gen import headers, tiff_header
from components.image_example_gen.listing import MAX_BYTES
from components.image_example_gen.quarantine import (
    CORRUPT,
    TOO_MANY_BYTES,
    TRUNCATED,
    UNSUPPORTED,
    Fault,
)

# The only readers that are ever used, with those of AVIF and HEIF where they are installed.
PLUGINS: Mapping[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    headers.JPEG: JpegImagePlugin.jpeg_factory,
    headers.PNG: PngImagePlugin.PngImageFile,
    headers.GIF: GifImagePlugin.GifImageFile,
    headers.BMP: BmpImagePlugin.BmpImageFile,
    headers.WEBP: WebPImagePlugin.WebPImageFile,
    headers.TIFF: TiffImagePlugin.TiffImageFile,
}
LIBRARIES = {
    headers.AVIF: "Pillow 11.3 or newer (pip install --upgrade pillow)",
    headers.HEIF: "pillow-heif (pip install pillow-heif)",
}
# Plugins that read no more than the header when they open: what they refuse then is a variant.
LAZY_PLUGINS = frozenset({headers.BMP, headers.TIFF})
TRANSPARENT_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
OPAQUE_MODES = frozenset({"P", "RGB", "RGBX", "CMYK", "YCbCr"})
COMPRESSION = 3  # of zlib's 9: photos a fifth larger than with 6, in less than half the time

# One image above this many pixels is decoded at a time in a process: one of 100 megapixels takes up
# to 2.5 GB for a moment, and that must not be multiplied by the number of threads.
LARGE_PIXELS = 16_000_000
_large_image = threading.RLock()

# Pillow sets memory aside in blocks. Freed ones of up to 32 MB glibc keeps for the thread that had
# them, gigabytes with a few threads; an image in one large block goes back to the system at once.
Image.core.set_block_size(512 << 20)

# Sizes are judged by our own limits before Pillow sees the content; its limit would cut in below.
Image.MAX_IMAGE_PIXELS = None
# What Pillow remarks on metadata says nothing about the pixels.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class ReencodeError(ValueError):
    """An image cannot be made a PNG; `fault` says why in the words of the quarantine."""

    def __init__(self, fault: Fault):
        super().__init__(fault.detail)
        self.fault = fault


def to_served(content: bytes, kind: str) -> tuple[bytes, str]:
    """Returns an image in a form that TensorFlow decodes to the colours a viewer shows.

    Args:
        content: the file's bytes; its size was judged before.
        kind: its format, as `headers.sniff_format` names it.

    Returns:
        The bytes and their format, one of `features.SERVED_FORMATS`: the same bytes where
        TensorFlow reads them rightly, else a PNG of the first frame or page, turned by its Exif
        orientation and composed on white, of 8 bits a sample, grey or RGB. The same content gives
        the same bytes with the same version of Pillow.

    Raises:
        ReencodeError: it cannot be decoded, or no library here decodes it.
    """
    header = headers.read_header(content, kind)
    if kind in features.SERVED_FORMATS and (header is None or not header.odd):
        return content, kind
    if header is None:
        raise ReencodeError(judge_damaged(content, kind, "its header is incomplete"))
    if header.unsupported:
        raise ReencodeError(Fault(UNSUPPORTED, name_unsupported(header.unsupported)))
    with turn_to_decode(header.pixels):
        served = _encode_png(_decode(content, kind, header.pixels))
    if len(served) > MAX_BYTES:
        size = f"{len(served):,} bytes as a PNG; at most {MAX_BYTES:,} are kept."
        raise ReencodeError(Fault(TOO_MANY_BYTES, size))
    return served, headers.PNG


def turn_to_decode(pixels: int) -> AbstractContextManager[object]:
    """Returns what to hold while an image of so many pixels is decoded; small ones do not wait."""
    return _large_image if pixels > LARGE_PIXELS else contextlib.nullcontext()


def name_unsupported(found: str) -> str:
    """Returns the detail of a refusal of content that is `found`, a kind that is not taken."""
    return f"The content is {found}; convert it to JPEG or PNG."


def judge_damaged(content: bytes, kind: str, why: str) -> Fault:
    """Tells apart what is cut off and what is damaged, of content that could not be decoded."""
    name = kind.upper()
    if headers.is_truncated(content, kind):
        return Fault(TRUNCATED, f"The {name} ends after {len(content):,} bytes: {why}.")
    return Fault(CORRUPT, f"The {name} is damaged: {why}.")


def _decode(content: bytes, kind: str, pixels: int) -> Image.Image:
    """Returns the first frame as 8-bit grey or RGB, turned and composed on white."""
    with open_image(content, kind) as image:
        if image.width * image.height > pixels:
            size = f"it has {image.width}×{image.height} pixels, more than its header states"
            raise ReencodeError(judge_damaged(content, kind, size))
        try:
            image.load()
            # Damaged Exif data raise what they like, and then count as none.
            with contextlib.suppress(Exception):
                ImageOps.exif_transpose(image, in_place=True)
            return to_eight_bits(image, content, kind)
        except (MemoryError, ReencodeError):
            raise
        except Exception as error:
            raise ReencodeError(judge_damaged(content, kind, _message(error))) from error


@contextlib.contextmanager
def open_image(content: bytes, kind: str) -> Iterator[ImageFile.ImageFile]:
    """Opens an image with the reader of its format and no other; nothing is decoded yet.

    Args:
        content: the file's bytes.
        kind: its format, as `headers.sniff_format` names it.

    Raises:
        ReencodeError: the reader is not installed or refuses the content.
    """
    plugin = _find_plugin(kind)
    try:
        image = plugin(io.BytesIO(content))
    except Exception as error:
        fault = judge_damaged(content, kind, _message(error))
        if fault.reason == CORRUPT and kind in LAZY_PLUGINS:
            detail = f"A {kind.upper()} that Pillow does not read: {_message(error)}."
            fault = Fault(UNSUPPORTED, f"{detail} Convert it to JPEG or PNG.")
        raise ReencodeError(fault) from error
    with image:
        yield image


def _find_plugin(kind: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """Returns Pillow's reader of one format, which unlike `Image.open` tells why it refuses."""
    if kind in PLUGINS:
        return PLUGINS[kind]
    with contextlib.suppress(ImportError):
        if kind == headers.HEIF:
            from pillow_heif import HeifImageFile

            return HeifImageFile
        from PIL import AvifImagePlugin

        if AvifImagePlugin.SUPPORTED:
            return AvifImagePlugin.AvifImageFile
    library, name = LIBRARIES[kind], kind.upper()
    detail = f"The content is {name}; install {library} to read it, or convert it to JPEG or PNG."
    raise ReencodeError(Fault(UNSUPPORTED, detail))


def to_eight_bits(image: Image.Image, content: bytes, kind: str) -> Image.Image:
    """Returns an image as 8-bit grey or RGB, composed on white.

    Args:
        image: what `open_image` gave of `content`, or a smaller version of it.
        content: the file's bytes.
        kind: its format.

    Raises:
        ReencodeError: its samples have no such form.
    """
    if image.mode.startswith("I;16"):
        return _shift_samples(image, content, kind)
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    if image.mode in OPAQUE_MODES:
        return image.convert("RGB")
    detail = f"A {kind.upper()} whose samples are {image.mode}; convert it to 8 or 16 bits."
    raise ReencodeError(Fault(UNSUPPORTED, detail))


def _shift_samples(image: Image.Image, content: bytes, kind: str) -> Image.Image:
    """Keeps the upper eight bits of grey samples, as TensorFlow does of a PNG's."""
    bits, is_white_zero = 16, False
    if kind == headers.TIFF:
        page = tiff_header.read_page(content)
        bits, is_white_zero = page.bits, page.is_white_zero
    grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - grey if is_white_zero else grey)


def _encode_png(image: Image.Image) -> bytes:
    image.info.clear()  # the profile and the like would be written too
    output = io.BytesIO()
    image.save(output, "PNG", compress_level=COMPRESSION)
    return output.getvalue()


def _message(error: Exception) -> str:
    """Returns the first line of what Pillow said, without an object's address."""
    text = re.sub(r" at 0x[0-9a-f]+", "", str(error))
    return next(iter(text.splitlines()), "").rstrip(" .") or type(error).__name__
