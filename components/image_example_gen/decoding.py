"""The decoder of training and serving, as ingestion's judge of what an image is."""

import functools
import re
from typing import Any

import numpy as np

from components.image_example_gen.examine import DecodeError

# TensorFlow puts its message after the traceback of the graph's making, before operations' names.
WRAPPING = re.compile(r"\{\{.*?\}\}\s*|\s*\[\[.*$|\s*\[Op:.*$", re.DOTALL)


def decode_with_tensorflow(content: bytes) -> np.ndarray:
    """Decodes an image as Transform's graph does.

    Args:
        content: a JPEG, PNG, GIF (its first frame) or BMP file.

    Returns:
        uint8 [height, width, 3], RGB, turned by its Exif orientation and composed on white.

    Raises:
        DecodeError: if TensorFlow refuses the content.
        tf.errors.OpError: if it fails for another reason, as without memory; that says nothing
            about the content, which must not be remembered as damaged.
    """
    # TensorFlow takes seconds to import; whoever only lists a folder must not pay for it.
    import tensorflow as tf

    try:
        return _decoder()(content).numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        raise DecodeError(_shorten(error.message)) from error


@functools.cache
def _decoder() -> Any:
    import tensorflow as tf

    from components.transform import image_ops

    return tf.function(image_ops.decode, input_signature=[tf.TensorSpec([], tf.string)])


def _shorten(message: str) -> str:
    return WRAPPING.sub("", message).rstrip(" .\n").rpartition("\n")[2]
