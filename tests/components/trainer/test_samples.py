"""The page of augmented samples, with a stand-in for the augmenter."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.trainer.samples import write_samples

SOURCE = re.compile(r'src="data:image/(png|jpeg);base64,([^"]*)" alt="([^"]*)"')


def noise(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def pictures(page: Path) -> list[tuple[str, np.ndarray, str]]:
    return [
        (kind, np.array(Image.open(io.BytesIO(base64.b64decode(data)))), words)
        for kind, data, words in SOURCE.findall(page.read_text())
    ]


def test_each_image_stands_before_six_variants_of_it(tmp_path: Path) -> None:
    images, calls = noise(2, 8), []

    def augment(pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels, images)
        calls.append(len(calls))
        # Values beyond a pixel's range, and halves, are what an augmenter might return.
        return pixels + [0, 300, -300, 0.4, 1, 2][calls[-1]]

    page = write_samples(images, augment, tmp_path / "new" / "folder", "")
    assert page == tmp_path / "new" / "folder" / "augmented.html"
    assert len(calls) == 6
    shown = pictures(page)
    assert len(shown) == 14
    for row, image in enumerate(images):
        tiles = [pixels for _, pixels, _ in shown[7 * row : 7 * row + 7]]
        for tile, expected in zip(
            tiles[:5],
            (image, image, np.full_like(image, 255), np.zeros_like(image), image),
            strict=True,
        ):
            np.testing.assert_array_equal(tile, expected)
        np.testing.assert_array_equal(tiles[5], np.minimum(image.astype(int) + 1, 255))
    assert [words for *_, words in shown[:2]] == ["Image 1, original", "Image 1, variant 1"]


def test_at_most_eight_images_are_shown_small_and_below_a_megabyte(tmp_path: Path) -> None:
    page = write_samples(noise(10, 200), lambda pixels: pixels[..., ::-1], tmp_path, "")
    shown = pictures(page)
    assert len(shown) == 8 * 7
    assert {(kind, pixels.shape) for kind, pixels, _ in shown} == {("jpeg", (128, 128, 3))}
    assert page.stat().st_size < 1_000_000


@pytest.mark.parametrize(("size", "kind"), [(32, "png"), (33, "jpeg")])
def test_tiny_images_keep_every_pixel(tmp_path: Path, size: int, kind: str) -> None:
    page = write_samples(noise(1, size), lambda pixels: pixels, tmp_path, "")
    assert {found for found, *_ in pictures(page)} == {kind}
    assert ('class="tiny"' in page.read_text()) == (kind == "png")


def test_words_become_a_list_and_are_escaped(tmp_path: Path) -> None:
    words = "Turned by up to 10.8°\n<script>alert(1)</script>\n\n"
    page = write_samples(noise(1, 8), lambda pixels: pixels, tmp_path, words).read_text()
    assert page.count("<li>") == 2
    assert "<li>Turned by up to 10.8°</li>" in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_the_page_fetches_nothing_and_every_picture_has_words(tmp_path: Path) -> None:
    page = write_samples(noise(1, 8), lambda pixels: pixels, tmp_path, "").read_text()
    assert page.count("<img") == page.count('src="data:image/') == page.count(' alt="Image 1, ')
    assert not any(word in page for word in ("<script", "<link", "http", "url("))
