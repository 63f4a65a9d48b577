"""Judges one image by its bytes: accepted with its properties, or refused with a reason.

The decoder is passed in, so that ingestion, `graft check` and the tests share this judgement and
only those who decode import TensorFlow.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.errors import InputError
from components.image_example_gen import headers, perceptual
from components.image_example_gen.listing import MAX_BYTES
from components.image_example_gen.quarantine import (
    EMPTY,
    NOT_AN_IMAGE,
    TOO_MANY_BYTES,
    TOO_MANY_PIXELS,
    TOO_SMALL,
    UNSUPPORTED,
    Fault,
)
from components.image_example_gen.reencode import (
    ReencodeError,
    judge_damaged,
    name_unsupported,
    to_served,
    turn_to_decode,
)

# Pictures are thinned to this many pixels a side before they are measured.
MEASURED_SIZE = 512
# Rec. 601 luma, the grey that JPEG itself uses (ITU-R BT.601-7, 2.5.1).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Decode = Callable[[bytes], np.ndarray]
Thumbnail = bytes  # in Properties the name is taken by a field


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


@dataclass(frozen=True, slots=True)
class Properties:
    """What an accepted image is like.

    Attributes:
        format: a name of `features.FORMATS`, by content as found.
        encoding: a name of `features.SERVED_FORMATS`: the format of what is kept and served.
        reencoded: whether what is kept and served is a PNG made of the content.
        width: pixels, as decoded: turned by the Exif orientation.
        height: pixels, likewise.
        channels: as stored in the file, 1 to 4; 3 for a palette.
        bytes: length of the content.
        brightness: mean luma in [0, 1].
        contrast: standard deviation of luma in [0, 0.5].
        sharpness: variance of the Laplacian of luma, at least 0.
        entropy: of the histogram of luma, bits in [0, 8].
        sha256: digest of the content as found, 64 hexadecimal digits.
        hash: perceptual hash of 64 bits, see `perceptual.describe`.
        thumbnail: the small picture that `perceptual.describe` gives, and its tint.
    """

    format: str
    encoding: str
    reencoded: bool
    width: int
    height: int
    channels: int
    bytes: int
    brightness: float
    contrast: float
    sharpness: float
    entropy: float
    sha256: str
    hash: int
    thumbnail: Thumbnail

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return self.width / self.height


@dataclass(frozen=True)
class Measures:
    """Figures of an image's luma; `Properties` says what they are."""

    brightness: float
    contrast: float
    sharpness: float
    entropy: float


def examine(content: bytes, limits: Limits, decode: Decode) -> Properties | Fault:
    """Judges an image: first its header, then, if the limits allow, a full decode.

    Args:
        content: the file's bytes.
        limits: sizes to keep to.
        decode: turns the content, re-encoded by `reencode.to_served` where it has to be, into
            uint8 [height, width, 3] or raises `DecodeError`; what it refuses is refused, because
            training and serving decode with it.

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
        return judge_damaged(content, kind, "its header is incomplete")
    fault = _judge_header(header, limits)
    if fault is not None:
        return fault
    try:
        with turn_to_decode(header.pixels):
            served, encoding = to_served(content, kind)
            pixels = decode(served)
            reencoded = served != content
            return _describe(content, kind, encoding, reencoded, header.channels, pixels)
    except ReencodeError as error:
        return error.fault
    except DecodeError as error:
        return judge_damaged(content, kind, str(error))


def too_many_bytes(size: int) -> Fault:
    """Returns the refusal of a file of `size` bytes, more than `MAX_BYTES`."""
    return Fault(TOO_MANY_BYTES, f"{size:,} bytes; at most {MAX_BYTES:,} are read.")


def read_luma(pixels: np.ndarray) -> np.ndarray:
    """Returns an image's luma, thinned to at most 512 pixels a side.

    Of a larger picture every n-th row and column is kept, n = ceil(side / 512), so that a large
    photograph costs no more than a small one.

    Args:
        pixels: uint8 [height, width, 3], RGB.

    Returns:
        float32 [height, width] in [0, 1].
    """
    return _thin(pixels).astype(np.float32) @ (LUMA / 255)


def measure(luma: np.ndarray) -> Measures:
    """Measures a picture.

    Args:
        luma: float32 [height, width] in [0, 1].

    Returns:
        Its mean and standard deviation, the variance of its 4-neighbour Laplacian over the inner
        pixels (0 without any), and the Shannon entropy of its histogram of 256 levels in bits.
    """
    levels = np.clip(np.rint(luma * 255), 0, 255).astype(np.uint8)
    shares = np.bincount(levels.ravel(), minlength=256) / levels.size
    shares = shares[shares > 0]
    sharpness = 0.0
    if min(luma.shape) >= 3:
        neighbours = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
        laplacian = neighbours - 4 * luma[1:-1, 1:-1]
        sharpness = float(laplacian.var(dtype=np.float64))
    # Rounding may pass the mathematical bounds, which the schema holds the values to.
    return Measures(
        brightness=float(np.clip(luma.mean(dtype=np.float64), 0, 1)),
        contrast=float(np.clip(luma.std(dtype=np.float64), 0, 0.5)),
        sharpness=sharpness,
        entropy=float(np.clip(-(shares * np.log2(shares)).sum(), 0, 8)),
    )


def _thin(pixels: np.ndarray) -> np.ndarray:
    step = -(-max(pixels.shape[:2]) // MEASURED_SIZE)
    return pixels[::step, ::step]


def _describe(
    content: bytes, kind: str, encoding: str, reencoded: bool, channels: int, pixels: np.ndarray
) -> Properties:
    luma = read_luma(pixels)
    measures = measure(luma)
    hash_, thumbnail = perceptual.describe(luma)
    thumbnail += perceptual.describe_tint(_thin(pixels))
    return Properties(
        format=kind,
        encoding=encoding,
        reencoded=reencoded,
        width=pixels.shape[1],
        height=pixels.shape[0],
        channels=channels,
        bytes=len(content),
        brightness=measures.brightness,
        contrast=measures.contrast,
        sharpness=measures.sharpness,
        entropy=measures.entropy,
        sha256=hashlib.sha256(content).hexdigest(),
        hash=hash_,
        thumbnail=thumbnail,
    )


def _judge_unknown(content: bytes) -> Fault:
    other = headers.name_other_format(content)
    if other is None:
        return Fault(NOT_AN_IMAGE, f"The content starts with {content[:8]!r}.")
    return Fault(UNSUPPORTED, name_unsupported(other))


def _judge_header(header: headers.Header, limits: Limits) -> Fault | None:
    size = f"{header.width}×{header.height} pixels"
    if header.pixels > limits.max_pixels:
        frames = "" if header.pixels == header.width * header.height else ", all frames together"
        found = f"{size} ({header.pixels:,}{frames})"
        return Fault(TOO_MANY_PIXELS, f"{found}; at most {limits.max_pixels:,}.")
    if min(header.width, header.height) < limits.min_size:
        return Fault(TOO_SMALL, f"{size}; the shorter side must have {limits.min_size}.")
    if header.unsupported:
        return Fault(
            UNSUPPORTED, f"The content is {header.unsupported}; convert it to JPEG or PNG."
        )
    return None
