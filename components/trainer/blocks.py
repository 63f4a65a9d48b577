"""From which layer on the base is fine-tuned: by number, by block or by name."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from components.bases import BASES
from components.errors import InputError

ALL = "all"
NEAR = 3  # names that a message proposes
LISTED = 6  # names that a message lists where none is near


def first_trainable(
    base: keras.Model,
    settings: Mapping[str, Any],
    layers: int | str,
    key: str = "fine_tune.layers",
) -> int:
    """Finds the first layer that fine-tuning trains; it and all after it are trained.

    Args:
        base: see `backbones.load_base`.
        settings: the section `base` of the configuration; of it `name` and `path` are used.
        layers: `"all"`; a number of layers, counted from the output, more than there are meaning
            all; or a name: that of a block (see `block_starts`), that of a layer, or what several
            layers' names begin with before a `_`.
        key: the configuration's key of `layers`, for messages.

    Returns:
        An index into `base.layers`; their number where `layers` is 0.

    Raises:
        InputError: there is no such block or layer.
    """
    if layers == ALL:
        return 0
    if isinstance(layers, int):
        return max(0, len(base.layers) - layers)
    starts = block_starts(base, settings.get("name"))
    names = _stable_names(base, is_file=bool(settings.get("path")))
    places = [starts[layers]] if layers in starts else _places(names, layers)
    places = places or _places(starts, layers)
    if not places:
        raise _unknown(layers, [*starts, *_beginnings(names)], settings, key)
    return min(places)


def block_starts(base: keras.Model, name: str | None) -> dict[str, int]:
    """Returns the index of the first layer of each block, in the order of the blocks.

    Args:
        base: a model of `keras.applications`, or another.
        name: its name in `components.bases.BASES`; of another, None: its blocks are not known.
    """
    if name is None:
        return {}
    blocks = BASES[name].blocks
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for index, layer in enumerate(base.layers):
        match = re.match(blocks.pattern, layer.name)
        if match:
            starts.setdefault(match[1], index)
            ends[match[1]] = index
    return _after_previous(ends) if blocks.named_last else starts


def _after_previous(ends: Mapping[str, int]) -> dict[str, int]:
    """Returns where blocks begin whose ends are known: each after the one before it."""
    ordered = sorted(ends, key=lambda block: ends[block])
    previous = [-1, *(ends[block] for block in ordered)]
    return {block: end + 1 for block, end in zip(ordered, previous, strict=False)}


def _stable_names(base: keras.Model, is_file: bool) -> dict[str, int]:
    """Returns the layers that can be named, with their indices.

    In a base that is built anew, automatic names such as `conv2d_94` depend on what was built
    before; in a file they are as they were saved.
    """
    return {
        layer.name: index
        for index, layer in enumerate(base.layers)
        if is_file or not _is_automatic(layer)
    }


def _is_automatic(layer: keras.layers.Layer) -> bool:
    plain = re.sub(r"_\d+$", "", layer.name).replace("_", "")
    return plain == type(layer).__name__.lower()


def _places(names: Mapping[str, int], wanted: str) -> list[int]:
    """Returns where the layer of a name is, or else all whose names begin so before a `_`."""
    if wanted in names:
        return [names[wanted]]
    return [index for name, index in names.items() if name.startswith(f"{wanted}_")]


def _beginnings(names: Mapping[str, int]) -> Iterator[str]:
    """Yields everything that may be written for the layers of these names."""
    for name in names:
        parts = name.split("_")
        yield from ("_".join(parts[:count]) for count in range(1, len(parts) + 1))


def _unknown(layers: str, known: list[str], settings: Mapping[str, Any], key: str) -> InputError:
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(layers, known, n=NEAR)
    last = ", ".join(known[-LISTED:])
    meant = f"Did you mean {' or '.join(near)}? " if near else f"The last are {last}. "
    name = settings.get("name")
    place = f"`graft bases {name}`" if name else "`base.summary()` in Keras"
    return InputError(
        f"Expected {key} to be a number of layers, all, or a block or layer of the base. "
        f"Received: {key}={layers!r}. {meant}{place} lists them."
    )
