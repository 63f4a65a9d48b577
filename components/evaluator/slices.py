"""Which slices a photo is in: by its label, by bins of its properties, and by its path."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from components import features

SIZE = "size"  # the smaller of width and height
# A photo's properties by the name that a user writes, and the feature that holds each.
PROPERTIES = {
    "width": features.WIDTH,
    "height": features.HEIGHT,
    "bytes": features.BYTES,
    "brightness": features.BRIGHTNESS,
    "contrast": features.CONTRAST,
    "sharpness": features.SHARPNESS,
    "entropy": features.ENTROPY,
}


@dataclass(frozen=True)
class Bins:
    """Slices by a property.

    Attributes:
        quantity: a name of `PROPERTIES`, or `SIZE`.
        edges: ascending; each bin holds its lower edge.
    """

    quantity: str
    edges: tuple[float, ...]

    @property
    def names(self) -> list[str]:
        """Returns the names of the bins, lowest first."""
        edges = [f"{edge:g}" for edge in self.edges]
        between = [f"{self.quantity} {low}-{high}" for low, high in pairwise(edges)]
        return [f"{self.quantity}<{edges[0]}", *between, f"{self.quantity}>={edges[-1]}"]

    def name_of(self, value: float) -> str:
        """Returns the name of the bin that holds a value."""
        return self.names[sum(value >= edge for edge in self.edges)]


@dataclass(frozen=True)
class Matching:
    """A slice by the path.

    Attributes:
        name: of the slice.
        path: regular expression that is searched in the path.
    """

    name: str
    path: str


Slice = Bins | Matching
# In every evaluation: photos taken in the dark, and small ones, are what a classifier fails at.
DEFAULT = (Bins("brightness", (0.25, 0.75)), Bins(SIZE, (256.0, 1024.0)))


def slices_of(
    label: str, kind: str, path: str, properties: Mapping[str, float], slices: Sequence[Slice]
) -> list[str]:
    """Returns the names of a photo's slices.

    Args:
        label: the photo's class.
        kind: its format.
        path: relative to the source.
        properties: values of `PROPERTIES` and `SIZE`.
        slices: beside those by label and by format.
    """
    names = [f"label={label}", f"format={kind}"]
    for one in slices:
        if isinstance(one, Bins):
            names.append(one.name_of(properties[one.quantity]))
        elif re.search(one.path, path):
            names.append(one.name)
    return names


def to_json(slices: Sequence[Slice]) -> list[dict[str, Any]]:
    """Returns slices as JSON can hold them."""
    return [asdict(one) for one in slices]


def from_json(found: Sequence[Mapping[str, Any]]) -> tuple[Slice, ...]:
    """Returns the slices that `to_json` gave."""
    return tuple(
        Matching(one["name"], one["path"])
        if "path" in one
        else Bins(one["quantity"], tuple(one["edges"]))
        for one in found
    )
