"""Small JPEG pictures for pages, made from whatever lies in a source, damaged files included.

An image is first judged by its header, so that no bomb is ever unpacked for a picture of it.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

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

    Of a JPEG that is cut off it shows what is left.

    Args:
        content: the file's bytes, of any kind that Pillow reads.
        max_pixels: images whose header tells more pixels are not opened; at least 1.
        side: pixels of the longer side, at least 1; a smaller image is not enlarged. Default: 224.

    Returns:
        The picture, or None where there is nothing that can be shown.
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
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > max_pixels:
                return None
            # A JPEG is decoded at the nearest larger eighth, which saves time and memory.
            image.draft(None, (side, side))
            picture = _to_rgb(image)
        picture.thumbnail((side, side))
        # A PNG's orientation is read by few programs, training's decoder not among them.
        return picture if image.format == "PNG" else ImageOps.exif_transpose(picture)
    # Pillow's plugins raise whatever a damaged file leads them to.
    except Exception:
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Returns the first frame as RGB: deep grey scaled to 8 bits, alpha composed on white."""
    exif = image.info.get("exif")
    if image.mode.startswith(("I", "F")):
        picture = Image.fromarray(_to_8_bits(np.asarray(image, np.float64))).convert("RGB")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        picture = Image.new("RGB", layer.size, "white")
        picture.paste(layer, mask=layer.getchannel("A"))
    else:
        picture = image.convert("RGB")
    if exif:
        picture.info["exif"] = exif
    return picture


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scales by 1/256 where a value is beyond 255 and by 255 where all are within 0 and 1."""
    highest = values.max(initial=0)
    scale = 1 / 256 if highest > 255 else 255.0 if highest <= 1 else 1.0
    return np.clip(values * scale, 0, 255).astype(np.uint8)
