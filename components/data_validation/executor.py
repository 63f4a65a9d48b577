"""Runs the data gate: reads counts, anomalies and statistics, and writes the verdict."""

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from components.artifacts import write_verdict
from components.data_validation import measures
from components.data_validation.comparison import Comparison
from components.data_validation.findings import (
    NO_BASELINE,
    describe_anomalies,
    find_drift,
    find_skew,
)
from components.data_validation.gate import (
    GATED_SPLITS,
    GateLimits,
    judge,
)
from components.data_validation.lineage import BASELINE_STATISTICS, DRIFT, MADE, STATISTICS
from components.image_example_gen.quarantine import COUNTS_FILE, Counts

QUARANTINE = "quarantine"
ANOMALIES = "anomalies"
SCHEMA = "schema"
MAX_REFUSED = "max_refused"
LEAKAGE = "leakage"
CODE_SHA256 = "code_sha256"


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
        splits = read_statistics(artifact_utils.get_single_instance(input_dict[STATISTICS]))
        schema = io_utils.SchemaReader().read(
            io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict[SCHEMA]))
        )
        baseline = input_dict.get(BASELINE_STATISTICS) or []
        verdict = judge(
            read_counts(artifact_utils.get_single_instance(input_dict[QUARANTINE])),
            GateLimits(*(exec_properties[name] for name in (MAX_REFUSED, LEAKAGE, DRIFT))),
            read_anomalies(artifact_utils.get_single_instance(input_dict[ANOMALIES])),
            drift=_compare(splits, baseline[0], schema) if baseline else NO_BASELINE,
            skew=find_skew(splits, schema),
        )
        write_verdict(output_dict, verdict)


def _compare(
    splits: dict[str, measures.Statistics], baseline: Artifact, schema: schema_pb2.Schema
) -> Comparison:
    # On a cluster no metadata store tells it.
    made = baseline.mlmd_artifact.create_time_since_epoch or baseline.get_int_custom_property(MADE)
    return find_drift(splits, read_statistics(baseline), schema, made)


def read_statistics(artifact: Artifact) -> dict[str, measures.Statistics]:
    """Returns the statistics of the gated splits, empty ones for a split that is not there."""
    present = artifact_utils.decode_split_names(artifact.split_names)
    return {
        split: stats_artifact_utils.load_statistics(artifact, split).proto()
        if split in present
        else measures.Statistics()
        for split in GATED_SPLITS
    }


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
