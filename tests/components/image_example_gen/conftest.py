"""Tiny images, made in memory; the same arguments give the same bytes."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen.examine import DecodeError

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}


def make_image(
    seed: int = 0, kind: str = "JPEG", mode: str = "RGB", width: int = 20, height: int = 16, **save
) -> bytes:
    shape = (height, width) if mode == "L" else (height, width, CHANNELS[mode])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels, mode).save(content, kind, **save)
    return content.getvalue()


def decode_with_pillow(content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise DecodeError("cannot decode") from error


@pytest.fixture(scope="session")
def image() -> Callable[..., bytes]:
    return make_image


@pytest.fixture(scope="session")
def pillow() -> Callable[[bytes], np.ndarray]:
    return decode_with_pillow
