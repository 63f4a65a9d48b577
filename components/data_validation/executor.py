"""Runs the data gate: reads the counts and the anomalies, writes the verdict or refuses."""

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.data_validation.gate import GateLimits, judge
from components.errors import RefusedError
from components.image_example_gen.quarantine import COUNTS_FILE, Counts

QUARANTINE = "quarantine"
ANOMALIES = "anomalies"
VERDICT = "verdict"
MAX_REFUSED = "max_refused"
CODE_SHA256 = "code_sha256"

VERDICT_FILE = "verdict.json"


class Executor(base_executor.BaseExecutor):
    """Judges what was ingested."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the verdict, or refuses.

        Args:
            input_dict: `quarantine` and `anomalies`, one artifact each.
            output_dict: `verdict`, one artifact.
            exec_properties: `max_refused`.

        Raises:
            RefusedError: if a check failed; `refused_by` is "data" and the message holds the words
                of every check that did.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        counts = read_counts(artifact_utils.get_single_instance(input_dict[QUARANTINE]))
        anomalies = read_anomalies(artifact_utils.get_single_instance(input_dict[ANOMALIES]))
        verdict = judge(counts, anomalies, GateLimits(exec_properties[MAX_REFUSED]))
        artifact = artifact_utils.get_single_instance(output_dict[VERDICT])
        with fileio.open(os.path.join(artifact.uri, VERDICT_FILE), "w") as file:
            file.write(verdict.to_json())
        artifact.set_int_custom_property("passed", int(verdict.passed))
        if not verdict.passed:
            raise RefusedError(verdict.refusal, refused_by="data")


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
