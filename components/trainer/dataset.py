"""Reads raw examples back: keys and labels alone, pixels by Transform's graph, batches to train on.

Everything runs in TensorFlow's own threads; no Python runs for an image. What an epoch's order is
follows from the seed and the epoch's number alone, so that training can go on at any epoch.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from components import features
from components.transform.graph import load_graph

SHUFFLED = 1024  # encoded images, at most, among which the next one of an epoch is drawn
SHUFFLED_BYTES = 256 << 20  # what these may take
READ_AT_ONCE = 4096  # examples whose keys are read in one go
RESIDENT = 128 << 20  # bytes of features up to which they are held in memory as one tensor

Batches = Callable[[int], tf.data.Dataset]
# Changes pixels at random: of (pixels, content keys, number of the epoch or copy), the same shape.
Change = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Index:
    """What is known of a split's images without decoding one, ordered by content key.

    Attributes:
        keys: S64 [images], digest of the image's content; equal images have the same.
        split_keys: S64 [images], what decides the split: the content's digest or the group's.
        label_index: int64 [images], rows of the labels.
    """

    keys: np.ndarray
    split_keys: np.ndarray
    label_index: np.ndarray


class Gather(Protocol):
    """Rows that can be had by their numbers, such as `feature_cache.Rows`."""

    width: int

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Returns float32 [len(indices), width]."""


def read_index(files: Sequence[str], labels: Sequence[str]) -> Index:
    """Reads keys and labels of a split.

    Args:
        files: paths of gzip-compressed TFRecord files.
        labels: the classes in vocabulary order.
    """
    rows = {label.encode(): row for row, label in enumerate(labels)}
    wanted = (features.SHA256, features.SPLIT_KEY, features.LABEL)
    specification = {key: tf.io.FixedLenFeature([], tf.string, b"") for key in wanted}
    columns: list[list[np.ndarray]] = [[], [], []]
    parse = _parser(specification)
    for batch in _records(files).batch(READ_AT_ONCE).map(parse).as_numpy_iterator():
        keys, split_keys, names = (batch[key] for key in wanted)
        columns[0].append(keys.astype("S64"))
        columns[1].append(split_keys.astype("S64"))
        columns[2].append(np.array([rows.get(name, -1) for name in names], np.int64))
    keys, split_keys, label_index = (np.concatenate(column) for column in columns)
    # Beam does not promise an order of records, and training must not depend on it.
    order = np.lexsort((label_index, keys))
    return Index(keys[order], split_keys[order], label_index[order])


