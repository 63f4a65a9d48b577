"""A small served model, for the tests of what asks one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def export_models(
    folder: Path,
    names: Sequence[str],
    transform_output: Any,
    image: Mapping[str, Any],
    labels: Sequence[str] = ("blue", "red"),
    width: int = 4,
) -> None:
    """Exports a model of each name, of one base with so many features and of different heads."""
    import keras

    from components.trainer import backbones, signatures
    from components.trainer.head import new_head

    keras.utils.set_random_seed(0)
    size = image["size"]
    pixels = keras.Input((size, size, 3))
    base = keras.Model(pixels, keras.layers.Conv2D(width, 3)(pixels))
    embedder = backbones.pooled_base(base, size, "average")
    for seed, name in enumerate(names):
        head = new_head(width, len(labels), {"hidden": [6], "dropout": 0.0}, seed)
        module = signatures.ServingModule(head, embedder, transform_output, labels, image)
        signatures.export(module, str(folder / name))
