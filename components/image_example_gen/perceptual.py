"""What two copies of one picture have in common: a small picture, its 64-bit hash, its tint.

The small picture is the mean luma of a grid of cells, so that neither the number of pixels nor a
JPEG's artefacts show in it. The hash is made of the small picture's bytes in integers alone: equal
small pictures have equal hashes on every machine.
"""

import functools

import numpy as np

SIDE = 16  # cells a side of the small picture
BITS = 64
TINT_SIDE = 4  # cells a side of the tint
TINT_BYTES = 2 * TINT_SIDE * TINT_SIDE
# Blue and red difference of ITU-R BT.601-7, 2.5.1, from RGB in [0, 255], around 0.
CHROMA = np.array([[-0.1687, 0.5], [-0.3313, -0.4187], [0.5, -0.0813]], np.float32)
SCALE = 1 << 12  # the cosines are rounded to this fraction of 1


def describe(luma: np.ndarray) -> tuple[int, bytes]:
    """Returns a 64-bit perceptual hash and the small picture it is made of.

    A bit says whether one of the 64 lowest frequencies of the small picture's discrete cosine
    transform, the mean left out, is above their median, as in pHash (Zauner 2010, section 3.2);
    lowest by the sum of both directions, which keeps more copies together than a square does.

    Args:
        luma: float32 [height, width] in [0, 1], any size from 1 × 1, smaller than the grid too;
            a picture that was thinned to some hundred pixels a side gives nearly the same.

    Returns:
        The hash, 0 to 2^64 - 1, and `SIDE` * `SIDE` bytes, row by row, luma from 0 to 255.

    Raises:
        ValueError: `luma` is not two-dimensional or has no pixels.
    """
    if luma.ndim != 2 or not luma.size:
        raise ValueError(f"Expected luma of one or more rows. Received: shape={luma.shape}.")
    rows, columns = (_cell_weights(length) for length in luma.shape)
    small = rows @ np.asarray(luma, np.float32) @ columns.T
    thumbnail = np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)
    return hash_thumbnail(thumbnail), thumbnail.tobytes()


def describe_tint(pixels: np.ndarray) -> bytes:
    """Returns where a picture has which colours, coarsely: luma alone cannot tell red from green.

    Args:
        pixels: uint8 [height, width, 3], RGB, any size from 1 × 1.

    Returns:
        `TINT_BYTES` bytes: the mean blue difference of each cell, row by row, then the red one,
        128 for grey.
    """
    rows, columns = (_cell_weights(length, TINT_SIDE) for length in pixels.shape[:2])
    cells = np.einsum("rh,hwc,kw->rkc", rows, pixels.astype(np.float32), columns, optimize=True)
    chroma = np.moveaxis(cells @ CHROMA, 2, 0) + 128
    return np.clip(np.rint(chroma), 0, 255).astype(np.uint8).tobytes()


def hash_thumbnail(thumbnail: np.ndarray) -> int:
    """Returns the hash of a small picture, uint8 [SIDE, SIDE], as `describe` does."""
    cosines, lowest = _cosines(), _lowest_frequencies()
    low = (cosines @ thumbnail.astype(np.int64) @ cosines.T)[lowest]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


@functools.lru_cache(maxsize=1024)
def _cell_weights(length: int, side: int = SIDE) -> np.ndarray:
    """Returns each pixel's share in each cell, float32 [side, length]; rows sum to 1."""
    edges = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(covered, 0, None) * (side / length)).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    angles = np.outer(np.arange(SIDE), np.arange(SIDE) + 0.5) * (np.pi / SIDE)
    return np.rint(np.cos(angles) * SCALE).astype(np.int64)


@functools.lru_cache(maxsize=1)
def _lowest_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows and columns of the hash's frequencies, lowest first."""
    both = [(row, column) for row in range(SIDE) for column in range(SIDE) if row + column]
    lowest = np.array(sorted(both, key=lambda one: (sum(one), one))[:BITS])
    return lowest[:, 0], lowest[:, 1]
