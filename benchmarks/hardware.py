"""Measures how near feature extraction and fine-tuning come to what the device alone can do.

    graft run photos.yaml
    python benchmarks/hardware.py photos.yaml [--set KEY=VALUE …] [--passes 8]

Reads the training images of a finished run. For each precision, in images per second: `forward`,
the base alone on one batch that stays in the device's memory; `decoding`, the input alone, from
records to pixels; `copying`, pixels from ordinary memory to the device, one batch after the other,
which TensorFlow's own copying may surpass; `features`, all of it as the Trainer does it;
`train_step`, steps of fine-tuning the last FINE_TUNED layers on one batch that stays in memory;
`fine_tuning`, the Trainer's epochs of it, the look at the watched images included. The first
batches, in which graphs are built, do not count. Ratios are by the slower of the forward pass, or
the step, and decoding. `head_step_us` are microseconds of one step of the head on kept features.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from components.trainer import dataset, extraction, model, preparation, stages
from components.trainer.progress import Budget, Keeper
from pipeline import config as configuration

RESULTS = Path(__file__).resolve().parent / "results" / "hardware.json"
PRECISIONS = ("float32", "mixed_float16")
FINE_TUNED = 20  # layers
EPOCHS = 4
BATCH = 64
SECONDS = 3.0  # of each measurement on one batch
WARM = 10  # batches that do not count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--passes", type=int, default=8, help="over the photos, for steady rates")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    config = configuration.load(arguments.config, arguments.overrides, check_inputs=False)
    results: dict[str, Any] = {"devices": describe_devices(), "tensorflow": tf.__version__}
    for precision in arguments.precisions:
        with tempfile.TemporaryDirectory() as cache:
            results[precision] = measure(config, precision, cache, arguments.passes)
        print(json.dumps({precision: results[precision]}), flush=True)
    arguments.results.write_text(json.dumps(results, indent=1) + "\n")


def measure(config: Any, precision: str, cache: str, passes: int) -> dict[str, float]:
    """Returns the rates of one precision and their ratios."""
    settings = read_settings(config, precision, cache)
    given = SimpleNamespace(
        train_files=[str(newest(config, "ImageExampleGen/examples/*/Split-train") / "*")],
        transform_graph_path=str(newest(config, "Transform/transform_graph/*")),
    )
    prepared = preparation.prepare(given, settings)
    keys = frozenset(prepared.index.keys.tolist())
    repeated = [*prepared.files] * passes
    size = settings["image"]["size"]
    batch = tf.random.stateless_uniform([BATCH, size, size, 3], (0, 0), -1, 1)
    rates = {
        "forward": on_one_batch(forward_of(prepared.embedder, batch)),
        "copying": on_one_batch(copy_of(batch)),
        "decoding": rate_of(
            len(one_keys)
            for _, one_keys in dataset.pixel_batches(
                repeated, prepared.transform_output, BATCH, keys
            )
        ),
        "features": rate_of(
            len(one_keys)
            for _, one_keys in extraction.Extraction(
                repeated,
                prepared.transform_output,
                settings,
                prepared.embedder,
                prepared.strategy,
            ).extract(keys, 0)
        ),
    }
    head = stages.build_head(prepared, settings["head"])
    head_clock, clock = Clock(), Clock()
    stages.train_head(prepared, head, stages.Context(head_clock, Budget()))
    stages.fine_tune(prepared, head, stages.Context(clock, Budget()))
    images = int((~prepared.watched).sum())
    rates["train_step"] = train_on_one_batch(
        prepared, head, batch[: settings["train"]["batch_size"]]
    )
    rates["fine_tuning"] = images / clock.seconds
    steps = stages.head_stage(prepared).steps
    return {
        **{name: round(rate, 1) for name, rate in rates.items()},
        "features / slower limit": round(
            rates["features"] / min(rates["forward"], rates["decoding"]), 3
        ),
        "features / forward": round(rates["features"] / rates["forward"], 3),
        "fine_tuning / slower limit": round(
            rates["fine_tuning"] / min(rates["train_step"], rates["decoding"]), 3
        ),
        "head_step_us": round(1e6 * head_clock.seconds / steps),
    }


def read_settings(config: Any, precision: str, cache: str) -> dict[str, Any]:
    """Returns what the Trainer would be given, with an empty cache."""
    settings = config.training_settings
    settings["train"] |= {"precision": precision, "epochs": EPOCHS, "patience": 0}
    settings["fine_tune"] |= {"layers": FINE_TUNED, "epochs": EPOCHS}
    digests = dict.fromkeys(("base_sha256", "transform_sha256", "code_sha256"), "")
    return {**settings, **digests, "cache": cache}


def newest(config: Any, pattern: str) -> Path:
    """Returns the newest folder of an artifact of the pipeline's runs."""
    found = list(config.artifacts.glob(pattern))
    if not found:
        raise SystemExit(f"no finished run in {config.home}: call graft run first")
    return max(found, key=lambda path: path.stat().st_mtime)


def forward_of(embedder: Any, batch: tf.Tensor) -> Any:
    forward = tf.function(lambda pixels: embedder(pixels, training=False), autograph=False)
    return lambda: forward(batch)


def copy_of(batch: tf.Tensor) -> Any:
    pixels = batch.numpy()
    return lambda: tf.identity(tf.convert_to_tensor(pixels))[0, 0, 0, 0]


def train_on_one_batch(prepared: Any, head: Any, batch: tf.Tensor) -> float:
    """Returns the images per second of training steps without any input."""
    trained = model.join(prepared.embedder, head)
    stages.compile_for(prepared, trained, 1e-5)
    one = (batch, tf.zeros([len(batch)], tf.int64), tf.ones([len(batch)]))
    step = tf.function(trained.train_step)
    return on_one_batch(lambda: step(one)["loss"], len(batch))


def on_one_batch(call: Any, images: int = BATCH) -> float:
    """Returns the images per second of a call that takes one batch."""
    for _ in range(WARM):
        _wait(call())
    begun, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < SECONDS:
        for _ in range(WARM):
            last = call()
        _wait(last)
        calls += WARM
    return images * calls / spent


def rate_of(counts: Iterator[int]) -> float:
    """Returns the images per second of batches of so many images, without the first ones."""
    sum(itertools.islice(counts, WARM))
    begun = time.perf_counter()
    images = sum(counts)
    return images / (time.perf_counter() - begun)


class Clock(Keeper):
    """Keeps nothing; measures the seconds between the ends of epochs."""

    def __init__(self) -> None:
        super().__init__(None, "")
        self._ends: list[float] = []

    def save(self, stage: str, progress: Any, variables: Sequence[Any], best: Any) -> None:
        self._ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Of an epoch after the first."""
        return statistics.median(np.diff(self._ends))


def describe_devices() -> list[Mapping[str, Any]]:
    return [
        {"type": device.device_type, **tf.config.experimental.get_device_details(device)}
        if device.device_type == "GPU"
        else {"type": device.device_type}
        for device in tf.config.list_physical_devices()
    ]


def _wait(tensor: Any) -> None:
    np.asarray(tensor)


if __name__ == "__main__":
    main()
