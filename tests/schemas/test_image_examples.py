from pathlib import Path

import pytest
from google.protobuf import text_format

from components import features

schema_pb2 = pytest.importorskip("tensorflow_metadata.proto.v0.schema_pb2")
SCHEMA = Path(__file__).resolve().parents[2] / "schemas/image_examples.pbtxt"


@pytest.fixture(scope="module")
def schema():
    return text_format.Parse(SCHEMA.read_text(), schema_pb2.Schema())


def test_the_schema_names_the_features_of_the_raw_example_and_no_other(schema):
    assert {feature.name for feature in schema.feature} == {
        features.IMAGE, features.LABEL, features.PATH, features.FORMAT, features.ENCODING,
        features.REENCODED, features.WIDTH, features.HEIGHT, features.ASPECT, features.CHANNELS,
        features.BYTES, features.BRIGHTNESS, features.CONTRAST, features.SHARPNESS,
        features.ENTROPY, features.SHA256, features.SPLIT_KEY,
    }  # fmt: skip


def test_every_feature_is_one_required_value(schema):
    for feature in schema.feature:
        assert feature.WhichOneof("shape_type") == "shape", feature.name
        assert not feature.shape.dim, feature.name
        assert feature.presence.min_fraction == 1, feature.name


def test_pictures_are_a_domain_of_their_own_and_formats_those_that_are_taken(schema):
    by_name = {feature.name: feature for feature in schema.feature}
    assert by_name[features.IMAGE].WhichOneof("domain_info") == "image_domain"
    assert tuple(by_name[features.FORMAT].string_domain.value) == features.FORMATS
    assert tuple(by_name[features.ENCODING].string_domain.value) == features.SERVED_FORMATS


def test_whether_an_image_was_re_encoded_is_yes_or_no(schema):
    (feature,) = [one for one in schema.feature if one.name == features.REENCODED]
    assert (feature.type, feature.int_domain.min, feature.int_domain.max) == (
        schema_pb2.INT, 0, 1,
    )  # fmt: skip


def test_drift_and_skew_are_measured_on_what_tells_of_the_camera(schema):
    limits = {}
    for feature in schema.feature:
        assert feature.drift_comparator == feature.skew_comparator, feature.name
        if feature.HasField("drift_comparator"):
            comparator = feature.drift_comparator
            divergence = comparator.jensen_shannon_divergence.threshold
            limits[feature.name] = (comparator.infinity_norm.threshold, divergence)
    assert limits == {
        features.LABEL: (0.2, 0),
        features.FORMAT: (0.2, 0),
        features.WIDTH: (0, 0.35),
        features.HEIGHT: (0, 0.35),
        features.ASPECT: (0, 0.4),
        features.BYTES: (0, 0.2),
        features.BRIGHTNESS: (0, 0.2),
        features.CONTRAST: (0, 0.2),
        features.SHARPNESS: (0, 0.2),
        features.ENTROPY: (0, 0.2),
    }


def test_only_the_label_may_be_absent_when_serving(schema):
    assert list(schema.default_environment) == ["TRAINING", "SERVING"]
    absent = [feature.name for feature in schema.feature if feature.not_in_environment]
    assert absent == [features.LABEL]
