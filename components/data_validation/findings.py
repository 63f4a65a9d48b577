"""What the data gate is told of statistics: departures from the schema, drift and skew.

Knows nothing of TFX, so that `graft check` says of its own statistics what the gate will say.
"""

from collections.abc import Mapping
from datetime import datetime, timezone

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.data_validation import measures
from components.data_validation.comparison import (
    Comparison,
    compare_runs,
    compare_splits,
    is_comparable,
)
from components.features import TRAIN, VALIDATION

# True of a first run, and still so when its verdict is taken from the cache.
NO_BASELINE = Comparison(
    "",
    told=("nothing to compare with, as no model is served or it was trained on these very images",),
)


def find_drift(
    now: Mapping[str, measures.Statistics],
    before: Mapping[str, measures.Statistics],
    schema: schema_pb2.Schema,
    milliseconds: int,
) -> Comparison:
    """Compares the train split's distributions and all gated splits' values with a baseline.

    Args:
        now: this run's statistics of every gated split.
        before: those of the run whose model is served.
        schema: with drift comparators.
        milliseconds: when the earlier ones were made, since the epoch.
    """
    summaries, earlier = (
        {split: measures.summarise(one) for split, one in splits.items()}
        for splits in (now, before)
    )
    measurements = (
        measures.measure_drift(now[TRAIN], before[TRAIN], schema)
        if is_comparable(summaries[TRAIN].images, earlier[TRAIN].images)
        else []
    )
    return compare_runs(summaries, earlier, measurements, TRAIN, time_text(milliseconds))


def find_skew(splits: Mapping[str, measures.Statistics], schema: schema_pb2.Schema) -> Comparison:
    """Compares the validation split's distributions with the train split's.

    Args:
        splits: this run's statistics of every gated split.
        schema: with skew comparators.
    """
    validation, train = (measures.summarise(splits[name]) for name in (VALIDATION, TRAIN))
    measurements = (
        measures.measure_skew(splits[VALIDATION], splits[TRAIN], schema)
        if is_comparable(validation.images, train.images)
        else []
    )
    return compare_splits(validation, train, measurements, (VALIDATION, TRAIN))


def time_text(milliseconds: int) -> str:
    """Returns a time, given since the epoch, in UTC; the ids of runs begin with theirs too."""
    made = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return made.strftime("%Y-%m-%d %H:%M:%S UTC")


def describe_anomalies(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Returns a sentence for every anomaly: of the data set first, then of features by name."""
    sentences = []
    if anomalies.HasField("dataset_anomaly_info"):
        sentences.append(f"the data set: {anomalies.dataset_anomaly_info.description}")
    for feature in sorted(anomalies.anomaly_info):
        sentences.append(f"feature '{feature}': {anomalies.anomaly_info[feature].description}")
    return sentences
