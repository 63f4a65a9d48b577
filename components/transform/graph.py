"""Transform's graph as training and serving call it: only what follows from the features given.

TFT's own Keras layer gives the same values, but each SavedModel that holds it traces Keras's whole
code once more, which is half of the seconds of an export.
"""

import functools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader


@functools.lru_cache(maxsize=1)
def load_graph(transform_output: Any) -> "TransformGraph":
    """Returns the graph of a `tft.TFTransformOutput`, loaded once for all who read with it."""
    return TransformGraph(transform_output)


class TransformGraph(tf.Module):
    """The graph that Transform wrote, to be called with some of its raw features.

    Args:
        transform_output: a `tft.TFTransformOutput`.
    """

    def __init__(self, transform_output: Any):
        super().__init__()
        loader = SavedModelLoader(transform_output.transform_savedmodel_dir)
        self._apply = loader.apply_transform_model
        # As in TFT's layer: a SavedModel must find the vocabulary's tables below this object.
        self.tracked = vars(loader)

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the transformed features that follow from these raw ones alone.

        To be called in a `tf.function`: eagerly, what is missing would be decoded as well.
        """
        return dict(self._apply(raw))
