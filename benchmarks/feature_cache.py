"""Measures the feature cache against bare NumPy: writing, opening with all checks, gathering.

    python benchmarks/feature_cache.py [--rows 20000] [--width 1280]

Bare NumPy writes the same matrix by `np.save` and flushes it to disk, reads it whole by `np.load`,
and gathers the same batches of 32 from a matrix in memory. Ratios are the cache's seconds by
NumPy's: what keys, checksums, several files and flat memory cost. Each is the median of five.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from components.trainer.feature_cache import Collected, collect

RESULTS = Path(__file__).resolve().parent / "results" / "feature_cache.json"
BATCH, EXTRACTION_BATCH = 32, 64
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=1280, help="of one vector")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.rows, arguments.width)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


def measure(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """Returns the ratio of each step."""
    random = np.random.default_rng(0)
    vectors = random.random((rows, width), np.float32)
    keys = np.array([random.bytes(32).hex().encode() for _ in range(rows)], "S64")
    number = {key: row for row, key in enumerate(keys.tolist())}

    def extract(wanted: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(wanted), EXTRACTION_BATCH):
            yield vectors[start : start + EXTRACTION_BATCH], keys[start : start + EXTRACTION_BATCH]

    def collected() -> Collected:
        return collect(folder / "features", "space", keys, width, extract, verified=0)

    def cached() -> None:
        shutil.rmtree(folder / "features", ignore_errors=True)
        collected()

    order = random.permutation(rows)
    assert_same(collected(), vectors, [number[key] for key in keys.tolist()])
    found = collected().vectors
    steps: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "write": (cached, lambda: save(folder / "bare.npy", vectors)),
        "open and check": (collected, lambda: np.load(folder / "bare.npy")),
        "gather": (
            lambda: [found.gather(order[at : at + BATCH]) for at in range(0, rows, BATCH)],
            lambda: [vectors[order[at : at + BATCH]] for at in range(0, rows, BATCH)],
        ),
    }
    ratios = {name: compare(*two) for name, two in steps.items()}
    return {"rows": rows, "width": width, "seconds_by_numpys": ratios}


def compare(ours: Callable[[], Any], bare: Callable[[], Any]) -> float:
    """Returns how many times as long ours takes, measured in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for step, taken in zip((ours, bare), seconds, strict=True):
            start = time.perf_counter()
            step()
            taken.append(time.perf_counter() - start)
    mine, other = map(statistics.median, seconds)
    return round(mine / other, 2)


def save(path: Path, vectors: np.ndarray) -> None:
    """Writes a matrix and flushes it to disk."""
    with open(path, "wb") as file:
        np.save(file, vectors)
        file.flush()
        os.fsync(file.fileno())


def assert_same(found: Collected, vectors: np.ndarray, order: list[int]) -> None:
    """Raises where the cache does not give back what was written."""
    if not np.array_equal(found.vectors.gather(np.arange(len(order))), vectors[order]):
        raise ValueError("Expected the vectors that were written. Received: others.")


if __name__ == "__main__":
    main()
