"""Small JPEG pictures for pages, made from whatever lies in a source, damaged files included.

An image is first judged by its header, so that no bomb is ever unpacked for a picture of it, and
opened only with the readers of the formats that ingestion takes: Pillow's others run programs
(EPS) or have damaged memory.
"""

import contextlib
import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from components.features import SERVED_FORMATS
from components.image_example_gen import headers
from components.image_example_gen.reencode import open_image, to_eight_bits, turn_to_decode

SIDE = 224  # pixels of the longer side: sharp at 112 on a screen of double density
QUALITY = 72  # of 100, JPEG's scale
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True)
class Thumbnail:
    """A small picture.

    Attributes:
        content: a JPEG file, RGB.
        width: pixels, at least 1.
        height: pixels, at least 1.
    """

    content: bytes
    width: int
    height: int


def make_thumbnail(content: bytes, max_pixels: int, side: int = SIDE) -> Thumbnail | None:
    """Returns a small picture of an image as training sees it: turned, alpha on white.

    Every format is turned by its Exif orientation, PNG too. Of a JPEG that is cut off it shows what
    is left. Large images are decoded one at a time in a process, as `reencode.turn_to_decode` has
    it.

    Args:
        content: the file's bytes, of any kind.
        max_pixels: images whose header tells more pixels, those of all frames together, are not
            opened; at least 1.
        side: pixels of the longer side, at least 1; a smaller image is not enlarged. Default: 224.

    Returns:
        The picture, or None where there is nothing that can be shown or the format is none of
        `features.FORMATS`.
    """
    picture = _shrink(content, max_pixels, side)
    if picture is None and content.startswith(JPEG_START):
        # libjpeg fills what is missing with grey when the file ends properly.
        picture = _shrink(content + 16 * JPEG_END, max_pixels, side)
    if picture is None:
        return None
    output = io.BytesIO()
    picture.save(output, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(output.getvalue(), picture.width, picture.height)


def _shrink(content: bytes, max_pixels: int, side: int) -> Image.Image | None:
    kind = headers.sniff_format(content)
    header = None if kind is None else headers.read_header(content, kind)
    if kind is None or header is None or header.unsupported or header.pixels > max_pixels:
        return None
    try:
        with turn_to_decode(header.pixels), open_image(content, kind) as image:
            if image.width * image.height > header.pixels:
                return None
            # A JPEG is decoded at the nearest larger eighth, which saves time and memory.
            image.draft(None, (side, side))
            image.load()
            if kind in SERVED_FORMATS and not header.odd:
                _forget_other_orientations(image)
            # Damaged Exif data raise what they like, and then count as none.
            with contextlib.suppress(Exception):
                ImageOps.exif_transpose(image, in_place=True)
            picture = to_eight_bits(image, content, kind).convert("RGB")
            picture.thumbnail((side, side))
        return picture
    # Pillow's plugins raise whatever a damaged file leads them to.
    except Exception:
        return None


def _forget_other_orientations(image: Image.Image) -> None:
    """Leaves the orientation of the Exif data, the only one that training's decoder follows."""
    for name in ("xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        image.info.pop(name, None)
