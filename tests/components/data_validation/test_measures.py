"""Distances as TensorFlow Data Validation measures them under the reviewed schema."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from components import features

tfdv = pytest.importorskip("tensorflow_data_validation")
pd = pytest.importorskip("pandas")
from tensorflow_metadata.proto.v0 import schema_pb2  # noqa: E402

from components.data_validation import measures  # noqa: E402

pytestmark = pytest.mark.e2e

SCHEMA_FILE = Path(__file__).resolve().parents[3] / "schemas/image_examples.pbtxt"
SCHEMA = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())


def photos(seed: int, count: int = 200, **changed):
    """Returns properties of photos of mixed sizes, as a data frame of the schema's features."""
    generator = np.random.default_rng(seed)
    width = generator.choice([320, 500, 640, 1024], count, p=[0.3, 0.4, 0.2, 0.1])
    columns = {
        features.LABEL: generator.choice(["daisy", "rose", "tulip"], count),
        features.FORMAT: np.full(count, "jpeg"),
        features.WIDTH: width,
        features.HEIGHT: width * 3 // 4,
        features.ASPECT: generator.uniform(0.7, 1.5, count),
        features.BYTES: generator.lognormal(10, 0.5, count),
        features.BRIGHTNESS: generator.beta(5, 5, count),
        features.CONTRAST: 0.5 * generator.beta(5, 5, count),
        features.SHARPNESS: generator.lognormal(-4, 0.7, count),
        features.ENTROPY: 8 * generator.beta(8, 2, count),
    }
    return pd.DataFrame({**columns, **{f"image/{name}": v for name, v in changed.items()}})


def describe(frame):
    options = tfdv.StatsOptions(schema=SCHEMA)
    return tfdv.generate_statistics_from_dataframe(frame, options, n_jobs=1)


def exceeded(measurements):
    return [one.feature for one in measurements if one.value > one.limit]


@pytest.fixture(scope="module")
def before():
    return describe(photos(0))


def test_all_features_with_comparators_are_measured_and_no_other(before):
    compared = sorted(f.name for f in SCHEMA.feature if f.HasField("drift_comparator"))
    found = measures.measure_drift(describe(photos(1)), before, SCHEMA)
    assert [one.feature for one in found] == compared
    assert [one.feature for one in measures.measure_skew(before, before, SCHEMA)] == compared
    assert len(compared) == 10


@pytest.mark.parametrize("seed", range(1, 6))
def test_another_draw_of_two_hundred_departs_in_nothing(before, seed):
    now = describe(photos(seed))
    assert exceeded(measures.measure_drift(now, before, SCHEMA)) == []
    assert exceeded(measures.measure_skew(now, before, SCHEMA)) == []


def test_equal_images_are_at_distance_zero(before):
    found = measures.measure_drift(before, before, SCHEMA)
    assert {one.value for one in found} == {0.0}


DARK = {
    "brightness": 0.3 * np.random.default_rng(0).beta(5, 5, 200),
    "contrast": 0.15 * np.random.default_rng(1).beta(5, 5, 200),
}


@pytest.mark.parametrize(
    ("changed", "features_told"),
    [
        (DARK, ["image/brightness", "image/contrast"]),
        ({"width": np.full(200, 128)}, ["image/width"]),
        ({"aspect": np.full(200, 1.0)}, ["image/aspect"]),
        ({"format": np.full(200, "png")}, ["image/format"]),
    ],
)
def test_darkness_another_size_shape_or_format_depart(before, changed, features_told):
    now = describe(photos(1, **changed))
    assert exceeded(measures.measure_drift(now, before, SCHEMA)) == features_told
    assert exceeded(measures.measure_skew(now, before, SCHEMA)) == features_told


@pytest.mark.parametrize("count", [1, 4])
def test_a_few_extreme_images_are_no_drift(before, count):
    now = photos(1)
    extremes = {"width": 12000, "bytes": 3e6, "brightness": 0.99, "sharpness": 0.9, "aspect": 6.0}
    for name, value in extremes.items():
        now.loc[: count - 1, f"image/{name}"] = value
    assert exceeded(measures.measure_drift(describe(now), before, SCHEMA)) == []


def test_a_feature_that_earlier_statistics_lack_is_not_measured():
    older = describe(photos(0).drop(columns=features.ENTROPY))
    found = measures.measure_drift(describe(photos(1)), older, SCHEMA)
    assert features.ENTROPY not in [one.feature for one in found]
    assert exceeded(found) == []


def test_a_summary_holds_values_ranges_and_means():
    frame = photos(0, count=4, width=[1, 2, 3, 6], format=["jpeg", "png", "png", "gif"])
    found = measures.summarise(describe(frame))
    assert found.images == 4
    assert found.values[features.FORMAT] == {"jpeg", "png", "gif"}
    assert found.ranges[features.WIDTH] == (1, 6)
    assert found.means[features.WIDTH] == 3


def test_a_split_without_images_is_summarised_as_such():
    assert measures.summarise(measures.Statistics()).images == 0


def test_labels_beyond_what_statistics_list_are_not_claimed_to_be_all():
    frame = photos(0, count=1001)
    frame[features.LABEL] = [f"class {number}" for number in range(1001)]
    assert features.LABEL not in measures.summarise(describe(frame)).values


def test_the_validator_ignores_comparators_without_anything_to_compare_with(before):
    only = schema_pb2.Schema()
    only.CopyFrom(SCHEMA)
    measured = {name for name in photos(0).columns}
    del only.feature[:]
    only.feature.extend(f for f in SCHEMA.feature if f.name in measured)
    anomalies = tfdv.validate_statistics(before, only)
    assert dict(anomalies.anomaly_info) == {}
