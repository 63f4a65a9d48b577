"""Makes the embedded default's data: photos of digits 5–9, and a base trained on digits 0–4.

scikit-learn carries 1,797 hand-written digits of 8×8 pixels, so the whole way from photos to a
served model can be shown on a machine that reaches nothing but package registries. The base never
sees a digit that the pipeline classifies: what it brings over is what strokes look like.

Run as `python -m pipeline.digits [FOLDER]`; a second call finds everything there and does nothing.
"""

import os
import sys
from pathlib import Path

import numpy as np

from components.atomic import publish, written_aside
from components.errors import InputError
from pipeline.noise import quiet

SEED = 0
SIDE = 32  # pixels; the 8×8 originals are enlarged, so that a person can see them
LEVELS = 16.0  # grey levels of the originals
BASE_DIGITS = range(0, 5)
GRAFTED_DIGITS = range(5, 10)
EPOCHS = 20
DEFAULT_FOLDER = Path("demo") / "digits"


def make_digits(folder: Path) -> None:
    """Writes `photos/DIGIT/NUMBER.png` for digits 5–9, `base.keras` and `random.keras`.

    Args:
        folder: where to; written aside and renamed, so that it is there whole or not at all.
    """
    if folder.is_dir():
        return
    with written_aside(folder.parent) as aside:
        images, labels = load_digits()
        write_photos(aside / "photos", images, labels)
        train_base(images, labels).save(aside / "base.keras")
        build_base().save(aside / "random.keras")
        publish(aside, folder)


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns scikit-learn's digits, uint8 [1797, 32, 32] black on white, and labels int [1797]."""
    from PIL import Image
    from sklearn import datasets

    digits = datasets.load_digits()
    grey = np.round(255 - digits.images * (255 / LEVELS)).astype(np.uint8)
    images = [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for one in grey]
    return np.stack([np.asarray(image) for image in images]), digits.target


def write_photos(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes the digits 5–9 as PNG files, one folder a class."""
    from PIL import Image

    for digit in GRAFTED_DIGITS:
        (folder / str(digit)).mkdir(parents=True)
        for number in np.flatnonzero(labels == digit):
            Image.fromarray(images[number]).save(folder / str(digit) / f"{number:04d}.png")


def build_base():  # type: ignore[no-untyped-def]
    """Returns an untrained base: float32 [batch, 32, 32, 3] in [0, 1] to [batch, 4, 4, 256]."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(SEED)
    pixels = outputs = keras.Input((SIDE, SIDE, 3))
    for filters in (32, 64, 256):
        outputs = layers.Conv2D(filters, 3, padding="same", activation="relu")(outputs)
        outputs = layers.MaxPooling2D()(outputs)
    return keras.Model(pixels, outputs, name="digits_base")


def train_base(images: np.ndarray, labels: np.ndarray):  # type: ignore[no-untyped-def]
    """Returns the base after it has learnt to tell the digits 0–4 apart; its top is thrown away."""
    import keras

    base = build_base()
    chosen = np.isin(labels, list(BASE_DIGITS))
    pixels = np.repeat(images[chosen][..., None] / 255.0, 3, axis=-1).astype(np.float32)
    outputs = keras.layers.GlobalAveragePooling2D()(base.output)
    outputs = keras.layers.Dropout(0.3)(outputs)
    outputs = keras.layers.Dense(len(BASE_DIGITS), activation="softmax")(outputs)
    classifier = keras.Model(base.input, outputs)
    classifier.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    classifier.fit(pixels, labels[chosen], epochs=EPOCHS, batch_size=32, verbose=0)
    return base


def main(folder: Path = DEFAULT_FOLDER) -> None:
    """Makes the data, or ends with status 2 and one line where they cannot be written."""
    try:
        with quiet(Path(os.devnull)) as screen:
            if not folder.is_dir():
                words = "making the photos of 5-9 and the base trained on 0-4"
                print(words, file=screen, flush=True)
            make_digits(folder)
    except OSError as error:
        print(
            f"Error: Expected a folder that can be written. Received: {folder} "
            f"({error.strerror or error}). Free space, or name another: "
            "python -m pipeline.digits FOLDER.",
            file=sys.stderr,
        )
        sys.exit(InputError.exit_status)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
