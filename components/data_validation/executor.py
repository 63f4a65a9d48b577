"""Runs the data gate: reads counts, anomalies and statistics, and writes the verdict."""

import os
from datetime import datetime, timezone
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from components.data_validation import measures
from components.data_validation.comparison import (
    Comparison,
    compare_runs,
    compare_splits,
    is_comparable,
)
from components.data_validation.gate import (
    GATED_SPLITS,
    VERDICT,
    VERDICT_FILE,
    GateLimits,
    judge,
)
from components.features import TRAIN, VALIDATION
from components.image_example_gen.quarantine import COUNTS_FILE, Counts

QUARANTINE = "quarantine"
ANOMALIES = "anomalies"
STATISTICS = "statistics"
SCHEMA = "schema"
BASELINE_STATISTICS = "baseline_statistics"
MAX_REFUSED = "max_refused"
LEAKAGE = "leakage"
DRIFT = "drift"
CODE_SHA256 = "code_sha256"

# True of a first run, and still so when its verdict is taken from the cache.
NO_BASELINE = Comparison(
    "",
    told=("nothing to compare with, as no model is served or it was trained on these very images",),
)


class Executor(base_executor.BaseExecutor):
    """Judges what was ingested."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the verdict, whether it passes or not; who runs the pipeline heeds it.

        Args:
            input_dict: `quarantine`, `anomalies`, `statistics` and `schema`, one artifact each;
                `baseline_statistics`, at most one.
            output_dict: `verdict`, one artifact.
            exec_properties: `max_refused`, `leakage` and `drift`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        statistics = artifact_utils.get_single_instance(input_dict[STATISTICS])
        schema = io_utils.SchemaReader().read(
            io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict[SCHEMA]))
        )
        baseline = input_dict.get(BASELINE_STATISTICS) or []
        verdict = judge(
            read_counts(artifact_utils.get_single_instance(input_dict[QUARANTINE])),
            GateLimits(*(exec_properties[name] for name in (MAX_REFUSED, LEAKAGE, DRIFT))),
            read_anomalies(artifact_utils.get_single_instance(input_dict[ANOMALIES])),
            drift=find_drift(statistics, baseline[0], schema) if baseline else NO_BASELINE,
            skew=find_skew(statistics, schema),
        )
        artifact = artifact_utils.get_single_instance(output_dict[VERDICT])
        with fileio.open(os.path.join(artifact.uri, VERDICT_FILE), "w") as file:
            file.write(verdict.to_json())
        artifact.set_int_custom_property("passed", int(verdict.passed))


def find_drift(statistics: Artifact, baseline: Artifact, schema: schema_pb2.Schema) -> Comparison:
    """Compares the train split's distributions and all gated splits' values with a baseline.

    Args:
        statistics: this run's `standard_artifacts.ExampleStatistics`.
        baseline: those of the run whose model is served.
        schema: with drift comparators.
    """
    now, before = read_statistics(statistics), read_statistics(baseline)
    summaries, earlier = (
        {split: measures.summarise(one) for split, one in splits.items()}
        for splits in (now, before)
    )
    measurements = (
        measures.measure_drift(now[TRAIN], before[TRAIN], schema)
        if is_comparable(summaries[TRAIN].images, earlier[TRAIN].images)
        else []
    )
    return compare_runs(summaries, earlier, measurements, TRAIN, time_of(baseline))


def find_skew(statistics: Artifact, schema: schema_pb2.Schema) -> Comparison:
    """Compares the validation split's distributions with the train split's.

    Args:
        statistics: this run's `standard_artifacts.ExampleStatistics`.
        schema: with skew comparators.
    """
    splits = read_statistics(statistics)
    validation, train = (measures.summarise(splits[name]) for name in (VALIDATION, TRAIN))
    measurements = (
        measures.measure_skew(splits[VALIDATION], splits[TRAIN], schema)
        if is_comparable(validation.images, train.images)
        else []
    )
    return compare_splits(validation, train, measurements, (VALIDATION, TRAIN))


def read_statistics(artifact: Artifact) -> dict[str, measures.Statistics]:
    """Returns the statistics of the gated splits, empty ones for a split that is not there."""
    present = artifact_utils.decode_split_names(artifact.split_names)
    return {
        split: stats_artifact_utils.load_statistics(artifact, split).proto()
        if split in present
        else measures.Statistics()
        for split in GATED_SPLITS
    }


def time_of(artifact: Artifact) -> str:
    """Returns when an artifact was made, in UTC; the ids of runs begin with their time too."""
    milliseconds = artifact.mlmd_artifact.create_time_since_epoch
    made = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return made.strftime("%Y-%m-%d %H:%M:%S UTC")


def read_counts(quarantine: Artifact) -> Counts:
    """Returns the counts that ingestion put beside the quarantine."""
    with fileio.open(os.path.join(quarantine.uri, COUNTS_FILE)) as file:
        return Counts.from_json(file.read())


def read_anomalies(artifact: Artifact) -> dict[str, list[str]]:
    """Returns a sentence for every anomaly that ExampleValidator found, by split.

    Args:
        artifact: `standard_artifacts.ExampleAnomalies`.
    """
    found = {}
    for split in artifact_utils.decode_split_names(artifact.split_names):
        folder = artifact_utils.get_split_uri([artifact], split)
        with fileio.open(os.path.join(folder, DEFAULT_FILE_NAME), "rb") as file:
            found[split] = describe_anomalies(anomalies_pb2.Anomalies.FromString(file.read()))
    return found


def describe_anomalies(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Returns a sentence for every anomaly: of the data set first, then of features by name."""
    sentences = []
    if anomalies.HasField("dataset_anomaly_info"):
        sentences.append(f"the data set: {anomalies.dataset_anomaly_info.description}")
    for feature in sorted(anomalies.anomaly_info):
        sentences.append(f"feature '{feature}': {anomalies.anomaly_info[feature].description}")
    return sentences
