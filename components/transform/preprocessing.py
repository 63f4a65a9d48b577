"""The one definition of what happens between a file's bytes and the base; Transform calls it."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from components import features
from components.transform import image_ops


def preprocessing_fn(
    inputs: Mapping[str, tf.Tensor], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Decodes, resizes and scales images, and looks labels up in the training vocabulary.

    Args:
        inputs: raw features, see `components.features`; `image` and `label` are string [batch].
        custom_config: `size` (pixels), `resize` and `preprocessing` (see `image_ops`).

    Returns:
        `pixels`: float32 [batch, size, size, 3]; `label_index`: int64 [batch], −1 for a label
        that the training split does not have.
    """
    pixels = image_ops.pixels_from_bytes(
        inputs[features.IMAGE],
        custom_config["size"],
        custom_config["resize"],
        custom_config["preprocessing"],
    )
    label_index = tft.compute_and_apply_vocabulary(
        inputs[features.LABEL], default_value=-1, vocab_filename=features.LABEL_VOCABULARY
    )
    return {features.PIXELS: pixels, features.LABEL_INDEX: label_index}
