"""Calls the command in this process as a user calls it, for the end-to-end tests of many files.

TFX is imported once for all of them.
"""

import json

import numpy as np
from click.testing import CliRunner
from PIL import Image

SIDE = 16  # pixels, of the photos that are written here


def graft(*arguments):
    """Calls the command with --json; returns its exit status and its JSON object."""
    from pipeline.cli import main

    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    lines = result.stdout.strip().splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else None, result.stderr


def states(config, *arguments):
    """Returns the state of every stage of the last run."""
    status, explained, _ = graft("explain", config, *arguments)
    assert status == 0
    return {stage["stage"]: stage["state"] for stage in explained["stages"]}


def write_photos(folder, colours, count):
    """Writes so many noisy PNG files of each class, in the class's colour."""
    generator = np.random.default_rng(0)
    for label, colour in colours.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            noise = generator.integers(-30, 30, (SIDE + number % 3, SIDE, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def write_base(path, side):
    """Writes a small base that takes pixels [side, side, 3]; always the same."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((side, side, 3))
    outputs = keras.layers.Conv2D(8, 3, activation="relu")(pixels)
    outputs = keras.layers.BatchNormalization()(outputs)
    outputs = keras.layers.Conv2D(8, 3, kernel_initializer="he_normal")(outputs)
    keras.Model(pixels, outputs).save(path)


def served_versions(config):
    """Returns the version folders below `served/NAME` beside a configuration, sorted."""
    folder = config.parent / "served" / config.stem
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(name for name in names if name.isdecimal())
