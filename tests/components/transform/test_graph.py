"""Transform's graph called with some of its features gives what TFT's own layer gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_transform")

from components import features  # noqa: E402
from components.transform.graph import TransformGraph  # noqa: E402

pytestmark = pytest.mark.e2e


def test_only_what_follows_from_the_given_features_is_returned(
    transform_output: Any, photo_contents: Sequence[bytes]
) -> None:
    raw = {features.IMAGE: tf.constant(photo_contents[:3])}
    found = TransformGraph(transform_output)(raw)
    expected = transform_output.transform_features_layer()(raw)
    assert found.keys() == expected.keys() == {features.PIXELS}
    np.testing.assert_array_equal(found[features.PIXELS], expected[features.PIXELS])


def test_labels_are_looked_up_alone(transform_output: Any) -> None:
    raw = {features.LABEL: tf.constant([b"red", b"blue", b"never seen"])}
    found = tf.function(TransformGraph(transform_output), autograph=False)(raw)
    expected = tf.function(transform_output.transform_features_layer(), autograph=False)(raw)
    assert found.keys() == {features.LABEL_INDEX}
    np.testing.assert_array_equal(found[features.LABEL_INDEX], expected[features.LABEL_INDEX])
