"""Small pictures of any image, and none of a bomb."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.thumbnails import Thumbnail, make_thumbnail

LIMIT = 1_000_000  # pixels


def pixels_of(thumbnail: Thumbnail | None) -> np.ndarray:
    assert thumbnail is not None
    with Image.open(io.BytesIO(thumbnail.content)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.size == (thumbnail.width, thumbnail.height)
        return np.asarray(image).astype(int)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def halves(width: int, height: int) -> Image.Image:
    """Returns a picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image


def test_the_longer_side_is_shrunk_and_the_shape_kept() -> None:
    shape = pixels_of(make_thumbnail(saved(halves(400, 100), "PNG"), LIMIT, 40)).shape
    assert shape == (10, 40, 3)


def test_a_small_image_is_not_enlarged() -> None:
    assert pixels_of(make_thumbnail(saved(halves(8, 4), "PNG"), LIMIT)).shape == (4, 8, 3)


def test_a_jpeg_is_turned_by_its_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise, so the left becomes the top
    content = saved(halves(64, 32), "JPEG", exif=exif, quality=95)
    turned = pixels_of(make_thumbnail(content, LIMIT, 32))
    assert turned.shape == (32, 16, 3)
    assert turned[4, 8].argmax() == 0  # red above
    assert turned[28, 8].argmax() == 2  # blue below


def test_a_png_is_not_turned_as_training_does_not_turn_it_either() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(halves(64, 32), "PNG", exif=exif)
    assert pixels_of(make_thumbnail(content, LIMIT, 32)).shape == (16, 32, 3)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP")])
def test_what_is_transparent_is_shown_on_white(mode: str, kind: str) -> None:
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0)).convert(mode)
    assert pixels_of(make_thumbnail(saved(image, kind), LIMIT)).min() >= 250


def test_sixteen_bits_of_grey_keep_their_brightness() -> None:
    image = Image.fromarray(np.full((8, 8), 128 * 256, np.uint16))
    shown = pixels_of(make_thumbnail(saved(image, "PNG"), LIMIT))
    assert abs(shown - 128).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_every_mode_of_pixels_is_shown(mode: str) -> None:
    image = Image.new("RGB", (8, 8), "white").convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert pixels_of(make_thumbnail(saved(image, kind), LIMIT)).min() >= 250


def test_a_gif_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels_of(make_thumbnail(content, LIMIT))[4, 4].argmax() == 0


def test_of_a_jpeg_that_is_cut_off_the_rest_is_shown(noise: Callable[..., np.ndarray]) -> None:
    content = saved(Image.fromarray(noise(1, 64, 64)), "JPEG")
    shown = pixels_of(make_thumbnail(content[: len(content) // 2], LIMIT))
    assert shown[:16].std() > 30
    assert shown[-8:].std() < 5  # libjpeg's even grey


@pytest.mark.parametrize("content", [b"", b"text", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_has_no_picture(content: bytes) -> None:
    assert make_thumbnail(content, LIMIT) is None


def test_an_image_beyond_the_limit_is_never_unpacked() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))
    assert make_thumbnail(bomb, LIMIT) is None
    assert make_thumbnail(bomb, 10**10) is None  # beyond what Pillow itself opens


def test_the_limit_holds_to_the_pixel() -> None:
    content = saved(halves(10, 10), "PNG")
    assert make_thumbnail(content, 99) is None
    assert pixels_of(make_thumbnail(content, 100)).shape == (10, 10, 3)


def test_the_same_image_gives_the_same_bytes() -> None:
    content = saved(halves(300, 200), "JPEG")
    assert make_thumbnail(content, LIMIT) == make_thumbnail(content, LIMIT)
