"""The decoder of training and serving, as ingestion's judge of what an image is."""

import re

import numpy as np

from components.image_example_gen.examine import DecodeError

# TensorFlow wraps its message in the kernel's name and the operation's.
WRAPPING = re.compile(r"\{\{.*?\}\}\s*|\s*\[Op:.*?\].*$", re.DOTALL)


def decode_with_tensorflow(content: bytes) -> np.ndarray:
    """Decodes an image as Transform's graph does.

    Args:
        content: a JPEG, PNG, GIF (its first frame) or BMP file.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        DecodeError: if TensorFlow refuses the content.
    """
    # TensorFlow takes seconds to import; whoever only lists a folder must not pay for it.
    import tensorflow as tf

    try:
        return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()
    except tf.errors.OpError as error:
        raise DecodeError(WRAPPING.sub("", error.message).rstrip(" .")) from error
