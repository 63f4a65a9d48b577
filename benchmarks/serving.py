"""Measures a served model against a bare forward pass, a rollback, and pushes that are killed.

    python benchmarks/serving.py [--photos FOLDER] [--base FILE.keras] [--kills 50]

The served prediction is `serving_default` of the exported SavedModel on batches of 32 photos; the
bare pass decodes and resizes the same files by TensorFlow, one after the other, and calls base and
head as Keras models in a `tf.function`. The ratio is the median of alternating rounds. A push in a
process of its own is killed after a random part of the time that a whole one takes; afterwards the
folder must show whole versions only.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "serving.json"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ROUNDS, BATCH = 10, 32
PUSH = """
import sys
from components.pusher import served
print("begun", flush=True)
served.push(sys.argv[1], sys.argv[2], "digest", "", "")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=DATA / "flowers")
    parser.add_argument("--base", type=Path, default=DATA / "mobilenet_v1_pw12.keras")
    parser.add_argument("--kills", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.photos, arguments.base, arguments.kills)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


def measure(folder: Path, photos: Path, base: Path, kills: int) -> dict[str, Any]:
    """Returns the ratio, the seconds of a rollback, and what the kills left."""
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    contents = [path.read_bytes() for path in files[:: max(1, len(files) // BATCH)][:BATCH]]
    model, bare = export(folder, contents, base)
    return {
        **compare(model, bare, contents),
        **roll_back(folder, model),
        **kill_pushes(folder, model, kills),
    }


def export(folder: Path, contents: list[bytes], base: Path) -> tuple[Path, Any]:
    """Exports base and a head of five classes; returns its folder and the bare forward pass."""
    import keras
    import tensorflow as tf

    from components import features
    from components.trainer import backbones, signatures, warmup
    from components.trainer.head import new_head
    from components.transform import image_ops

    image = {"size": 224, "resize": "stretch", "preprocessing": "rescale_-1_1"}
    embedder = backbones.pooled_base(keras.saving.load_model(base), 224, "average")
    head = new_head(embedder.output.shape[-1], 5, {"hidden": [128], "dropout": 0.2})

    class Graph(tf.Module):
        """Stands for Transform's graph, with the same functions in it."""

        def raw_feature_spec(self) -> dict[str, Any]:
            return {features.IMAGE: tf.io.FixedLenFeature([], tf.string)}

        def __call__(self, raw: dict[str, Any]) -> dict[str, Any]:
            return {features.PIXELS: image_ops.pixels_from_bytes(raw[features.IMAGE], **pixels)}

    pixels = {"size": 224, "resize_mode": "stretch", "preprocessing": image["preprocessing"]}
    signatures.load_graph = lambda graph: graph
    module = signatures.ServingModule(head, embedder, Graph(), list("abcde"), image)
    model = folder / "model"
    signatures.export(module, str(model))
    warmup.write_requests(str(model), contents)

    def to_pixels(content: tf.Tensor) -> tf.Tensor:
        decoded = tf.io.decode_image(content, channels=3, expand_animations=False)
        decoded.set_shape([None, None, 3])
        return tf.image.resize(decoded, [224, 224], antialias=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def bare(files: tf.Tensor) -> tf.Tensor:
        pixels = tf.map_fn(to_pixels, files, fn_output_signature=tf.float32)
        scaled = image_ops.scale(tf.ensure_shape(pixels, [None, 224, 224, 3]), "rescale_-1_1")
        return head(embedder(scaled, training=False), training=False)

    return model, bare


def compare(model: Path, bare: Any, contents: list[bytes]) -> dict[str, Any]:
    """Returns milliseconds a batch of both, and their ratio."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model))
    serve = loaded.signatures["serving_default"]
    batch = tf.constant(contents)
    seconds: dict[str, list[float]] = {"served": [], "bare": []}
    for _ in range(ROUNDS + 1):
        for name, call in (
            ("served", lambda: serve(image_bytes=batch)["probabilities"]),
            ("bare", lambda: bare(batch)),
        ):
            begun = time.perf_counter()
            call().numpy()
            seconds[name].append(time.perf_counter() - begun)
    ratios = [a / b for a, b in zip(seconds["served"][1:], seconds["bare"][1:], strict=True)]
    return {
        "batch": len(contents),
        "served_ms": round(1000 * statistics.median(seconds["served"][1:]), 1),
        "bare_ms": round(1000 * statistics.median(seconds["bare"][1:]), 1),
        "served_to_bare": round(statistics.median(ratios), 3),
    }


def roll_back(folder: Path, model: Path) -> dict[str, Any]:
    """Returns the seconds of a rollback between two versions of the model."""
    from components.digests import folder_digest
    from components.pusher import served

    directory = folder / "rolled"
    served.push(model, directory, folder_digest(model), "", "")
    (model / "assets.extra" / "other").write_text("another model")
    served.push(model, directory, folder_digest(model), "", "")
    begun = time.perf_counter()
    served.roll_back(directory, None)
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    return {
        "rollback_seconds": round(time.perf_counter() - begun, 3),
        "model_mb": round(size / 1e6, 1),
    }


def kill_pushes(folder: Path, model: Path, kills: int) -> dict[str, Any]:
    """Returns how many pushes were killed before they ended, and how many left a part of one."""
    from components.pusher import served
    from components.pusher.manifest import find_faults

    directory = folder / "killed"
    whole = push(model, directory, None)
    partial = ended = 0
    choose = random.Random(0)
    for _ in range(kills):
        before = len(served.versions(directory))
        push(model, directory, choose.uniform(0, 1.2 * whole))
        ended += len(served.versions(directory)) > before
        names = [entry.name for entry in directory.iterdir() if entry.name.isdecimal()]
        partial += sum(bool(find_faults(directory / name)) for name in names)
    return {"kills": kills, "ended_before_the_kill": ended, "partial_versions": partial}


def push(model: Path, directory: Path, kill_after: float | None) -> float:
    """Pushes in a process of its own; returns its seconds."""
    command = [sys.executable, "-c", PUSH, str(model), str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    begun = time.perf_counter()
    if kill_after is not None:
        time.sleep(kill_after)
        process.kill()
    process.wait()
    process.stdout.close()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
