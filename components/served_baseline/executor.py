"""Copies what is served into artifacts of the run.

A cluster's stages share no metadata that a resolver could ask, and an artifact that pointed at the
served folder itself could not be fetched by the next stage; so it is copied.
"""

import os
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.types.artifact import Artifact
from tfx.utils import path_utils

from components.cluster import ABSENT
from components.data_validation.lineage import MADE
from components.places import copy_folder, to_place
from components.pusher import kept_statistics, served
from components.pusher.manifest import MANIFEST, SIGNATURE

PUSH_DIRECTORY = "push_directory"
ABSENT_FILE = "ABSENT"  # not every object store can hold an empty folder

Artifacts = dict[str, list[Artifact]]


class ServedModelExecutor(base_executor.BaseExecutor):
    """Copies the served version, or says that there is none."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Fills `model`, a SavedModel where TFX's Trainer leaves one, or marks it absent."""
        self._log_startup(input_dict, output_dict, exec_properties)
        directory = exec_properties[PUSH_DIRECTORY]
        model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
        manifest = served.newest(directory)
        # A version of others, or one that was damaged, is no baseline, as on one machine.
        if manifest is None or not served.holds(directory, manifest, manifest.model_digest):
            mark_absent(model)
            return
        copy_folder(
            to_place(directory) / str(manifest.version),
            Path(path_utils.serving_model_dir(model.uri)),
            leaving_out=(MANIFEST, SIGNATURE),  # which are no part of the model
        )
        model.set_string_custom_property("version", str(manifest.version))
        model.set_string_custom_property("model_digest", manifest.model_digest)


class ServedStatisticsExecutor(base_executor.BaseExecutor):
    """Copies the statistics of what the served model learned from, or says that there are none."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Fills `statistics`, or marks them absent."""
        self._log_startup(input_dict, output_dict, exec_properties)
        directory = exec_properties[PUSH_DIRECTORY]
        statistics = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.STATISTICS_KEY]
        )
        manifest = served.newest(directory)
        kept = kept_statistics.find(directory, manifest.model_digest) if manifest else None
        if manifest is None or kept is None:
            mark_absent(statistics)
            return
        kept_statistics.copy_to(kept, statistics.uri)
        statistics.set_int_custom_property(MADE, int(manifest.pushed_at * 1000))
        splits = sorted(
            path.name.partition("-")[2] for path in Path(statistics.uri).glob("Split-*")
        )
        statistics.split_names = artifact_utils.encode_split_names(splits)


def mark_absent(artifact: Artifact) -> None:
    """Makes an artifact that stands for none; the next stage's entry point leaves it out."""
    artifact.set_int_custom_property(ABSENT, 1)
    os.makedirs(artifact.uri, exist_ok=True)
    Path(artifact.uri, ABSENT_FILE).touch()
