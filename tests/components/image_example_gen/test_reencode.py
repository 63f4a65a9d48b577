"""What TensorFlow cannot read becomes a PNG of the picture that a viewer shows."""

import io
import struct
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL import features as pillow_features

from components.image_example_gen import headers, reencode
from components.image_example_gen.headers import sniff_format
from components.image_example_gen.reencode import ReencodeError, to_served

GREYS = np.random.default_rng(0).integers(0, 65536, (12, 14), np.uint16)


def save(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def colours(mode: str = "RGB", seed: int = 1) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 14, 4), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def served(content: bytes) -> np.ndarray:
    """Returns the pixels of the PNG that is made of a file."""
    png, encoding = to_served(content, sniff_format(content) or "")
    assert (encoding, sniff_format(png)) == ("png", "png")
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode in ("L", "RGB")
        return np.asarray(image.convert("RGB"))


def fault(content: bytes) -> tuple[str, str]:
    with pytest.raises(ReencodeError) as caught:
        to_served(content, sniff_format(content) or "")
    return caught.value.fault.reason, caught.value.fault.detail


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}), ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"big_tiff": True}),
    ],
)  # fmt: skip
def test_a_lossless_file_becomes_a_png_of_its_pixels(kind: str, options: dict) -> None:
    image = colours()
    np.testing.assert_array_equal(served(save(image, kind, **options)), image)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {}), ("TIFF", {"compression": "jpeg"}), ("AVIF", {})],
)
def test_a_lossy_file_becomes_a_png_of_what_it_decodes_to(kind: str, options: dict) -> None:
    if kind == "AVIF" and not pillow_features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    content = save(colours(), kind, **options)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(served(content), image.convert("RGB"))


def test_a_heic_becomes_a_png_where_the_library_is_there() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 20, 20))).save(content, quality=90)
    pixels = served(content.getvalue()).astype(int)
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels - (200, 20, 20)).max() <= 6