def pixel_batches(
    files: Sequence[str],
    transform_output: Any,
    batch_size: int,
    keys: Collection[bytes],
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """Reads the images of some keys and applies Transform's graph to them.

    Args:
        files: paths of gzip-compressed TFRecord files.
        transform_output: a `tft.TFTransformOutput`.
        batch_size: images a batch.
        keys: content keys of the images that are wanted.
        change: what is done to (pixels, content keys). Default: nothing.

    Returns:
        Batches of (pixels float32 [batch, size, size, 3], content key string [batch]).
    """
    transform = _transformer(transform_output, (features.IMAGE, features.SHA256))

    def changed(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, batch_keys, _ = transform(serialized)
        return change(pixels, batch_keys) if change else pixels, batch_keys

    records = _records(files).filter(_is_among(keys)).batch(batch_size)
    return records.map(changed, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def image_batches(
    files: Sequence[str],
    transform_output: Any,
    keys: Collection[bytes],
    weights: Sequence[float],
    batch_size: int,
    seed: int | None,
    change: Change | None = None,
) -> Batches:
    """Returns what gives the batches of images to train on, from an epoch on, for all that follow.

    Args:
        files: see `pixel_batches`.
        transform_output: see `pixel_batches`.
        keys: content keys of the images that are wanted.
        weights: how much an image of each class counts.
        batch_size: images a batch; an epoch's last batch may be smaller.
        seed: of the shuffling; None for one pass in file order, as for images that are watched.
        change: see `Change`. Default: images stay as they are.

    Returns:
        A function from the first epoch's number to batches of (pixels, label_index, weight).
    """
    wanted = (features.IMAGE, features.LABEL, features.SHA256)
    transform = _transformer(transform_output, wanted)
    is_wanted, shuffled = _is_among(keys), _count_shuffled(files, len(keys))
    weight_of = tf.constant(list(weights), tf.float32)

    def weighted(serialized: tf.Tensor, epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels, batch_keys, label_index = transform(serialized)
        if change:
            pixels = change(pixels, batch_keys, epoch)
        return pixels, label_index, tf.gather(weight_of, label_index)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        records = _records(files).filter(is_wanted)
        if seed is not None:
            # Encoded images are shuffled, which costs no decoding.
            records = records.shuffle(shuffled, seed=_epoch_seed(seed, epoch))
        return records.batch(batch_size).map(lambda serialized: (serialized, epoch))

    def batches(first: int) -> tf.data.Dataset:
        epochs = tf.data.Dataset.range(first, first + 1 if seed is None else tf.int64.max)
        return (
            epochs.flat_map(one_epoch)
            .map(weighted, num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )

    return batches


def feature_batches(
    variants: Sequence[Gather],
    chosen: np.ndarray,
    label_index: np.ndarray,
    weights: Sequence[float],
    batch_size: int,
    seed: int | None,
) -> Batches:
    """Returns what gives the batches of features to train on, from an epoch on.

    Args:
        variants: features of all images; further ones are of changed copies of the same images,
            of which each image gets one at random in each epoch.
        chosen: int64, which images.
        label_index: int64, of all images.
        weights: how much an image of each class counts.
        batch_size: images a batch; an epoch's last batch may be smaller.
        seed: of shuffling and drawing; None for one pass in order over the first variant.

    Returns:
        A function from the first epoch's number to batches of (vectors float32 [batch, width],
        label_index, weight).
    """
    labels, weight_of = tf.constant(label_index[chosen]), tf.constant(list(weights), tf.float32)
    if seed is None and _is_small(variants[:1], chosen):
        # Without functions an iterator of it is made in a tenth of the time, once an epoch.
        everything = variants[0].gather(chosen), labels, tf.gather(weight_of, labels)
        in_order = tf.data.Dataset.from_tensor_slices(everything).batch(batch_size)
        return lambda first: in_order
    gather = _gatherer(variants, chosen)
    images = tf.range(len(chosen), dtype=tf.int64)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order, variant = images, tf.zeros_like(images)
        if seed is not None:
            seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
            order = tf.random.experimental.stateless_shuffle(images, seeds)
            variant = tf.random.stateless_uniform(
                tf.shape(images), seeds, maxval=len(variants), dtype=tf.int64
            )
        return tf.data.Dataset.from_tensor_slices((order, variant)).batch(batch_size)

    def fetch(image: tf.Tensor, variant: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        label = tf.gather(labels, image)
        return gather(image, variant), label, tf.gather(weight_of, label)

    def batches(first: int) -> tf.data.Dataset:
        epochs = tf.data.Dataset.range(first, first + 1 if seed is None else tf.int64.max)
        return epochs.flat_map(one_epoch).map(fetch).prefetch(tf.data.AUTOTUNE)

    return batches


def first_images(files: Sequence[str], count: int) -> list[bytes]:
    """Returns the encoded images of the first examples, fewer where there are fewer.

    Args:
        files: TFRecord files.
        count: at least 1.
    """
    parse = _parser({features.IMAGE: tf.io.FixedLenFeature([], tf.string)}, single=True)
    records = _records(files).take(count).map(parse)
    return [record[features.IMAGE] for record in records.as_numpy_iterator()]


def count_steps(images: int, batch_size: int) -> int:
    """Returns the steps of an epoch, the last of which may have fewer images."""
    return math.ceil(images / batch_size)


def _gatherer(
    variants: Sequence[Gather], chosen: np.ndarray
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function from places among the chosen images, and variants, to vectors."""
    images, width = len(chosen), variants[0].width
    if _is_small(variants, chosen):
        resident = np.empty((len(variants) * images, width), np.float32)
        for number, rows in enumerate(variants):
            resident[number * images : (number + 1) * images] = rows.gather(chosen)
        everything = tf.constant(resident)
        return lambda image, variant: tf.gather(everything, variant * images + image)

    def fetch(image: np.ndarray, variant: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(image), width), np.float32)
        for number, rows in enumerate(variants):
            wanted = variant == number
            vectors[wanted] = rows.gather(chosen[image[wanted]])
        return vectors

    def gather(image: tf.Tensor, variant: tf.Tensor) -> tf.Tensor:
        # One call a batch; the features stay on disk, and only what is read is in memory.
        vectors = tf.numpy_function(fetch, [image, variant], tf.float32)
        return tf.ensure_shape(vectors, [None, width])

    return gather


def _is_small(variants: Sequence[Gather], chosen: np.ndarray) -> bool:
    """Says whether these features may be held in memory."""
    row = variants[0].width * np.dtype(np.float32).itemsize
    return len(variants) * len(chosen) * row <= RESIDENT


def _epoch_seed(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Returns a seed of its own for every epoch; neighbouring seeds share none."""
    return tf.random.stateless_uniform(
        [], tf.stack([tf.constant(seed, tf.int64), epoch]), minval=1, maxval=2**62, dtype=tf.int64
    )


def _count_shuffled(files: Sequence[str], images: int) -> int:
    """Returns how many encoded images are shuffled at once, fewer where they are large."""
    # Files may hold more than these images, so that an image is rather taken for too large.
    size = sum(tf.io.gfile.stat(file).length for file in files) / max(1, images)
    return max(1, min(SHUFFLED, int(SHUFFLED_BYTES / max(1.0, size))))


def _records(files: Sequence[str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")


def _is_among(keys: Collection[bytes]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what tells whether a serialized example's content key is among some keys."""
    ordered = sorted(keys)
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(ordered, tf.string), tf.ones([len(ordered)], tf.int64)
    )
    table = tf.lookup.StaticHashTable(initializer, default_value=0)
    parse = _parser({features.SHA256: tf.io.FixedLenFeature([], tf.string, b"")}, single=True)
    return lambda serialized: table.lookup(parse(serialized)[features.SHA256]) == 1


def _parser(specification: dict[str, Any], single: bool = False) -> Callable[[tf.Tensor], Any]:
    parse = tf.io.parse_single_example if single else tf.io.parse_example
    return lambda serialized: parse(serialized, specification)


def _transformer(transform_output: Any, wanted: Sequence[str]) -> Callable[[tf.Tensor], Any]:
    """Returns a function from serialized examples to (pixels, content keys, label rows).

    What does not follow from the features that are wanted is an empty string or missing.
    """
    raw_features = transform_output.raw_feature_spec()
    specification = {key: raw_features[key] for key in wanted}
    transform_graph = load_graph(transform_output)

    # Converting TFT's own code takes seconds, and nothing in it needs it.
    @tf.autograph.experimental.do_not_convert
    def transform(serialized: tf.Tensor) -> tuple[Any, Any, Any]:
        raw = tf.io.parse_example(serialized, specification)
        keys = raw.pop(features.SHA256, None)
        transformed = transform_graph(raw)
        return transformed[features.PIXELS], keys, transformed.get(features.LABEL_INDEX)

    return transform
