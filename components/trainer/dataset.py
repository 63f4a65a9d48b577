"""Reads raw examples back as batches of pixels, label rows and keys, by Transform's graph."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from components import features

SHUFFLED = 1024  # encoded images among which the next one of an epoch is drawn


def transformed_batches(
    files: Sequence[str], transform_output: Any, batch_size: int
) -> tf.data.Dataset:
    """Reads TFRecord files of raw examples and applies Transform's graph, in file order.

    Args:
        files: paths of gzip-compressed TFRecord files.
        transform_output: a `tft.TFTransformOutput`.
        batch_size: images a batch.

    Returns:
        Batches of (pixels float32 [batch, size, size, 3], label_index int64 [batch],
        split_key string [batch]).
    """
    return _transform(_records(files), transform_output, batch_size)


def fine_tuning_batches(
    files: Sequence[str],
    transform_output: Any,
    watched_keys: Sequence[bytes],
    watch: bool,
    batch_size: int,
    seed: int,
) -> tf.data.Dataset:
    """Reads the watched images, or all others, as pairs to train on.

    Args:
        files: see `transformed_batches`.
        transform_output: see `transformed_batches`.
        watched_keys: content keys of the watched images.
        watch: whether to keep the watched images or the others.
        batch_size: images a batch.
        seed: of the shuffling, which only the training part gets.

    Returns:
        Batches of (pixels, label_index).
    """
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(watched_keys)), tf.ones([len(watched_keys)], tf.int64)
    )
    table = tf.lookup.StaticHashTable(initializer, default_value=0)
    specification = {features.SPLIT_KEY: tf.io.FixedLenFeature([], tf.string)}

    def wanted(serialized: tf.Tensor) -> tf.Tensor:
        key = tf.io.parse_single_example(serialized, specification)[features.SPLIT_KEY]
        return (table.lookup(key) == 1) == watch

    # Encoded images are filtered and shuffled, which costs no decoding and little memory.
    records = _records(files).filter(wanted)
    if not watch:
        records = records.shuffle(SHUFFLED, seed=seed, reshuffle_each_iteration=True)
    batches = _transform(records, transform_output, batch_size)
    return batches.map(lambda pixels, label_index, _: (pixels, label_index))


def _records(files: Sequence[str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(sorted(files), compression_type="GZIP")


def _transform(records: tf.data.Dataset, transform_output: Any, batch_size: int) -> tf.data.Dataset:
    wanted = (features.IMAGE, features.LABEL, features.SPLIT_KEY)
    specification = {key: transform_output.raw_feature_spec()[key] for key in wanted}
    transform_layer = transform_output.transform_features_layer()

    # Converting Keras's and TFT's own code takes seconds, and nothing in it needs it.
    @tf.autograph.experimental.do_not_convert
    def transform(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        raw = tf.io.parse_example(serialized, specification)
        keys = raw.pop(features.SPLIT_KEY)
        transformed = transform_layer(raw)
        return transformed[features.PIXELS], transformed[features.LABEL_INDEX], keys

    batches = records.batch(batch_size).map(transform, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)
