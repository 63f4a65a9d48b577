"""Several GPUs of one machine: the strategy they train by, and the part of a batch each gets."""

from typing import Any

import tensorflow as tf


def choose_strategy() -> tf.distribute.Strategy:
    """Returns a strategy over all GPUs where there are several, else the one device's."""
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    return tf.distribute.get_strategy()


def distribute(
    dataset: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    options: tf.distribute.InputOptions | None = None,
) -> Any:
    """Gives each device an equal part of every batch.

    TensorFlow's own split fills one device after the other, so that an epoch's last batch leaves
    some with none, for which a convolution was seen to fail now and then. A batch of fewer images
    than devices gives some of them twice.

    Args:
        dataset: batches, tuples of tensors with the same first dimension.
        strategy: where the parts go.
        options: of the distributed dataset. Default: TensorFlow's.

    Returns:
        An iterable of what `strategy.run` takes as `args`.
    """
    devices = strategy.num_replicas_in_sync
    if devices == 1:
        return strategy.experimental_distribute_dataset(dataset, options)
    parts = dataset.flat_map(lambda *batch: _split(batch, devices)).prefetch(devices)
    return strategy.distribute_datasets_from_function(lambda _: parts, options)


def _split(batch: tuple[tf.Tensor, ...], devices: int) -> tf.data.Dataset:
    images = tf.shape(batch[0], tf.int64)[0]

    def part(device: tf.Tensor) -> tuple[tf.Tensor, ...]:
        start = tf.minimum(device * images // devices, images - 1)
        end = tf.maximum((device + 1) * images // devices, start + 1)
        return tuple(tensor[start:end] for tensor in batch)

    return tf.data.Dataset.range(devices).map(part)
