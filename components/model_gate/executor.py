"""Runs the model gate: reads the evaluation, writes verdict and blessing."""

import os
from pathlib import Path
from typing import Any

from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.types.artifact import Artifact
from tfx.utils import io_utils, path_utils

from components.artifacts import write_verdict
from components.digests import folder_digest
from components.evaluator.photos import read_photos
from components.evaluator.results import read_metrics
from components.model_gate.gate import judge
from components.model_gate.limits import Limits
from components.pusher import served

LIMITS = "limits"
PUSH_DIRECTORY = "push_directory"

Artifacts = dict[str, list[Artifact]]


class Executor(base_executor.BaseExecutor):
    """Judges a model by its evaluation and its size."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the verdict, and the blessing as TFX's Evaluator would."""
        evaluation = artifact_utils.get_single_uri(
            input_dict[standard_component_specs.EVALUATION_KEY]
        )
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        found = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY) or [None]
        baseline = found[0]
        verdict = judge(
            read_photos(evaluation),
            read_metrics(evaluation),
            Limits.from_json(exec_properties[LIMITS]),
            _size_of(path_utils.serving_model_path(model.uri)),
            "" if baseline else _why_no_baseline(exec_properties[PUSH_DIRECTORY], model.uri),
        )
        write_verdict(output_dict, verdict)
        blessing = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.BLESSING_KEY]
        )
        _bless(blessing, verdict.passed, model, baseline)


def _bless(blessing: Artifact, passed: bool, model: Artifact, baseline: Artifact | None) -> None:
    """Says what TFX's Evaluator says, which its Pusher and its resolvers read."""
    name = constants.BLESSED_FILE_NAME if passed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(blessing.uri, name), "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(passed))
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline:
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri
        )
        blessing.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id
        )


def _why_no_baseline(push_directory: str, model_uri: str) -> str:
    """Returns why a served model is no baseline; empty where none, or this very one, is served."""
    manifest = served.newest(push_directory)
    if manifest is None:
        return ""
    # By content: another history's model may have stood at the same URI.
    if folder_digest(path_utils.serving_model_path(model_uri)) == manifest.model_digest:
        return ""
    return (
        f"version {manifest.version}, which is served, is not in this pipeline's metadata, or its "
        "artifact was changed"
    )


def _size_of(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
