"""The least that training on a frozen base costs: each image decoded and passed through it once.

    python benchmarks/one_pass.py [--photos DIR] [--base FILE.keras] [--batch 32]

Nothing is trained, checked or kept. Prints one JSON object: `seconds` of the pass alone,
`whole_seconds` of the process with its imports and the loading of the base, and
`images_per_second` of the pass.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SIZE = 224  # pixels


def main() -> None:
    arguments = _parse()
    if not arguments.photos.is_dir() or not arguments.base.is_file():
        print(f"skipped: needs photos in {arguments.photos} and the base {arguments.base}")
        return
    started = time.perf_counter()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    files = sorted(str(path) for path in arguments.photos.rglob("*") if path.is_file())
    base = keras.models.load_model(arguments.base, compile=False)
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    model = keras.Model(base.input, pooled)
    model.compile(jit_compile=False)
    begun = time.perf_counter()
    features = model.predict(batches(files, arguments.batch), verbose=0)
    ended = time.perf_counter()
    result = {
        "seconds": round(ended - begun, 1),
        "whole_seconds": round(ended - started, 1),
        "images": len(features),
        "images_per_second": round(len(features) / (ended - begun), 1),
    }
    print(json.dumps(result))


def batches(files: list[str], size: int) -> Any:
    """Returns pixels from -1 to 1, float32 [batch, 224, 224, 3], decoded in parallel."""
    import tensorflow as tf

    def read(file: Any) -> Any:
        image = tf.io.decode_image(tf.io.read_file(file), channels=3, expand_animations=False)
        return tf.image.resize(image, (SIZE, SIZE)) / 127.5 - 1

    dataset = tf.data.Dataset.from_tensor_slices(files)
    dataset = dataset.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(size).prefetch(tf.data.AUTOTUNE)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=SHARED / "flowers")
    parser.add_argument("--base", type=Path, default=SHARED / "mobilenet_v1_pw12.keras")
    parser.add_argument("--batch", type=int, default=32)
    return parser.parse_args()


if __name__ == "__main__":
    main()
