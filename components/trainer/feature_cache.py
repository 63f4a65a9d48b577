"""Features of the frozen base, computed once and kept on disk for every later head.

With a frozen base one forward pass an image is enough for all epochs, and a run that changes only
the head needs none.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.atomic import publish, written_aside

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Features:
    """Pooled features of one split, ordered by content key.

    Attributes:
        vectors: float32 [images, width], memory-mapped.
        label_index: int64 [images].
        keys: bytes [images], the content keys.
    """

    vectors: np.ndarray
    label_index: np.ndarray
    keys: np.ndarray


def cache_key(parts: Iterable[str]) -> str:
    """Returns the digest of all that the features depend on, such as images, base and pooling."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def load_or_extract(
    folder: Path, key: str, width: int, extract: Callable[[], Iterator[Batch]]
) -> tuple[Features, bool]:
    """Returns the cached features of `key`, computing them first where there are none.

    Args:
        folder: where caches lie; made if missing.
        key: see `cache_key`.
        width: length of one feature vector.
        extract: yields batches of (vectors [batch, width], label_index [batch], keys [batch]).

    Returns:
        The features and whether they came from the cache.
    """
    place = folder / key
    if found := place.is_dir():
        return _load(place), found
    with written_aside(folder) as aside:
        _write(aside, width, extract())
        publish(aside, place)
    return _load(place), found


def _write(folder: Path, width: int, batches: Iterator[Batch]) -> None:
    raw = folder / "raw.float32"
    labels: list[np.ndarray] = []
    keys: list[np.ndarray] = []
    with open(raw, "wb") as file:
        for vectors, label_index, split_keys in batches:
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
            labels.append(label_index)
            keys.append(split_keys.astype("S64"))
    all_keys = np.concatenate(keys)
    # Beam does not promise an order of records, and training must not depend on it.
    order = np.argsort(all_keys, kind="stable")
    unordered: np.ndarray = np.memmap(raw, np.float32, "r", shape=(len(order), width))
    ordered = np.lib.format.open_memmap(
        folder / "vectors.npy", mode="w+", dtype=np.float32, shape=unordered.shape
    )
    for row, source in enumerate(order):
        ordered[row] = unordered[source]
    ordered.flush()
    np.save(folder / "label_index.npy", np.concatenate(labels)[order].astype(np.int64))
    np.save(folder / "keys.npy", all_keys[order])
    del unordered
    raw.unlink()


def _load(place: Path) -> Features:
    return Features(
        np.load(place / "vectors.npy", mmap_mode="r"),
        np.load(place / "label_index.npy"),
        np.load(place / "keys.npy"),
    )
