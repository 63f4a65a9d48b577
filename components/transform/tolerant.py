"""Files of a batch read one by one, so that a bad one leaves its neighbours alone."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def map_images(
    contents: tf.Tensor,
    read: Callable[[tf.Tensor], tf.Tensor],
    shape: Sequence[int],
    parallel: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies a function that may fail to each file of a batch.

    TensorFlow's decoders fail a whole batch. A dataset leaves out the elements that fail, and its
    operations are of TensorFlow's core, so that a server has them.

    Args:
        contents: files, string [batch].
        read: string scalar to float32 of `shape`; what it raises at run time is caught.
        shape: of one result.
        parallel: how many files are read at once, at least 1.

    Returns:
        float32 [batch, *shape], zeros where `read` failed; and where it did not, bool [batch].
    """

    def read_one(place: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return place, tf.ensure_shape(read(content), shape)

    count = tf.size(contents, out_type=tf.int64)
    files = tf.data.Dataset.from_tensor_slices(contents).enumerate()
    results = files.map(read_one, num_parallel_calls=parallel).ignore_errors()
    # One element more, since a dataset that is empty cannot be read as a batch.
    last = tf.data.Dataset.from_tensors((count, tf.zeros(shape)))
    places, values = results.concatenate(last).batch(count + 1).get_single_element()
    rows = places[:, tf.newaxis]
    sizes = [tf.constant(size, tf.int64) for size in shape]
    spread = tf.scatter_nd(rows, values, tf.stack([count + 1, *sizes]))
    found = tf.scatter_nd(rows, tf.ones_like(places), tf.stack([count + 1]))
    return spread[:-1], found[:-1] > 0
