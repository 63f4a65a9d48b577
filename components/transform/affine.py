"""Preprocessing that is none of the named ones: x * scale + offset for each channel, as text.

KerasHub's image converters are of this form. The text is made by the program alone and travels as
`preprocessing` wherever one of the names would.
"""

import math
from collections.abc import Sequence

PREFIX = "affine"
CHANNELS = 3

Factors = tuple[float, ...]


def to_text(scales: Sequence[float], offsets: Sequence[float]) -> str:
    """Returns `affine:s,s,s:o,o,o` from three factors and three summands, for red, green, blue.

    Raises:
        ValueError: not three of each, a factor is 0, or one of them is not finite.
    """
    text = ":".join([PREFIX, *(",".join(repr(float(x)) for x in xs) for xs in (scales, offsets))])
    from_text(text)
    return text


def from_text(text: str) -> tuple[Factors, Factors]:
    """Returns the factors and the summands of `to_text`'s result.

    Raises:
        ValueError: `text` is no such text.
    """
    prefix, *parts = text.split(":")
    try:
        scales, offsets = (tuple(float(x) for x in part.split(",")) for part in parts)
    except ValueError:
        scales, offsets = (), ()
    numbers = scales + offsets
    whole = prefix == PREFIX and len(scales) == len(offsets) == CHANNELS
    if not whole or not all(map(math.isfinite, numbers)) or 0 in scales:
        raise ValueError(
            f"Expected {PREFIX}:s,s,s:o,o,o with finite numbers, no s being 0. "
            f"Received: preprocessing={text!r}."
        )
    return scales, offsets
