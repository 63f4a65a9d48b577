"""The SavedModel that is served: Transform's graph, base and head behind named signatures.

The keys are a contract with clients, see docs/serving.md.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from components import features
from components.transform.graph import load_graph

TOP_K = 5  # classes in `labels` and `scores`; fewer where the model has fewer


class ServingModule(tf.Module):
    """Everything a server needs in one trackable object; nothing of it needs our code.

    Args:
        head: float32 [batch, width] to probabilities float32 [batch, classes].
        embedder: float32 [batch, size, size, 3] to features float32 [batch, width].
        transform_output: a `tft.TFTransformOutput`.
        labels: the classes in vocabulary order.
    """

    def __init__(
        self,
        head: keras.Model,
        embedder: keras.Model,
        transform_output: Any,
        labels: Sequence[str],
    ):
        super().__init__()
        self.head = head
        self.embedder = embedder
        self.transform = load_graph(transform_output)
        self.labels = tf.constant(list(labels))
        specification = transform_output.raw_feature_spec()
        self._image_specification = {features.IMAGE: specification[features.IMAGE]}
        self._label_specification = {features.LABEL: specification[features.LABEL]}

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by signature name; see `components.features`."""
        bytes_input = tf.TensorSpec([None], tf.string, name="image_bytes")
        examples_input = tf.TensorSpec([None], tf.string, name="examples")
        return {
            features.SERVE_BYTES: self.serve_bytes.get_concrete_function(bytes_input),
            features.SERVE_EXAMPLES: self.serve_examples.get_concrete_function(examples_input),
            features.CLASSIFY_FEATURES: self.classify_features.get_concrete_function(
                tf.TensorSpec([None, self.embedder.output.shape[-1]], tf.float32, name="embedding")
            ),
            features.EMBED: self.embed.get_concrete_function(bytes_input),
            features.INDEX_LABELS: self.index_labels.get_concrete_function(examples_input),
        }

    @tf.function(autograph=False)
    def serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies encoded images, string [batch]."""
        return self._classify(image_bytes)

    @tf.function(autograph=False)
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies serialized `tf.Example`s with the feature `image`, string [batch]."""
        return self._classify(
            tf.io.parse_example(examples, self._image_specification)[features.IMAGE]
        )

    @tf.function(autograph=False)
    def embed(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the pooled features of the base, float32 [batch, width]."""
        return {"embedding": self._embed(image_bytes)}

    @tf.function(autograph=False)
    def classify_features(self, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies what `embed` returns, float32 [batch, width]."""
        return {features.PROBABILITIES: self.head(embedding, training=False)}

    @tf.function(autograph=False)
    def index_labels(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Looks the label of serialized `tf.Example`s up in the vocabulary, int64 [batch]."""
        label = tf.io.parse_example(examples, self._label_specification)
        return {features.LABEL_INDEX: self.transform(label)[features.LABEL_INDEX]}

    # As a function of its own it stands in the SavedModel once, however many signatures call it:
    # of a large base each copy costs seconds to write and to load.
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    def _embed(self, image_bytes: tf.Tensor) -> tf.Tensor:
        pixels = self.transform({features.IMAGE: image_bytes})[features.PIXELS]
        return self.embedder(pixels, training=False)

    def _classify(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self.head(self._embed(image_bytes), training=False)
        top = min(TOP_K, self.labels.shape[0])
        scores, indices = tf.math.top_k(probabilities, top)
        labels = tf.gather(self.labels, indices)
        return {
            "label": labels[:, 0],
            "score": scores[:, 0],
            "labels": labels,
            "scores": scores,
            features.PROBABILITIES: probabilities,
        }


def export(module: ServingModule, folder: str) -> None:
    """Writes the SavedModel with its signatures into `folder`."""
    tf.saved_model.save(module, folder, signatures=module.signatures())
