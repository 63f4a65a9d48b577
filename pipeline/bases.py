"""What `graft bases` tells: the known bases from the table, and of one its blocks."""

import dataclasses
import math
from typing import Any

from components.bases import BASES, Base, nearest_base
from components.errors import InputError

PROPOSED_BLOCKS = 2  # blocks of the proposed fine-tuning, counted from the output


def list_bases() -> list[dict[str, Any]]:
    """Returns what is known of every base of `keras.applications`, without Keras.

    Returns:
        For each its `name`, `parameters` (without its top), `size` and `min_size` (pixels),
        `width` (features after pooling) and `preprocessing`.
    """
    return [_known(base) for base in BASES.values()]


def describe_base(name: str) -> dict[str, Any]:
    """Returns what is known of one base, its blocks too; builds it, without weights, for that.

    Args:
        name: a name in `components.bases.BASES`.

    Returns:
        What `list_bases` has of it; `blocks` in their order, for each its `name`, and the `layers`
        and `parameters` that are trained from it on; `configuration`, lines for the configuration.

    Raises:
        InputError: there is no such base.
    """
    if name not in BASES:
        near = nearest_base(name)
        raise InputError(
            f"Expected the name of a base. Received: NAME={name}. "
            f"{f'Did you mean {near}? ' if near else ''}`graft bases` lists all."
        )
    import keras

    from components.trainer.backbones import load_base
    from components.trainer.blocks import block_starts

    model = load_base({"name": name, "weights": "none"}, BASES[name].min_size)
    blocks = [
        {
            "name": block,
            "layers": len(model.layers) - start,
            "parameters": sum(map(_trained, model.layers[start:])),
        }
        for block, start in block_starts(model, name).items()
    ]
    keras.backend.clear_session()
    return {**_known(BASES[name]), "blocks": blocks, "configuration": _lines(name, blocks)}


def _trained(layer: Any) -> int:
    """Returns how many numbers fine-tuning trains in a layer: none in batch normalisation."""
    if type(layer).__name__ == "BatchNormalization":
        return 0
    return sum(math.prod(weight.shape) for weight in layer.trainable_weights)


def _known(base: Base) -> dict[str, Any]:
    known = dataclasses.asdict(base)
    del known["blocks"]  # the pattern, which tells a person nothing
    return known


def _lines(name: str, blocks: list[dict[str, Any]]) -> str:
    """Returns the lines that put a base and its fine-tuning into a configuration."""
    proposed = blocks[-min(PROPOSED_BLOCKS, len(blocks))]["name"]
    return (
        f"base:\n  name: {name}\n  weights: imagenet\n"
        f"image:\n  size: {BASES[name].size}\n"
        f"fine_tune:\n  layers: {proposed}\n"
    )
