"""The page of augmented samples: what training may see of a few images, beside the originals."""

import base64
import io
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.atomic import write_text
from components.page import render_page
from components.trainer.record import SAMPLES_FILE

ROWS = 8  # images
VARIANTS = 6  # of each
SIDE = 128  # pixels of a thumbnail
TINY = 32  # pixels: images up to this are kept as they are and enlarged without being smoothed
QUALITY = 75  # of 100, JPEG's scale: 56 thumbnails of pure noise stay below a megabyte


def write_samples(
    images: np.ndarray, augment: Callable[[np.ndarray], Any], folder: Path, words: str
) -> Path:
    """Writes a page with a row for each of the first 8 images: it, and 6 augmented variants.

    Args:
        images: the originals, uint8 [n, size, size, 3], RGB, n at least 1.
        augment: takes float32 [n, size, size, 3], RGB in [0, 255], and returns as many changed
            ones in the same range; it is called 6 times. An augmenter for the preprocessing
            `"none"` that is called with `training=True` does this.
        folder: where the page is written; made where it is missing.
        words: what is done, text with one line an augmentation, as of
            `components.augmentations.augment_text`.

    Returns:
        The page, `folder`/augmented.html; one file without scripts, below 1 MB.

    Raises:
        OSError: the page cannot be written.
    """
    originals = images[:ROWS]
    pixels = originals.astype(np.float32)
    variants = [_to_pixels(augment(pixels)) for _ in range(VARIANTS)]
    rows = [
        _render_row(number, original, [variant[number - 1] for variant in variants])
        for number, original in enumerate(originals, start=1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / SAMPLES_FILE
    write_text(page, render_page("Augmented samples", [_render_head(words), *rows], STYLE))
    return page


def _to_pixels(values: Any) -> np.ndarray:
    return np.clip(np.rint(np.asarray(values, np.float32)), 0, 255).astype(np.uint8)


def _render_head(words: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>\n" for line in words.splitlines() if line.strip())
    listed = f"<ul>\n{items}</ul>\n" if items else ""
    return (
        '<header>\n<p class="kicker">graft run</p>\n<h1>Augmented samples</h1>\n'
        f'<p class="soft">Each card holds a training image, outlined, and {VARIANTS} variants of '
        "it that training may see. Images that are watched, evaluated or served are never "
        "changed.</p>\n"
        f"{listed}</header>"
    )


def _render_row(number: int, original: np.ndarray, variants: list[np.ndarray]) -> str:
    tiles = "".join(
        _render_tile(variant, f"Image {number}, variant {index}")
        for index, variant in enumerate(variants, start=1)
    )
    tile = _render_tile(original, f"Image {number}, original")
    return f'<article class="card samples">{tile}{tiles}</article>'


def _render_tile(pixels: np.ndarray, alternative: str) -> str:
    kind, content = _encode(pixels)
    data = base64.b64encode(content).decode()
    tiny = ' class="tiny"' if kind == "png" else ""
    return (
        f'<div class="mat"><img{tiny} src="data:image/{kind};base64,{data}" '
        f'alt="{alternative}"></div>'
    )


def _encode(pixels: np.ndarray) -> tuple[str, bytes]:
    """Returns the format and content of a thumbnail of at most `SIDE` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    output = io.BytesIO()
    if max(image.size) <= TINY:
        image.save(output, "PNG", optimize=True)
        return "png", output.getvalue()
    image.save(output, "JPEG", quality=QUALITY, optimize=True)
    return "jpeg", output.getvalue()


STYLE = """
main { max-width: 64rem; }
header p.soft { margin-top: .5rem; max-width: 44rem; }
header ul { margin-top: 1rem; padding: 0; list-style: none; display: flex; flex-wrap: wrap;
  gap: .45rem; font-size: .875rem; }
header li { background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
  padding: .15rem .75rem; }
.samples { display: grid; gap: .6rem; grid-template-columns: repeat(7, minmax(0, 1fr)); }
.samples .mat:first-child { outline: 2px solid var(--soft); outline-offset: 2px; }
@media (max-width: 46rem) {
  .samples { gap: .5rem; grid-template-columns: repeat(5, minmax(0, 1fr)); }
  .samples .mat:first-child { grid-area: 1 / 1 / 3 / 3; margin-right: 2px; }
}
"""
