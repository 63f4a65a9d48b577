"""The SavedModel that is served: Transform's graph, base and head behind named signatures.

The keys are a contract with clients, see docs/serving.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from components import features
from components.transform import image_ops
from components.transform.graph import load_graph
from components.transform.tolerant import map_images

TOP_K = 5  # classes in `labels` and `scores`; fewer where the model has fewer


class ServingModule(tf.Module):
    """Everything a server needs in one trackable object; nothing of it needs our code.

    Args:
        head: float32 [batch, width] to probabilities float32 [batch, classes].
        embedder: float32 [batch, size, size, 3] to features float32 [batch, width].
        transform_output: a `tft.TFTransformOutput`.
        labels: the classes in vocabulary order.
        image: `size`, `resize` and `preprocessing`, with which Transform's graph was made.
    """

    def __init__(
        self,
        head: keras.Model,
        embedder: keras.Model,
        transform_output: Any,
        labels: Sequence[str],
        image: Mapping[str, Any],
    ):
        super().__init__()
        self.head = head
        self.embedder = embedder
        self.transform = load_graph(transform_output)
        self.labels = tf.constant(list(labels))
        self._size = int(image["size"])
        self._resize, self._preprocessing = image["resize"], image["preprocessing"]
        specification = transform_output.raw_feature_spec()
        self._image_specification = {features.IMAGE: specification[features.IMAGE]}

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by signature name; see `components.features`."""
        bytes_input = tf.TensorSpec([None], tf.string, name="image_bytes")
        examples_input = tf.TensorSpec([None], tf.string, name="examples")
        pixels_input = tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")
        width = self.embedder.output.shape[-1]
        return {
            features.SERVE_BYTES: self.serve_bytes.get_concrete_function(bytes_input),
            features.SERVE_EXAMPLES: self.serve_examples.get_concrete_function(examples_input),
            features.SERVE_PIXELS: self.serve_pixels.get_concrete_function(pixels_input),
            features.CLASSIFY_FEATURES: self.classify_features.get_concrete_function(
                tf.TensorSpec([None, width], tf.float32, name="embedding")
            ),
            features.EMBED: self.embed.get_concrete_function(bytes_input),
        }

    @tf.function(autograph=False)
    def serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies encoded images, string [batch]."""
        return self._classify(*self._embed(image_bytes))

    @tf.function(autograph=False)
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies serialized `tf.Example`s with the feature `image`, string [batch]."""
        parsed = tf.io.parse_example(examples, self._image_specification)
        return self._classify(*self._embed(parsed[features.IMAGE]))

    @tf.function(autograph=False)
    def serve_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies decoded images, RGB, uint8 [batch, height, width, 3]."""
        shape = [self._size, self._size, 3]
        resized = tf.map_fn(
            lambda image: image_ops.resize(image, self._size, self._resize),
            pixels,
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
        )
        embedding = self._see(image_ops.scale(resized, self._preprocessing))
        return self._classify(embedding, tf.ones([tf.shape(pixels)[0]], tf.bool))

    @tf.function(autograph=False)
    def embed(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the pooled features of the base, float32 [batch, width]."""
        embedding, decoded = self._embed(image_bytes)
        return {"embedding": _blank(embedding, decoded), features.DECODED: decoded}

    @tf.function(autograph=False)
    def classify_features(self, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies what `embed` returns, float32 [batch, width]."""
        return {features.PROBABILITIES: self.head(embedding, training=False)}

    # As functions of their own these stand in the SavedModel once, however many signatures call
    # them: of a large base each copy costs seconds to write and to load.
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    def _embed(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, decoded = self._decode(image_bytes)
        return self._see(pixels), decoded

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)]
    )
    def _see(self, pixels: tf.Tensor) -> tf.Tensor:
        pixels = tf.ensure_shape(pixels, [None, self._size, self._size, 3])
        return self.embedder(pixels, training=False)

    def _decode(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns pixels, zeros where a file is no image, and which files are some."""

        def to_pixels(content: tf.Tensor) -> tf.Tensor:
            return self.transform({features.IMAGE: content[tf.newaxis]})[features.PIXELS][0]

        shape = (self._size, self._size, 3)
        return map_images(image_bytes, to_pixels, shape, image_ops.DECODED_AT_ONCE)

    def _classify(self, embedding: tf.Tensor, decoded: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = _blank(self.head(embedding, training=False), decoded)
        top = min(TOP_K, self.labels.shape[0])
        scores, indices = tf.math.top_k(probabilities, top)
        labels = tf.where(decoded[:, tf.newaxis], tf.gather(self.labels, indices), "")
        return {
            "label": labels[:, 0],
            "score": scores[:, 0],
            "labels": labels,
            "scores": scores,
            features.PROBABILITIES: probabilities,
            features.DECODED: decoded,
        }


def _blank(values: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Returns float32 [batch, n] with zeros in the rows of files that are no images."""
    return tf.where(decoded[:, tf.newaxis], values, tf.zeros_like(values))


def export(module: ServingModule, folder: str) -> None:
    """Writes the SavedModel with its signatures into `folder`."""
    tf.saved_model.save(module, folder, signatures=module.signatures())
