"""What a user would write today instead: a plain Keras script with a frozen base and a new head.

    python benchmarks/keras_script.py [--photos DIR] [--epochs 10] [--base FILE.keras]

Every image passes through the base once in every epoch. Prints one JSON object last: `seconds` of
the whole process, imports included, and `accuracy` on its validation photos, which are a fifth of
them. Head, rate and batches are Graft's defaults, so that the two can be compared.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SIZE = 224  # pixels
SEED = 0


def main() -> None:
    arguments = _parse()
    if not arguments.photos.is_dir() or not arguments.base.is_file():
        print(f"skipped: needs photos in {arguments.photos} and the base {arguments.base}")
        return
    begun = time.perf_counter()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(SEED)
    training, validation = keras.utils.image_dataset_from_directory(
        arguments.photos,
        validation_split=0.2,
        subset="both",
        seed=SEED,
        image_size=(SIZE, SIZE),
        batch_size=32,
    )
    classes = training.class_names
    model = build(arguments.base, len(classes))
    history = model.fit(
        training.prefetch(-1),
        validation_data=validation.prefetch(-1),
        epochs=arguments.epochs,
        verbose=2,
    )
    accuracies = history.history["val_accuracy"]
    result = {
        "seconds": round(time.perf_counter() - begun, 1),
        "epochs": arguments.epochs,
        "classes": len(classes),
        "accuracy": round(accuracies[-1], 4),
        "best_accuracy": round(max(accuracies), 4),
    }
    print(json.dumps(result))


def build(base_file: Path, classes: int) -> Any:
    """Returns a compiled classifier of pixels from 0 to 255, float32 [batch, 224, 224, 3]."""
    import keras

    base = keras.models.load_model(base_file, compile=False)
    base.trainable = False
    pixels = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    outputs = base(outputs, training=False)
    outputs = keras.layers.GlobalAveragePooling2D()(outputs)
    outputs = keras.layers.Dropout(0.2)(outputs)
    outputs = keras.layers.Dense(128, activation="relu")(outputs)
    outputs = keras.layers.Dropout(0.2)(outputs)
    outputs = keras.layers.Dense(classes, activation="softmax")(outputs)
    model = keras.Model(pixels, outputs)
    model.compile(
        keras.optimizers.Adam(1e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=SHARED / "flowers")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--base", type=Path, default=SHARED / "mobilenet_v1_pw12.keras")
    return parser.parse_args()


if __name__ == "__main__":
    main()