def test_without_its_library_a_heic_is_unsupported_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    size = b"\0\0\0\x14ispe\0\0\0\0\0\0\0\x08\0\0\0\x08"
    reason, detail = fault(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x1cmeta" + size)
    assert (reason, "pip install pillow-heif" in detail) == ("unsupported", True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = colours()
    plain.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(plain)
    for kind, options in (
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ):
        np.testing.assert_array_equal(served(save(colours(), kind, exif=exif, **options)), expected)


@pytest.mark.parametrize(("kind", "mode"), [("WEBP", "RGBA"), ("TIFF", "RGBA"), ("TIFF", "LA")])
def test_transparent_pixels_are_composed_on_white(kind: str, mode: str) -> None:
    image = colours(mode)
    content = save(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    pixels = np.asarray(image.convert("RGBA")).astype(float)
    alpha = pixels[..., 3:] / 255
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(served(content) - expected).max() <= 1


def test_a_gif_whose_first_frame_is_transparent_is_composed_on_white() -> None:
    image = Image.new("P", (4, 3), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((2, 1), 1)
    opaque = save(image, "GIF")
    assert to_served(opaque, "gif") == (opaque, "gif")
    expected = np.full((3, 4, 3), 255)
    expected[1, 2] = (0, 0, 255)
    np.testing.assert_array_equal(served(save(image, "GIF", transparency=0)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_of_sixteen_bits_keeps_its_upper_eight(order: str) -> None:
    image = Image.fromarray(GREYS.astype(f"{order}u2"))
    content = save(image, "TIFF")
    assert content.startswith(b"MM" if order == ">" else b"II")
    np.testing.assert_array_equal(served(content)[..., 0], GREYS >> 8)


def test_of_several_pages_or_frames_the_first_is_taken() -> None:
    pages = [Image.new("RGB", (6, 5), colour) for colour in ("#102030", "#ffffff")]
    for kind, options in (("TIFF", {}), ("WEBP", {"lossless": True})):
        content = save(pages[0], kind, save_all=True, append_images=pages[1:], **options)
        np.testing.assert_array_equal(served(content), pages[0])


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_every_kind_of_tiff_pixel_becomes_the_colour_it_shows(mode: str) -> None:
    image = colours("RGB").convert(mode)
    np.testing.assert_array_equal(served(save(image, "TIFF")), image.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "P"])
def test_a_bmp_with_a_palette_becomes_its_colours(mode: str) -> None:
    image = colours().convert(mode)
    np.testing.assert_array_equal(served(save(image, "BMP")), image.convert("RGB"))


def test_a_bmp_with_colour_masks_becomes_its_colours() -> None:
    # 32 bits a pixel, red in the lowest byte: TensorFlow would take it for blue.
    masks = struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, 8, 0, 0, 0, 0) + masks
    pixels = bytes([200, 10, 20, 255, 30, 40, 50, 255])
    start = 14 + 108
    content = struct.pack("<2sIHHI", b"BM", start + 8, 0, 0, start)
    content += header.ljust(108, b"\0") + pixels
    assert served(content).tolist() == [[[200, 10, 20], [30, 40, 50]]]


def test_a_cmyk_jpeg_without_adobe_s_mark_is_read_as_pillow_and_browsers_do() -> None:
    content = save(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert to_served(content, "jpeg") == (content, "jpeg")
    start = content.index(b"\xff\xee")
    bare = content[:start] + content[start + 2 + content[start + 3] :]
    np.testing.assert_allclose(served(bare)[8, 8], [255, 0, 0], atol=3)


def test_a_png_whose_exif_data_stand_behind_its_pixels_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = save(colours(), "PNG", exif=exif)
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    assert to_served(content, "png") == (content, "png")
    late = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    np.testing.assert_array_equal(served(late), np.rot90(np.asarray(colours()), -1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_what_tensorflow_reads_rightly_stays_as_it_is(kind: str) -> None:
    content = save(colours(), kind)
    assert to_served(content, kind.lower()) == (content, kind.lower())


def test_the_png_holds_nothing_but_the_picture_and_is_always_the_same() -> None:
    exif = Image.Exif()
    exif[0x010F] = "secret maker"
    content = save(colours(), "TIFF", exif=exif, icc_profile=b"profile" * 20, dpi=(300, 300))
    png, _ = to_served(content, "tiff")
    assert to_served(content, "tiff")[0] == png
    names = [png[at : at + 4] for at in range(len(png)) if png[at : at + 4].isalpha()]
    assert not {b"eXIf", b"iCCP", b"pHYs", b"tEXt"} & set(names)


def test_floating_point_samples_are_unsupported_and_told() -> None:
    for pixels in (np.zeros((3, 3), np.float32), np.zeros((3, 3), np.int32)):
        reason, detail = fault(save(Image.fromarray(pixels), "TIFF"))
        assert (reason, "32 bits" in detail) == ("unsupported", True)


def test_a_raw_image_s_preview_does_not_pass_for_the_picture() -> None:
    content = save(colours(), "TIFF", tiffinfo={254: 1})
    assert fault(content)[0] == "unsupported"
    assert "preview" in fault(content)[1]


def test_a_variant_that_pillow_does_not_know_is_unsupported_and_its_words_are_kept() -> None:
    content = bytearray(save(colours(), "BMP"))
    content[28:30] = struct.pack("<H", 2)
    assert fault(bytes(content)) == (
        "unsupported",
        "A BMP that Pillow does not read: Unsupported BMP pixel depth (2). "
        "Convert it to JPEG or PNG.",
    )


def test_a_png_that_would_be_too_long_to_keep_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reencode, "MAX_BYTES", 100)
    assert fault(save(colours(), "TIFF"))[0] == "too_many_bytes"


def test_large_images_are_decoded_one_at_a_time_and_small_ones_do_not_wait() -> None:
    import threading

    running, most = 0, 0
    lock = threading.Lock()
    meeting = threading.Barrier(4)

    def decode(pixels: int) -> None:
        nonlocal running, most
        meeting.wait(10)
        with reencode.turn_to_decode(pixels):
            with lock:
                running += 1
                most = max(most, running)
            gate.wait(0.05)
            with lock:
                running -= 1

    def most_at_once(pixels: int) -> int:
        nonlocal most
        most = 0
        threads = [threading.Thread(target=decode, args=(pixels,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most

    gate = threading.Event()
    assert most_at_once(16_000_001) == 1
    assert most_at_once(16_000_000) == 4


def test_a_file_larger_than_its_header_says_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = save(colours(), "TIFF")
    monkeypatch.setattr(headers, "read_header", lambda *_: headers.Header(13, 12, 3, 13 * 12))
    assert fault(content) == (
        "corrupt",
        "The TIFF is damaged: it has 14×12 pixels, more than its header states.",
    )


def test_pillow_s_own_limit_does_not_cut_in_before_ours() -> None:
    assert Image.MAX_IMAGE_PIXELS is None


@pytest.fixture
def truncated() -> Callable[[bytes], set[str]]:
    def reasons(content: bytes) -> set[str]:
        lengths = [len(content) * part // 10 for part in range(1, 10)]
        return {fault(content[:length])[0] for length in lengths}

    return reasons


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {"lossless": True}), ("WEBP", {}), ("TIFF", {}), ("AVIF", {}),
        ("TIFF", {"compression": "jpeg"}), ("TIFF", {"compression": "tiff_lzw"}),
    ],
)  # fmt: skip
def test_a_file_cut_at_any_tenth_is_truncated(
    truncated: Callable[[bytes], set[str]], kind: str, options: dict
) -> None:
    if kind == "AVIF" and not pillow_features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    assert truncated(save(colours(), kind, **options)) == {"truncated"}
