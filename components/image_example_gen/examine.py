"""Judges one image by its bytes: accepted with its properties, or refused with a reason.

The decoder is passed in, so that ingestion, `graft check` and the tests share this judgement and
only those who decode import TensorFlow.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.errors import InputError
from components.image_example_gen import headers
from components.image_example_gen.quarantine import (
    CORRUPT,
    EMPTY,
    NOT_AN_IMAGE,
    TOO_MANY_BYTES,
    TOO_MANY_PIXELS,
    TOO_SMALL,
    TRUNCATED,
    UNSUPPORTED,
    Fault,
)
from components.image_example_gen.sources import MAX_BYTES

# Pictures are thinned to this many pixels a side before they are measured.
MEASURED_SIZE = 512
# Rec. 601 luma, the grey that JPEG itself uses (ITU-R BT.601-7, 2.5.1).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Decode = Callable[[bytes], np.ndarray]


class DecodeError(ValueError):
    """The decoder refused the content; the message says why."""


@dataclass(frozen=True)
class Limits:
    """What an image must keep to.

    Attributes:
        max_pixels: largest width × height (of all frames together), at least 1.
        min_size: smallest shorter side in pixels, at least 1.

    Raises:
        InputError: if a limit is below 1.
    """

    max_pixels: int
    min_size: int

    def __post_init__(self) -> None:
        for name, value in (("max_pixels", self.max_pixels), ("min_size", self.min_size)):
            if value < 1:
                raise InputError(
                    f"Expected {name} of at least 1. Received: {name}={value}. "
                    f"Write data.{name}: 1 or more."
                )


@dataclass(frozen=True)
class Properties:
    """What an accepted image is like.

    Attributes:
        format: `"bmp"`, `"gif"`, `"jpeg"` or `"png"`, by content.
        width: pixels, as decoded.
        height: pixels, as decoded.
        channels: as stored in the file.
        bytes: length of the content.
        brightness: mean luma in [0, 1].
        contrast: standard deviation of luma in [0, 0.5].
        sharpness: variance of the Laplacian of luma, at least 0.
        sha256: digest of the content, 64 hexadecimal digits.
    """

    format: str
    width: int
    height: int
    channels: int
    bytes: int
    brightness: float
    contrast: float
    sharpness: float
    sha256: str


def examine(content: bytes, limits: Limits, decode: Decode) -> Properties | Fault:
    """Judges an image: first its header, then, if the limits allow, a full decode.

    Args:
        content: the file's bytes.
        limits: sizes to keep to.
        decode: turns the content into uint8 [height, width, 3] or raises `DecodeError`; what it
            refuses is refused, because training and serving decode with it.

    Returns:
        The properties of an accepted image, or what is wrong with a refused one.
    """
    if not content:
        return Fault(EMPTY, "0 bytes.")
    if len(content) > MAX_BYTES:
        return too_many_bytes(len(content))
    kind = headers.sniff_format(content)
    if kind is None:
        return _judge_unknown(content)
    header = headers.read_header(content, kind)
    if header is None:
        return _judge_undecodable(content, kind, "its header is incomplete")
    fault = _judge_header(header, kind, limits)
    if fault is not None:
        return fault
    try:
        pixels = decode(content)
    except DecodeError as error:
        return _judge_undecodable(content, kind, str(error))
    brightness, contrast, sharpness = measure(pixels)
    return Properties(
        format=kind,
        width=pixels.shape[1],
        height=pixels.shape[0],
        channels=header.channels,
        bytes=len(content),
        brightness=brightness,
        contrast=contrast,
        sharpness=sharpness,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def too_many_bytes(size: int) -> Fault:
    """Returns the refusal of a file of `size` bytes, more than `MAX_BYTES`."""
    return Fault(TOO_MANY_BYTES, f"{size:,} bytes; at most {MAX_BYTES:,} are read.")


def measure(pixels: np.ndarray) -> tuple[float, float, float]:
    """Measures an image's brightness, contrast and sharpness.

    A picture with a side above 512 pixels is thinned first: every n-th row and column is kept,
    n = ceil(side / 512), so that a large photograph costs no more than a small one.

    Args:
        pixels: uint8 [height, width, 3], RGB.

    Returns:
        Mean luma in [0, 1], its standard deviation in [0, 0.5] and the variance of its
        4-neighbour Laplacian over the inner pixels (0 without any), luma scaled to [0, 1].
    """
    step = -(-max(pixels.shape[:2]) // MEASURED_SIZE)
    luma = pixels[::step, ::step].astype(np.float32) @ (LUMA / 255)
    # Rounding may pass the mathematical bounds, which the schema holds the values to.
    brightness = float(np.clip(luma.mean(dtype=np.float64), 0, 1))
    contrast = float(np.clip(luma.std(dtype=np.float64), 0, 0.5))
    if min(luma.shape) < 3:
        return brightness, contrast, 0.0
    neighbours = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    laplacian = neighbours - 4 * luma[1:-1, 1:-1]
    return brightness, contrast, float(laplacian.var(dtype=np.float64))


def _judge_unknown(content: bytes) -> Fault:
    other = headers.name_other_format(content)
    if other is None:
        return Fault(NOT_AN_IMAGE, f"The content starts with {content[:8]!r}.")
    return Fault(UNSUPPORTED, f"The content is {other}; convert it to JPEG or PNG.")


def _judge_header(header: headers.Header, kind: str, limits: Limits) -> Fault | None:
    size = f"{header.width}×{header.height} pixels"
    if header.pixels > limits.max_pixels:
        frames = "" if header.pixels == header.width * header.height else ", all frames together"
        found = f"{size} ({header.pixels:,}{frames})"
        return Fault(TOO_MANY_PIXELS, f"{found}; at most {limits.max_pixels:,}.")
    if min(header.width, header.height) < limits.min_size:
        return Fault(TOO_SMALL, f"{size}; the shorter side must have {limits.min_size}.")
    if header.unsupported:
        return Fault(UNSUPPORTED, f"The content is {header.unsupported}; convert it to PNG.")
    return None


def _judge_undecodable(content: bytes, kind: str, why: str) -> Fault:
    """Tells apart what is cut off, what another program can read, and what is damaged."""
    if headers.is_truncated(content, kind):
        return Fault(TRUNCATED, f"The {kind.upper()} ends after {len(content):,} bytes: {why}.")
    if _pillow_decodes(content):
        return Fault(UNSUPPORTED, f"A {kind.upper()} that TensorFlow does not decode: {why}.")
    return Fault(CORRUPT, f"The {kind.upper()} is damaged: {why}.")


def _pillow_decodes(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    # Pillow's plugins raise whatever a damaged file leads them to.
    except Exception:
        return False
    return True
