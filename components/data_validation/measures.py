"""Reads what StatisticsGen wrote and measures distances with TensorFlow Data Validation.

Thresholds stand in the schema alone: `drift_comparator` between runs, `skew_comparator` between
validation and train.
"""

from typing import Any, TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.data_validation.comparison import (
    DIVERGENCE,
    LARGEST_CHANGE,
    Measurement,
    Summary,
)
from components.features import FORMAT, LABEL

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList

DISTANCES = {
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: DIVERGENCE,
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: LARGEST_CHANGE,
}


def summarise(statistics: Statistics) -> Summary:
    """Returns what the statistics of one split say, those of no image included."""
    dataset = statistics.datasets[0] if statistics.datasets else None
    if dataset is None or not dataset.num_examples:
        return Summary(0, {}, {}, {})
    features = {_name(feature): feature for feature in dataset.features}
    numbers = {
        name: feature.num_stats
        for name, feature in features.items()
        if feature.HasField("num_stats")
    }
    values = {
        name: frozenset(bucket.label for bucket in ranks)
        for name in (LABEL, FORMAT)
        if name in features and (ranks := _all_values(features[name].string_stats))
    }
    return Summary(
        images=int(dataset.num_examples),
        values=values,
        ranges={name: (one.min, one.max) for name, one in numbers.items()},
        means={name: one.mean for name, one in numbers.items()},
    )


def measure_drift(
    now: Statistics, before: Statistics, schema: schema_pb2.Schema
) -> list[Measurement]:
    """Measures how far the distributions of features are from those of an earlier run.

    Args:
        now: statistics of a split.
        before: statistics of the same split of an earlier run.
        schema: with a `drift_comparator` for every feature that is to be compared.

    Returns:
        The distances by feature name; a feature that either side lacks is left out.
    """
    anomalies = tfdv.validate_statistics(now, schema, previous_statistics=before)
    return _read(anomalies, "drift_measurements")


def measure_skew(
    split: Statistics, reference: Statistics, schema: schema_pb2.Schema
) -> list[Measurement]:
    """Measures how far the distributions of features in a split are from those in another.

    Args:
        split: statistics of the one.
        reference: statistics of the other.
        schema: with a `skew_comparator` for every feature that is to be compared.

    Returns:
        As `measure_drift`.
    """
    anomalies = tfdv.validate_statistics(reference, schema, serving_statistics=split)
    return _read(anomalies, "skew_measurements")


def _read(anomalies: anomalies_pb2.Anomalies, field: str) -> list[Measurement]:
    found = [
        Measurement(".".join(info.path.step), DISTANCES[one.type], one.value, one.threshold)
        for info in anomalies.drift_skew_info
        for one in getattr(info, field)
    ]
    return sorted(found, key=lambda one: one.feature)


def _name(feature: statistics_pb2.FeatureNameStatistics) -> str:
    return feature.name or ".".join(feature.path.step)


def _all_values(strings: statistics_pb2.StringStatistics) -> list[Any]:
    """Returns the rank histogram's buckets, or none where it does not list every value."""
    buckets = list(strings.rank_histogram.buckets)
    return buckets if len(buckets) == strings.unique else []
