"""Tiny images, made in memory; the same arguments give the same bytes."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen.examine import DecodeError, Properties
from components.image_example_gen.listing import Candidate, Listing, Place
from components.image_example_gen.quarantine import Refusal

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}


def make_image(
    seed: int = 0, kind: str = "JPEG", mode: str = "RGB", width: int = 20, height: int = 16, **save
) -> bytes:
    shape = (height, width) if mode == "L" else (height, width, CHANNELS[mode])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels, mode).save(content, kind, **save)
    return content.getvalue()


def make_scene(seed: int, width: int = 96, height: int = 80, kind: str = "PNG", **save) -> bytes:
    """A picture with structure, as a photograph has: copies of it are near-duplicates."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 8, 3), np.uint8)
    content = io.BytesIO()
    scene = Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)
    scene.resize((width, height), Image.Resampling.LANCZOS).save(content, kind, **save)
    return content.getvalue()


def decode_with_pillow(content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise DecodeError("cannot decode") from error


def list_file(path: Path, label: str = "", **values: Any) -> Candidate:
    """Returns an existing file as a source lists it; the class is its folder's name."""
    status = path.stat()
    stamp = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
    label = label or path.parent.name
    name = f"{label}/{path.name}"
    return Candidate(name, label, status.st_size, Place(os.fspath(path)), stamp=stamp, **values)


def make_listing(*candidates: Candidate, refused: tuple[Refusal, ...] = ()) -> Listing:
    labels = tuple(sorted({candidate.label for candidate in candidates}))
    ordered = tuple(sorted(candidates, key=lambda candidate: candidate.path))
    return Listing(ordered, refused, labels, kind="folder of class folders")


def make_properties(sha256: str = "a", **values: Any) -> Properties:
    defaults = {
        "format": "png",
        "encoding": "png",
        "reencoded": False,
        "width": 9,
        "height": 9,
        "channels": 3,
        "bytes": 100,
        "brightness": 0.5,
        "contrast": 0.1,
        "sharpness": 0.2,
        "entropy": 3.0,
        "hash": 2**63 + 1,
        "thumbnail": b"\x00\xff",
    }
    return Properties(**defaults | {"sha256": sha256} | values)


@pytest.fixture(scope="session")
def image() -> Callable[..., bytes]:
    return make_image


@pytest.fixture(scope="session")
def scene() -> Callable[..., bytes]:
    return make_scene


@pytest.fixture(scope="session")
def pillow() -> Callable[[bytes], np.ndarray]:
    return decode_with_pillow


@pytest.fixture(scope="session")
def listed() -> Callable[..., Candidate]:
    return list_file


@pytest.fixture(scope="session")
def listing_of() -> Callable[..., Listing]:
    return make_listing


@pytest.fixture(scope="session")
def properties() -> Callable[..., Properties]:
    return make_properties
