"""Small pictures of any image, and none of a bomb."""

import contextlib
import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageOps

from components import thumbnails
from components.thumbnails import Thumbnail, make_thumbnail

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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_every_other_format_is_turned_likewise(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners = Image.new("L", (2, 2))
    corners.putdata([0, 80, 160, 240])
    picture = corners.resize((32, 32), Image.Resampling.NEAREST).convert("RGB")
    options = {"lossless": True} if kind == "WEBP" else {}
    shown = pixels_of(make_thumbnail(saved(picture, kind, exif=exif, **options), LIMIT))
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    assert np.abs(shown - expected)[8::16, 8::16].max() <= 4


@pytest.mark.parametrize("is_late", [False, True])
def test_exif_data_before_and_behind_a_png_s_pixels_turn_it(is_late: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(halves(64, 32), "PNG", exif=exif)
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    if is_late:
        content = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    assert pixels_of(make_thumbnail(content, LIMIT, 32)).shape == (32, 16, 3)


def test_an_orientation_that_only_the_xmp_data_state_is_not_followed() -> None:
    content = saved(halves(64, 32), "JPEG", xmp=b'<x tiff:Orientation="6"/>')
    assert pixels_of(make_thumbnail(content, LIMIT, 32)).shape == (16, 32, 3)


def test_no_program_is_run_for_a_picture_of_an_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *values, **_: ran.append(values))
    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, lambda *values, **_: ran.append(values))
    assert make_thumbnail(saved(halves(8, 8), "EPS"), LIMIT) is None
    assert ran == []


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "TGA", "PCX", "SGI", "IM", "JPEG2000"])
def test_only_the_formats_that_are_taken_are_opened(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("opened by whichever plugin claims it")

    content = saved(halves(8, 8), kind)
    monkeypatch.setattr(Image, "open", refuse)
    assert make_thumbnail(content, LIMIT) is None


@pytest.mark.parametrize("compression", [32809, 34676])  # ThunderScan, SGI
def test_a_tiff_of_a_codec_that_is_not_read_is_never_decoded(
    monkeypatch: pytest.MonkeyPatch, compression: int
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("opened")

    content = saved(Image.new("L", (8, 8)), "TIFF")
    entry = struct.pack("<HHIHH", 259, 3, 1, 1, 0)
    assert content.count(entry) == 1
    odd = content.replace(entry, struct.pack("<HHIHH", 259, 3, 1, compression, 0))
    monkeypatch.setattr(thumbnails, "open_image", refuse)
    assert make_thumbnail(odd, LIMIT) is None


def test_a_picture_of_a_large_image_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []

    def take_turn(pixels: int) -> contextlib.AbstractContextManager[None]:
        turns.append(pixels)
        return contextlib.nullcontext()

    monkeypatch.setattr(thumbnails, "turn_to_decode", take_turn)
    make_thumbnail(saved(halves(10, 10), "PNG"), LIMIT)
    assert turns == [100]


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
