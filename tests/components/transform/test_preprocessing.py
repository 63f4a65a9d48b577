"""Transform's graph, analysed once on eight tiny images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from components import features  # noqa: E402
from components.transform import image_ops  # noqa: E402


def test_the_vocabulary_holds_the_training_labels(transform_output: Any) -> None:
    labels = transform_output.vocabulary_by_name(features.LABEL_VOCABULARY)
    assert sorted(labels) == [b"blue", b"red"]


def test_labels_become_their_row_in_the_vocabulary_and_unknown_ones_minus_one(
    transform_output: Any, photo_contents: Sequence[bytes]
) -> None:
    labels = transform_output.vocabulary_by_name(features.LABEL_VOCABULARY)
    raw = {
        features.IMAGE: tf.constant(photo_contents[:3]),
        features.LABEL: tf.constant([labels[1], b"never seen", labels[0]]),
    }
    transformed = transform_output.transform_features_layer()(raw)
    rows = transformed[features.LABEL_INDEX]
    assert rows.dtype == tf.int64
    assert rows.numpy().tolist() == [1, -1, 0]


def test_the_graph_gives_the_pixels_of_the_image_operations(
    transform_output: Any, photo_contents: Sequence[bytes]
) -> None:
    contents = tf.constant(photo_contents)
    expected = image_ops.pixels_from_bytes(contents, 8, "stretch", "rescale_0_1")
    transformed = transform_output.transform_features_layer()({features.IMAGE: contents})
    assert transformed[features.PIXELS].shape == (8, 8, 8, 3)
    np.testing.assert_allclose(transformed[features.PIXELS], expected, atol=1e-6)


def test_the_graph_gives_pixels_and_label_only(transform_output: Any) -> None:
    specification = transform_output.transformed_feature_spec()
    assert set(specification) == {features.PIXELS, features.LABEL_INDEX}
    assert list(specification[features.PIXELS].shape) == [8, 8, 3]
